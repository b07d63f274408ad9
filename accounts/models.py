"""Who: members, and the tokens that speak for them."""

from __future__ import annotations

import hashlib
import secrets
import uuid
from datetime import timedelta
from typing import Any, ClassVar

from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import PermissionsMixin
from django.core.validators import RegexValidator
from django.db import models
from django.db.models.functions import Lower
from django.utils import timezone

TOKEN_PREFIX = "plt_"  # noqa: S105  (a marker that secret scanners look for, not a secret)
NAME_TAKEN = "Somebody already uses this name: choose another."
EMAIL_TAKEN = "There is already an account with this e-mail address: sign in instead."

user_name_characters = RegexValidator(
    r"\A[A-Za-z0-9_.-]{3,30}\Z",
    "A user name has 3 to 30 letters, digits, dots, hyphens and underscores.",
)


class UserManager(BaseUserManager["User"]):
    def create_user(self, user_name: str, email: str, password: str | None = None, **fields: Any) -> User:
        user = self.model(user_name=user_name, email=self.normalize_email(email), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(
        self, user_name: str, email: str, password: str | None = None, **fields: Any
    ) -> User:
        """A moderator who may do everything. Raises `ValidationError`; the command shows its sentence."""
        self.model(user_name=user_name, email=self.normalize_email(email)).full_clean(exclude=["password"])
        return self.create_user(user_name, email, password, is_staff=True, is_superuser=True, **fields)

    def get_by_natural_key(self, name: str | None) -> User:
        return self.get(user_name__iexact=name)

    def by_name_or_email(self, name: str) -> User | None:
        """The member who signs in as `name`. A user name holds no @, so the two cannot be confused."""
        field = "email__iexact" if "@" in name else "user_name__iexact"
        return self.filter(**{field: name}).first()


class User(AbstractBaseUser, PermissionsMixin):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user_name = models.CharField(
        max_length=30,
        unique=True,
        validators=[user_name_characters],
        error_messages={"unique": NAME_TAKEN},
    )
    email = models.EmailField(
        "e-mail address",
        unique=True,
        error_messages={"unique": EMAIL_TAKEN},
    )
    is_staff = models.BooleanField("moderator", default=False, help_text="May open the admin.")
    is_active = models.BooleanField(
        "active", default=True, help_text="Take this away instead of deleting an account."
    )
    date_joined = models.DateTimeField(default=timezone.now, editable=False)
    quota_bytes = models.PositiveBigIntegerField(
        null=True, blank=True, help_text="How much this member may store. Empty: what the settings say."
    )

    objects: ClassVar[UserManager] = UserManager()

    USERNAME_FIELD = "user_name"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS = ["email"]

    class Meta:
        ordering = ["user_name"]
        constraints = [
            models.UniqueConstraint(
                Lower("user_name"), name="user_name_unique_in_any_case", violation_error_message=NAME_TAKEN
            ),
            models.UniqueConstraint(
                Lower("email"), name="email_unique_in_any_case", violation_error_message=EMAIL_TAKEN
            ),
        ]

    def __str__(self) -> str:
        return self.user_name

    @property
    def storage_limit_bytes(self) -> int:
        return settings.QUOTA_BYTES if self.quota_bytes is None else self.quota_bytes

    def get_full_name(self) -> str:
        return self.user_name

    def get_short_name(self) -> str:
        return self.user_name


class ApiTokenQuerySet(models.QuerySet["ApiToken"]):
    def issue(self, user: User, name: str) -> tuple[ApiToken, str]:
        """A new token and its secret. The secret is shown once: only its hash is kept."""
        secret = TOKEN_PREFIX + secrets.token_urlsafe(32)
        return self.create(user=user, name=name, digest=ApiToken.hash(secret), hint=secret[-4:]), secret

    def find(self, secret: str) -> ApiToken | None:
        return self.select_related("user").filter(digest=ApiToken.hash(secret), user__is_active=True).first()


class ApiToken(models.Model):
    """Lets a program act as its owner over the API. Kept as a SHA-256: enough for 256 random bits."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="api_tokens")
    name = models.CharField(max_length=60)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    hint = models.CharField(max_length=4, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = ApiTokenQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return f"{self.name} (…{self.hint})"

    @staticmethod
    def hash(secret: str) -> str:
        return hashlib.sha256(secret.encode()).hexdigest()

    def touch(self, interval: timedelta = timedelta(minutes=5)) -> None:
        """Remember that the token was used, at most once an interval: a write costs more than a read."""
        now = timezone.now()
        if self.last_used_at is None or now - self.last_used_at > interval:
            ApiToken.objects.filter(pk=self.pk).update(last_used_at=now)
