"""The pages and buttons of jobs. Each view: guard, load, form, service, answer.

A button is answered in the language in which it was pressed: htmx gets no content and a toast, a script that
accepts JSON gets the job, a plain form is sent on to a page.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts.requests import MemberRequest
from gallery.fragments import Level, fragment, toast, trigger, wants_fragment
from gallery.models import Image, SavedImage
from transforms import services
from transforms.errors import NotReady, QuotaReached
from transforms.forms import GenerateForm, ProjectForm, SaveForm, UpscaleForm, WishForm
from transforms.models import Job
from transforms.representation import jobs_as_data, preview_response

JOBS_SHOWN = 100

# --- Asking for work ----------------------------------------------------------------------------------------


@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
def generate(request: MemberRequest) -> HttpResponse:
    """The form; posted, the cards of the pictures that will be drawn."""
    form = GenerateForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        job = form.ask(services.request_random, request.user, **form.wish())
        if job is not None:
            return _drawn(request, job)
    status = 422 if form.is_bound else 200
    templates = "transforms/generate.html", "transforms/_generate.html"
    return fragment(request, *templates, {"form": form}, status=status)


def _drawn(request: MemberRequest, job: Job) -> HttpResponse:
    if not wants_fragment(request):
        return _answer(request, job, f"{job.title}: on the way.", reverse("gallery:index"))
    by_id = {str(image.pk): image for image in Image.objects.filter(pk__in=job.result["images"])}
    images = [by_id[pk] for pk in job.result["images"] if pk in by_id]
    response = render(request, "gallery/_cards.html", {"images": images, "new": True})
    return trigger(toast(response, f"{job.title}: on the way."), "jobs-changed")


@require_POST
def project(request: MemberRequest, pk: UUID) -> HttpResponse:
    image = get_object_or_404(Image.objects.visible_to(request.user), pk=pk)
    form = ProjectForm(request.POST)
    job = None
    if form.is_valid():
        job = form.ask(services.request_projection, request.user, image, **form.wish())
    page = reverse("transforms:edit", args=[pk])
    if form.errors:
        return _refusal(request, form, page)
    return _answer(request, job, "Looking for it." if job else "This was projected before.", page)


@require_POST
def save(request: MemberRequest, pk: UUID) -> HttpResponse:
    image = get_object_or_404(Image.objects.select_related("projection").visible_to(request.user), pk=pk)
    form = SaveForm(request.POST)
    job = form.ask(services.request_save, request.user, image, **form.wish()) if form.is_valid() else None
    if job is None:
        return _refusal(request, form, reverse("transforms:edit", args=[pk]))
    return _answer(request, job, "Saving.", reverse("gallery:saved"))


@require_POST
def upscale(request: MemberRequest, pk: UUID) -> HttpResponse:
    saved = get_object_or_404(SavedImage.objects.visible_to(request.user), pk=pk)
    form = UpscaleForm(request.POST)
    job = form.ask(services.request_upscale, request.user, saved, **form.wish()) if form.is_valid() else None
    page = reverse("gallery:saved_detail", args=[pk])
    return _refusal(request, form, page) if job is None else _answer(request, job, "Enlarging.", page)


# --- The list, and changing one's mind ----------------------------------------------------------------------


@require_safe
@never_cache
def jobs(request: MemberRequest) -> HttpResponse:
    newest = list(Job.objects.visible_to(request.user).defer("preview")[:JOBS_SHOWN])
    context = {"jobs": jobs_as_data(newest)}
    return fragment(request, "transforms/jobs.html", "transforms/_jobs.html", context)


@require_POST
def cancel(request: MemberRequest, pk: UUID) -> HttpResponse:
    job = _own(request, pk)
    done = services.cancel(request.user, job)
    text = "Canceled." if done else "This job is over already."
    return _answer(request, job, text, reverse("transforms:jobs"), level="success" if done else "info")


@require_POST
def keep(request: MemberRequest, pk: UUID) -> HttpResponse:
    job = _own(request, pk)
    done = services.keep(request.user, job)
    text = (
        "Stopping, and keeping what was found."
        if done
        else "There is nothing to stop: this job does not run."
    )
    return _answer(request, job, text, reverse("transforms:jobs"), level="success" if done else "info")


@require_POST
def retry(request: MemberRequest, pk: UUID) -> HttpResponse:
    job = _own(request, pk)
    try:
        again = services.retry(request.user, job)
    except (NotReady, QuotaReached) as error:
        return _answer(request, job, str(error), reverse("transforms:jobs"), level="error")
    return _answer(request, again, "Trying again.", reverse("transforms:jobs"))


@require_safe
def preview(request: MemberRequest, pk: UUID) -> HttpResponse:
    """What a projection looks like at present (WebP)."""
    return preview_response(Job.objects.visible_to(request.user), pk)


# --- Answers ------------------------------------------------------------------------------------------------


def _own(request: MemberRequest, pk: UUID) -> Job:
    return get_object_or_404(Job.objects.visible_to(request.user).defer("preview"), pk=pk)


def _answer(
    request: MemberRequest, job: Job | None, text: str, page: str, *, level: Level = "success"
) -> HttpResponse:
    if wants_fragment(request):
        return trigger(toast(HttpResponse(status=204), text, level), "jobs-changed")
    if _wants_json(request):
        if job is not None:
            job.refresh_from_db()
        return JsonResponse({"job": job and jobs_as_data([job])[0], "text": text}, status=202 if job else 200)
    messages.add_message(request, messages.ERROR if level == "error" else messages.SUCCESS, text)
    return redirect(page)


def _refusal(request: MemberRequest, form: WishForm, page: str) -> HttpResponse:
    """Why not, in a sentence; in JSON also at which field."""
    sentences = [str(sentence) for errors in form.errors.values() for sentence in errors]
    text = " ".join(sentences)
    if wants_fragment(request):
        return toast(HttpResponse(status=422, headers={"HX-Reswap": "none"}), text, "error")
    if _wants_json(request):
        return JsonResponse({"detail": text, "errors": _plain(form.errors.get_json_data())}, status=422)
    messages.error(request, text)
    return redirect(page)


def _plain(errors: dict[str, list[dict[str, Any]]]) -> dict[str, list[str]]:
    return {field: [error["message"] for error in found] for field, found in errors.items()}


def _wants_json(request: MemberRequest) -> bool:
    return request.get_preferred_type(["text/html", "application/json"]) == "application/json"
