"""What: pictures, their places in a latent space, and what members saved."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any, Self

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.urls import reverse
from django.utils import timezone

from accounts.models import User
from gallery.files import STRIP_SQUARES


class Status(models.TextChoices):
    """How far the work on a picture is. `NONE`: nothing was asked for."""

    NONE = "none", "Nothing to do"
    QUEUED = "queued", "Waiting"
    RUNNING = "running", "Working"
    DONE = "done", "Done"
    FAILED = "failed", "Failed"


ACTIVE = (Status.QUEUED, Status.RUNNING)


def _folder(kind: str, owner: object, row: object, name: str) -> str:
    return f"{kind}/{owner}/{row}/{name}"


def image_path(image: Image, name: str) -> str:
    return _folder("images", image.user_id, image.pk, name)


def projection_path(projection: Projection, name: str) -> str:
    return _folder(
        "images", projection.image.user_id, projection.image_id, f"projections/{projection.pk}/{name}"
    )


def saved_image_path(saved: SavedImage, name: str) -> str:
    return _folder("saved", saved.user_id, saved.pk, name)


class PictureQuerySet(models.QuerySet[Any]):
    """What both kinds of picture can be asked. A lookup fetches and authorises in one step."""

    def alive(self) -> Self:
        return self.filter(deleted_at=None)

    def visible_to(self, user: object) -> Self:
        """The pictures that `user` may see: their own, neither deleted nor hidden by a moderator."""
        return self.alive().filter(user=user, hidden_at=None)

    def restorable_by(self, user: object) -> Self:
        horizon = timezone.now() - timedelta(seconds=settings.UNDO_DELETE_SECONDS)
        return self.filter(user=user, hidden_at=None, deleted_at__gt=horizon)

    def purgeable(self) -> Self:
        return self.filter(deleted_at__lte=timezone.now() - timedelta(seconds=settings.UNDO_DELETE_SECONDS))

    def soft_delete(self) -> int:
        return self.alive().update(deleted_at=timezone.now())

    def restore(self) -> int:
        return self.exclude(deleted_at=None).update(deleted_at=None)


class Picture(models.Model):
    """The fields that every stored picture has."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=120)
    mime_type = models.CharField(max_length=40, blank=True)
    width = models.PositiveIntegerField(default=0)
    height = models.PositiveIntegerField(default=0)
    sha256 = models.CharField(max_length=64, blank=True, editable=False)
    byte_size = models.PositiveBigIntegerField(
        default=0, editable=False, help_text="All files of this row together."
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False, db_index=True)
    deleted_at = models.DateTimeField(null=True, blank=True, editable=False)
    hidden_at = models.DateTimeField(null=True, blank=True, help_text="When a moderator hid it.")

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return self.name

    @property
    def is_hidden(self) -> bool:
        return self.hidden_at is not None

    @property
    def is_strip(self) -> bool:
        """So wide that it is looked at piece by piece."""
        return self.width > STRIP_SQUARES * self.height > 0

    @property
    def version(self) -> str:
        """Changes whenever a file of the row does: part of the files' addresses, so that browsers may keep them."""
        return f"{self.sha256[:12]}{self.byte_size:x}"


class ImageQuerySet(PictureQuerySet):
    pass


class Image(Picture):
    """A picture that a member uploaded or that a generator drew.

    `model` names the generator: of a random picture the one that drew it, of an upload the one it was last projected into.
    `status_process` is the state of the work that makes the picture (random) or finds it in the latent space (upload).
    """

    class Source(models.TextChoices):
        UPLOAD = "upload", "Uploaded"
        RANDOM = "random", "Generated"

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="images")
    source = models.CharField(max_length=10, choices=Source.choices)
    model = models.CharField("generator", max_length=100, blank=True)
    generator_sha256 = models.CharField(max_length=64, blank=True, editable=False)
    status_process = models.CharField(max_length=10, choices=Status.choices, default=Status.NONE)
    file = models.FileField(upload_to=image_path, blank=True, max_length=255)
    thumbnail = models.FileField(upload_to=image_path, blank=True, max_length=255)
    seed = models.PositiveBigIntegerField(null=True, blank=True)
    truncation_psi = models.FloatField(default=1.0)
    class_index = models.PositiveIntegerField(null=True, blank=True)
    crop = models.JSONField(
        null=True, blank=True, help_text="The square to project: x, y, size in pixels of the stored file."
    )
    projection = models.ForeignKey(
        "Projection",
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        editable=False,
        related_name="+",
        help_text="The one that the editor opens: the last that was asked for.",
    )

    objects = ImageQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
        indexes = [
            models.Index(
                fields=["user", "-created_at", "-id"],
                name="image_newest_of_member",
                condition=Q(deleted_at=None),
            ),
            models.Index(fields=["deleted_at"], name="image_deleted", condition=Q(deleted_at__isnull=False)),
        ]

    @property
    def is_ready(self) -> bool:
        """The picture itself is there to be looked at."""
        return bool(self.file)

    @property
    def is_active(self) -> bool:
        return self.status_process in ACTIVE

    def file_url(self, kind: str = "original") -> str:
        return f"{reverse('gallery:file', args=[self.pk, kind])}?v={self.version}"

    def thumbnail_url(self) -> str:
        return self.file_url("thumbnail")


