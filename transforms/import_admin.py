"""Generators in the admin: bring one in, look at what was in its file, compute its directions again, remove it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.defaultfilters import filesizeformat
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.views.decorators.http import require_POST

from accounts.models import User
from transforms import imports, installing, services
from transforms.errors import TransformError
from transforms.importing_engine import SHEET_FILE, catalogue
from transforms.models import CheckpointImport, ImportState

TEMPLATES = "admin/transforms/checkpointimport"
FACTS = (
    "format", "architecture", "resolution", "picture", "latents", "class_names", "parameters",
    "ignored", "source_sha256", "generator_sha256",
)  # fmt: skip


@admin.register(CheckpointImport)
class CheckpointImportAdmin(admin.ModelAdmin[CheckpointImport]):
    list_display = ["title", "format", "resolution", "state", "status_directions", "user", "created_at"]
    list_filter = ["state", "status_directions", "created_at"]
    list_select_related = ["user"]
    list_per_page = 50
    search_fields = ["=id", "name", "label", "file_name", "source_sha256", "generator_sha256"]
    show_full_result_count = False
    ordering = ["-created_at", "-id"]
    actions = ["compute_directions"]
    change_form_template = f"{TEMPLATES}/change_form.html"
    readonly_fields = [
        "name",
        "label",
        "license",
        "file_name",
        "size",
        "user",
        "created_at",
        "sheet",
        *FACTS,
        "layers",
    ]

    # --- Who may do what ---

    def has_change_permission(self, request: HttpRequest, obj: CheckpointImport | None = None) -> bool:
        """The form changes nothing; who has this permission may have directions computed."""
        return super().has_change_permission(request, obj) and obj is None

    def has_delete_permission(self, request: HttpRequest, obj: CheckpointImport | None = None) -> bool:
        """Rows stay, as the history of the site's generators. Who has this permission may remove a generator."""
        return False

    def get_urls(self) -> list[URLPattern]:
        views: dict[str, Callable[..., HttpResponse]] = {
            "directions": require_POST(self.directions_view),
            "cancel": require_POST(self.cancel_view),
            "discard": require_POST(self.discard_view),
            "remove": self.remove_view,
        }
        own = [
            path(
                f"<uuid:pk>/{name}/",
                self.admin_site.admin_view(view),
                name=f"transforms_checkpointimport_{name}",
            )
            for name, view in views.items()
        ]
        return [*own, *super().get_urls()]

    def get_fieldsets(self, request: HttpRequest, obj: CheckpointImport | None = None) -> Any:
        """Before a file is read there is nothing to tell about it."""
        known = [
            ("Contact sheet", {"fields": ["sheet"]}),
            ("What was in the file", {"fields": list(FACTS)}),
            ("Layers", {"fields": ["layers"], "classes": ["collapse"]}),
        ]
        announced = ["name", "label", "license", "file_name", "size", "user", "created_at"]
        return [(None, {"fields": announced}), *(known if obj and obj.report else [])]

    # --- Pages ---

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The upload page. Its script sends the file to the API, in slices."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        known = {
            place.entry.file_name: {"name": place.entry.key, "label": place.entry.label}
            for place in catalogue()
        }
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": "Import a generator",
            "max_bytes": settings.CHECKPOINT_MAX_BYTES,
            "api_url": reverse("checkpoint-import-list"),
            "known": json.dumps(known),
            "unfinished": CheckpointImport.objects.uploads_of(request.user).uploading(),
        }
        return TemplateResponse(request, f"{TEMPLATES}/add_form.html", context)

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        row = self.get_object(request, object_id)
        context = dict(extra_context or {})
        if row is not None:
            context |= {
                "title": str(row),
                "subtitle": None,
                "row": row,
                "job": row.jobs.active().defer("preview").first(),
                "missing": row.is_installed and not installing.is_installed(row.name),
                "known_as": self._known_as(row),
                "may_change": super().has_change_permission(request),
                "may_remove": request.user.has_perm("transforms.delete_checkpointimport"),
                "may_discard": row.user_id == request.user.pk
                or request.user.has_perm("transforms.delete_checkpointimport"),
            }
        return super().change_view(request, object_id, form_url, context)

    @staticmethod
    def _known_as(row: CheckpointImport) -> CheckpointImport | None:
        """The installed generator that the same file became before, if that is why this import failed."""
        if row.state != ImportState.FAILED or not row.source_sha256:
            return None
        twins = CheckpointImport.objects.filter(source_sha256=row.source_sha256, state=ImportState.INSTALLED)
        return twins.exclude(pk=row.pk).first()

    # --- Buttons ---

    def directions_view(self, request: HttpRequest, pk: UUID) -> HttpResponse:
        row = self._row(request, pk, "change")
        self._compute(request, row)
        return self._back(row)

    def cancel_view(self, request: HttpRequest, pk: UUID) -> HttpResponse:
        row = self._row(request, pk, "change")
        done = [
            services.cancel(job.user, job)
            for job in row.jobs.active().select_related("user").defer("preview")
        ]
        self.message_user(
            request, "Canceled, or will be in a moment." if any(done) else "Nothing is under way."
        )
        return self._back(row)

    def discard_view(self, request: HttpRequest, pk: UUID) -> HttpResponse:
        row = self._row(request, pk, "add")
        if row.user_id != request.user.pk:
            self._row(request, pk, "delete")
        given_up = imports.discard(row)
        self.message_user(request, "The upload is given up." if given_up else "This upload is over already.")
        return redirect("admin:transforms_checkpointimport_changelist")

    def remove_view(self, request: HttpRequest, pk: UUID) -> HttpResponse:
        """Asks; posted, removes."""
        row = self._row(request, pk, "delete")
        if request.method != "POST":
            context = {
                **self.admin_site.each_context(request),
                "opts": self.opts,
                "title": f"Remove {row}?",
                "row": row,
                "pictures": imports.pictures_of(row),
            }
            return TemplateResponse(request, f"{TEMPLATES}/remove.html", context)
        try:
            imports.remove(row)
        except TransformError as error:
            self.message_user(request, str(error), messages.ERROR)
            return self._back(row)
        self.log_change(request, row, "Removed.")
        self.message_user(request, f"“{row}” is removed.", messages.SUCCESS)
        return redirect("admin:transforms_checkpointimport_changelist")

    @admin.action(description="Compute contact sheet and directions again", permissions=["change"])
    def compute_directions(self, request: HttpRequest, rows: QuerySet[CheckpointImport]) -> None:
        for row in rows:
            self._compute(request, row)

    def _compute(self, request: HttpRequest, row: CheckpointImport) -> None:
        assert isinstance(request.user, User)  # noqa: S101  (for the type checker: the admin asked already)
        try:
            imports.request_directions(request.user, row)
        except TransformError as error:
            self.message_user(request, f"{row}: {error}", messages.WARNING)
        else:
            self.message_user(request, f"{row}: the directions are on their way.")

    def _row(self, request: HttpRequest, pk: UUID, right: str) -> CheckpointImport:
        if not request.user.has_perm(f"transforms.{right}_checkpointimport"):
            raise PermissionDenied
        return get_object_or_404(CheckpointImport, pk=pk)

    @staticmethod
    def _back(row: CheckpointImport) -> HttpResponse:
        return redirect("admin:transforms_checkpointimport_change", row.pk)

    # --- What is shown ---

    @admin.display(description="name", ordering="name")
    def title(self, row: CheckpointImport) -> str:
        return row.name if row.label in ("", row.name) else f"{row.name} ({row.label})"

    @admin.display(description="format")
    def format(self, row: CheckpointImport) -> str:
        return str(row.report.get("format") or "—")

    @admin.display(description="architecture")
    def architecture(self, row: CheckpointImport) -> str:
        return str(row.report.get("architecture") or "—")

    @admin.display(description="resolution")
    def resolution(self, row: CheckpointImport) -> str:
        side = row.report.get("resolution")
        return f"{side} x {side}" if side else "—"

    @admin.display(description="shown part")
    def picture(self, row: CheckpointImport) -> str:
        crop = row.report.get("crop")
        if not crop:
            return "all of it"
        left, top, right, bottom = crop
        return f"columns {left} to {right}, rows {top} to {bottom}"

    @admin.display(description="latents")
    def latents(self, row: CheckpointImport) -> str:
        report = {**dict.fromkeys(("z_dim", "w_dim", "num_ws", "mapping_layers"), "?"), **row.report}
        return (
            f"z {report['z_dim']}, w {report['w_dim']} in {report['num_ws']} layers, "
            f"mapping of {report['mapping_layers']} layers"
        )

    @admin.display(description="classes")
    def class_names(self, row: CheckpointImport) -> str:
        count = row.report.get("c_dim", 0)
        names = ", ".join(row.report.get("classes") or [])
        return f"{count}: {names or 'without names'}" if count else "none"

    @admin.display(description="parameters")
    def parameters(self, row: CheckpointImport) -> str:
        return f"{row.report.get('parameters', 0):,}"

    @admin.display(description="size of the file")
    def size(self, row: CheckpointImport) -> str:
        return str(filesizeformat(row.bytes_total))

    @admin.display(description="ignored")
    def ignored(self, row: CheckpointImport) -> str | SafeString:
        sentences = row.report.get("ignored") or []
        if not sentences:
            return "nothing"
        return format_html("<ul>{}</ul>", _items("<li>{}</li>", ((sentence,) for sentence in sentences)))

    @admin.display(description="seeds 0 to 15")
    def sheet(self, row: CheckpointImport) -> str | SafeString:
        path = installing.folder_of(row.name) / SHEET_FILE
        if not row.is_installed or not path.is_file():
            return "—"
        address = f"{reverse('transforms:generator_sheet', args=[row.name])}?v={path.stat().st_mtime_ns}"
        return format_html(
            '<a href="{}"><img class="import-sheet" src="{}" alt="Sixteen pictures of this generator"></a>',
            address,
            address,
        )

    @admin.display(description="tensors")
    def layers(self, row: CheckpointImport) -> str | SafeString:
        layers = row.report.get("layers") or []
        if not layers:
            return "—"
        rows = ((name, " x ".join(str(side) for side in shape) or "one number") for name, shape in layers)
        return format_html(
            '<table class="import-layers"><thead><tr><th>Name</th><th>Shape</th></tr></thead><tbody>{}</tbody></table>',
            _items("<tr><td>{}</td><td>{}</td></tr>", rows),
        )


def _items(form: str, rows: Iterable[tuple[object, ...]]) -> SafeString:
    return format_html_join("", form, rows)
