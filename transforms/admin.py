"""Jobs in the admin: to look at, to cancel, to try again. Nothing is typed here. Imports of generators: `import_admin`."""

from __future__ import annotations

import json
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django_dramatiq.models import Task

from transforms import import_admin, services
from transforms.errors import TransformError
from transforms.estimates import HIGH, LOW, calibration
from transforms.models import Job, RunTime
from transforms.queue_report import report

__all__ = ["JobAdmin", "RunTimeAdmin", "import_admin"]

# The broker's own list of messages shows arguments and errors unescaped, and says less than the rows of jobs.
if admin.site.is_registered(Task):
    admin.site.unregister(Task)


class QuarantineFilter(admin.SimpleListFilter):
    """Jobs that killed their worker each time. Whoever tries one again here takes it out."""

    title = "quarantine"
    parameter_name = "quarantine"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin[Job]) -> list[tuple[str, str]]:
        return [("yes", "In quarantine"), ("no", "Not in quarantine")]

    def queryset(self, request: HttpRequest, jobs: QuerySet[Job]) -> QuerySet[Job]:
        if self.value() not in ("yes", "no"):
            return jobs
        return jobs.filter(quarantined_at__isnull=self.value() == "no")


@admin.register(Job)
class JobAdmin(admin.ModelAdmin[Job]):
    change_list_template = "admin/transforms/job/change_list.html"
    list_display = [
        "title",
        "operation",
        "state",
        "user",
        "percent",
        "attempt",
        "quarantined",
        "created_at",
        "finished_at",
        "error",
    ]
    list_filter = ["state", QuarantineFilter, "operation", "priority", "created_at"]
    search_fields = ["=id", "user__user_name", "user__email"]
    list_select_related = ["user"]
    date_hierarchy = "created_at"
    show_full_result_count = False
    ordering = ["-created_at", "-id"]
    actions = ["cancel_jobs", "retry_jobs"]
    readonly_fields = [
        "id",
        "user",
        "operation",
        "title",
        "state",
        "percent",
        "stage",
        "attempt",
        "kills",
        "quarantined_at",
        "error",
        "priority",
        "turn",
        "generator",
        "deadline",
        "image",
        "saved_image",
        "checkpoint_import",
        "request_id",
        "retry_of",
        "parameters",
        "outcome",
        "worker",
        "lease_until",
        "not_before",
        "cancel_requested",
        "keep_partial",
        "sequence",
        "created_at",
        "started_at",
        "finished_at",
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Job]:
        return super().get_queryset(request).defer("preview")

    fields = (*readonly_fields,)

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.queue_view)
        return [path("queue/", view, name="transforms_job_queue"), *super().get_urls()]

    def queue_view(self, request: HttpRequest) -> HttpResponse:
        """The queue at a glance. Whoever may look at jobs may look at it."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        frame = {**self.admin_site.each_context(request), "opts": self.opts, "title": "The queue now"}
        return TemplateResponse(request, "admin/transforms/job/queue.html", {**frame, "queue": report()})

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Job | None = None) -> bool:
        return False

    @admin.display(description="quarantined", boolean=True)
    def quarantined(self, job: Job) -> bool:
        return job.is_quarantined

    @admin.display(description="progress")
    def percent(self, job: Job) -> str:
        return f"{job.progress:.0%}"

    @admin.display(description="parameters")
    def parameters(self, job: Job) -> SafeString:
        return _as_json(job.params)

    @admin.display(description="result")
    def outcome(self, job: Job) -> SafeString:
        return _as_json(job.result)

    @admin.action(description="Cancel the chosen jobs", permissions=["change"])
    def cancel_jobs(self, request: HttpRequest, jobs: QuerySet[Job]) -> None:
        done = sum(services.cancel(job.user, job) for job in jobs.select_related("user"))
        self.message_user(request, f"{done} jobs are canceled, or will be in a moment.")

    @admin.action(description="Try the chosen jobs again", permissions=["change"])
    def retry_jobs(self, request: HttpRequest, jobs: QuerySet[Job]) -> None:
        for job in jobs.select_related("user"):
            try:
                services.retry(job.user, job, quarantined=True)
            except TransformError as error:
                self.message_user(request, f"{job.title}: {error}", messages.WARNING)
            else:
                self.message_user(request, f"{job.title}: tried again.")


@admin.register(RunTime)
class RunTimeAdmin(admin.ModelAdmin[RunTime]):
    """How long jobs took, and how often what was told at their beginning came true. Nothing is typed here."""

    change_list_template = "admin/transforms/runtime/change_list.html"
    list_display = ["kind", "device", "seconds", "low", "high", "came_true", "created_at"]
    list_filter = ["device"]
    search_fields = ["kind"]
    ordering = ["-id"]

    @admin.display(description="came true", boolean=True)
    def came_true(self, run: RunTime) -> bool | None:
        return run.came_true

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        told = {"calibration": calibration(), "expected": HIGH - LOW}
        return super().changelist_view(request, {**(extra_context or {}), **told})

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: RunTime | None = None) -> bool:
        return False


def _as_json(value: object) -> SafeString:
    return format_html("<pre>{}</pre>", json.dumps(value, indent=2, ensure_ascii=False))