class Projection(models.Model):
    """Where an image lies in one generator's latent space. Kept, so that nothing is projected twice.

    The file (safetensors) holds the latent `ws`, the noise maps, perhaps a tuning of the generator, and a header; see
    `ganworks.projection`.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    image = models.ForeignKey(Image, on_delete=models.CASCADE, related_name="projections")
    generator = models.CharField(max_length=100)
    generator_sha256 = models.CharField(max_length=64)
    space = models.CharField(max_length=4)
    grade = models.CharField(
        max_length=10,
        default="refined",
        help_text="“draft”: found without a search. “faithful”: the file holds a tuning of the generator too.",
    )
    crop = models.JSONField(null=True, blank=True)
    key = models.CharField(
        max_length=64, editable=False, help_text="SHA-256 of generator, space, crop and steps."
    )
    file = models.FileField(upload_to=projection_path, max_length=255)
    preview = models.FileField(upload_to=projection_path, blank=True, max_length=255)
    steps = models.PositiveIntegerField()
    loss = models.FloatField()
    psnr = models.FloatField(null=True)
    byte_size = models.PositiveBigIntegerField(
        default=0, editable=False, help_text="The file and its preview together."
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["-created_at"]
        constraints = [models.UniqueConstraint(fields=["image", "key"], name="projection_once")]

    def __str__(self) -> str:
        return f"{self.image_id} in {self.generator}"


class SavedImageQuerySet(PictureQuerySet):
    pass


class SavedImage(Picture):
    """A picture that a member made in the editor and kept, with the recipe that makes it again."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="saved_images")
    parent_image = models.ForeignKey(
        Image, on_delete=models.SET_NULL, null=True, blank=True, related_name="saved_images"
    )
    model = models.CharField("generator", max_length=100, blank=True)
    status_superresolution = models.CharField(max_length=10, choices=Status.choices, default=Status.NONE)
    file = models.FileField(upload_to=saved_image_path, blank=True, max_length=255)
    thumbnail = models.FileField(upload_to=saved_image_path, blank=True, max_length=255)
    latent_file = models.FileField(
        upload_to=saved_image_path,
        blank=True,
        max_length=255,
        help_text="Copy of the projection, when the recipe starts from one.",
    )
    upscaled_file = models.FileField(upload_to=saved_image_path, blank=True, max_length=255)
    upscaled_width = models.PositiveIntegerField(default=0)
    upscaled_height = models.PositiveIntegerField(default=0)
    upscaler = models.CharField(max_length=100, blank=True)
    recipe = models.JSONField(default=dict)

    objects = SavedImageQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-id"]
        indexes = [
            models.Index(
                fields=["user", "-created_at", "-id"],
                name="saved_newest_of_member",
                condition=Q(deleted_at=None),
            ),
            models.Index(fields=["deleted_at"], name="saved_deleted", condition=Q(deleted_at__isnull=False)),
        ]

    @property
    def is_ready(self) -> bool:
        return bool(self.file)

    @property
    def is_upscaled(self) -> bool:
        return bool(self.upscaled_file)

    @property
    def is_upscaling(self) -> bool:
        return self.status_superresolution in ACTIVE

    @property
    def has_parent(self) -> bool:
        """The picture that it was made from can still be opened by its owner."""
        parent = self.parent_image
        return parent is not None and parent.deleted_at is None and parent.hidden_at is None

    @property
    def shows_what_parent_shows(self) -> bool:
        """The two can be laid over each other: the parent was drawn, or projected as a whole."""
        parent = self.parent_image
        if parent is None or not self.has_parent or not parent.is_ready:
            return False
        whole = parent.crop is None or parent.crop.get("size") == parent.width
        return whole and parent.width * self.height == parent.height * self.width

    def file_url(self, kind: str = "original") -> str:
        return f"{reverse('gallery:saved_file', args=[self.pk, kind])}?v={self.version}"

    def thumbnail_url(self) -> str:
        return self.file_url("thumbnail")

    def upscaled_url(self) -> str:
        return self.file_url("upscaled")
