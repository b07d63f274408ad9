"""Pictures for moderators: to look at them, and to hide what must not be seen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import get_object_or_404
from django.template.defaultfilters import filesizeformat
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html

from gallery import services
from gallery.models import Image, Projection, SavedImage
from gallery.serving import serve

if TYPE_CHECKING:
    ImageAdminBase = admin.ModelAdmin[Any]
else:
    ImageAdminBase = admin.ModelAdmin


class HiddenFilter(admin.SimpleListFilter):
    title = "visibility"
    parameter_name = "visibility"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("hidden", "Hidden"), ("deleted", "Deleted by the member"), ("visible", "Visible")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        match self.value():
            case "hidden":
                return queryset.exclude(hidden_at=None)
            case "deleted":
                return queryset.exclude(deleted_at=None)
            case "visible":
                return queryset.filter(hidden_at=None, deleted_at=None)
        return queryset


class PictureAdmin(ImageAdminBase):
    """What the admins of both kinds of picture share. Rows come from members: nothing is added here."""

    list_select_related = ["user"]
    list_per_page = 50
    show_full_result_count = False
    date_hierarchy = "created_at"
    search_fields = ["=id", "name", "user__user_name", "user__email"]
    actions = ["hide", "unhide"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """The form changes nothing; who has this permission may hide pictures."""
        return super().has_change_permission(request, obj) and obj is None

    def get_urls(self) -> list[URLPattern]:
        name = f"{self.opts.app_label}_{self.opts.model_name}_picture"
        view = self.admin_site.admin_view(self.picture)
        return [path("<uuid:pk>/picture/<slug:kind>/", view, name=name), *super().get_urls()]

    def picture(self, request: HttpRequest, pk: UUID, kind: str) -> HttpResponseBase:
        """The file, for those who may look at the row in the admin."""
        row = get_object_or_404(self.model, pk=pk)
        if not self.has_view_permission(request, row):
            raise PermissionDenied
        return serve(request, row, kind)

    def _address(self, picture: Any, kind: str) -> str:
        name = f"admin:{self.opts.app_label}_{self.opts.model_name}_picture"
        return f"{reverse(name, args=[picture.pk, kind])}?v={picture.version}"

    @admin.display(description="picture")
    def small(self, picture: Any) -> str:
        return self._image(picture, 64)

    @admin.display(description="picture")
    def large(self, picture: Any) -> str:
        return self._image(picture, 320)

    def _image(self, picture: Any, side: int) -> str:
        if not picture.thumbnail:
            return "—"
        return format_html(
            '<a href="{}"><img src="{}" alt="" height="{}" loading="lazy"></a>',
            self._address(picture, "original"),
            self._address(picture, "thumbnail"),
            side,
        )

    @admin.display(description="size", ordering="byte_size")
    def size(self, picture: Any) -> str:
        return str(filesizeformat(picture.byte_size))

    @admin.display(description="hidden", boolean=True, ordering="hidden_at")
    def hidden(self, picture: Any) -> bool:
        return picture.hidden_at is not None

    @admin.action(description="Hide from its owner and everybody", permissions=["change"])
    def hide(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        changed = services.hide(queryset)
        self._log(request, queryset, "Hidden.")
        self.message_user(request, f"Hidden: {changed}.", messages.SUCCESS)

    @admin.action(description="Show again", permissions=["change"])
    def unhide(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        changed = services.unhide(queryset)
        self._log(request, queryset, "Shown again.")
        self.message_user(request, f"Shown again: {changed}.", messages.SUCCESS)

    def _log(self, request: HttpRequest, queryset: QuerySet[Any], text: str) -> None:
        """The history of each picture says who hid it."""
        for picture in queryset:
            self.log_change(request, picture, text)


@admin.register(Image)
class ImageAdmin(PictureAdmin):
    list_display = [
        "small",
        "name",
        "user",
        "source",
        "model",
        "status_process",
        "size",
        "hidden",
        "created_at",
    ]
    list_display_links = ["name"]
    list_filter = [HiddenFilter, "source", "status_process", "model"]
    fields = (
        "large", "id", "name", "user", "source", "model", "status_process", "seed", "truncation_psi", "mime_type",
        "width", "height", "size", "sha256", "created_at", "deleted_at", "hidden_at",
    )  # fmt: skip
    readonly_fields = fields


@admin.register(SavedImage)
class SavedImageAdmin(PictureAdmin):
    list_display = [
        "small",
        "name",
        "user",
        "model",
        "status_superresolution",
        "size",
        "hidden",
        "created_at",
    ]
    list_display_links = ["name"]
    list_filter = [HiddenFilter, "status_superresolution", "model"]
    fields = (
        "large", "id", "name", "user", "parent_image", "model", "status_superresolution", "upscaler", "mime_type",
        "width", "height", "upscaled_width", "upscaled_height", "size", "recipe", "created_at", "deleted_at", "hidden_at",
    )  # fmt: skip
    readonly_fields = fields


@admin.register(Projection)
class ProjectionAdmin(ImageAdminBase):
    """Facts only: the files are latents, which nobody looks at."""

    list_display = ["id", "image", "generator", "space", "grade", "steps", "loss", "psnr", "created_at"]
    list_filter = ["generator", "space"]
    list_select_related = ["image"]
    list_per_page = 50
    show_full_result_count = False
    search_fields = ["=id", "=image__id", "image__user__user_name"]
    fields = (
        "id", "image", "generator", "generator_sha256", "space", "grade", "crop", "steps", "loss", "psnr", "byte_size",
        "created_at",
    )  # fmt: skip
    readonly_fields = fields

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
