"""Addresses of jobs and of the editor."""

from __future__ import annotations

from django.urls import path

from transforms import editor, views

app_name = "transforms"
urlpatterns = [
    path("gallery/generate/", views.generate, name="generate"),
    path("gallery/<uuid:pk>/transform/", editor.edit, name="edit"),
    path("gallery/<uuid:pk>/project/", views.project, name="crop_and_project"),
    path("gallery/<uuid:pk>/save/", views.save, name="save"),
    path("saved/<uuid:pk>/upscale/", views.upscale, name="upscale"),
    path("generators/<str:name>/sheet/", editor.generator_sheet, name="generator_sheet"),
    path("jobs/", views.jobs, name="jobs"),
    path("jobs/<uuid:pk>/cancel/", views.cancel, name="job_cancel"),
    path("jobs/<uuid:pk>/keep/", views.keep, name="job_keep"),
    path("jobs/<uuid:pk>/retry/", views.retry, name="job_retry"),
    path("jobs/<uuid:pk>/preview/", views.preview, name="job_preview"),
]
