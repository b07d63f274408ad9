"""The editor's page: which of its states a picture is in, and what the page needs to know in each."""

from __future__ import annotations

import uuid
from typing import Any, Literal

from django.http import FileResponse, Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_safe

from gallery.models import Image, Projection, SavedImage, Status
from transforms.engine import engine
from transforms.errors import GeneratorMissing
from transforms.forms import ProjectForm
from transforms.models import Job, Operation, State
from transforms.params import Crop
from transforms.representation import jobs_as_data
from transforms.templatetags.generators import SHEET_FILE

PageState = Literal["crop", "projecting", "drawing", "failed", "editing"]
SHEET_MAX_AGE_SECONDS = 86_400


@require_safe
def edit(request: HttpRequest, pk: uuid.UUID) -> HttpResponse:
    """The editor of one picture. `?again` chooses another square or generator, `?saved=<id>` restores its sliders."""
    images = Image.objects.visible_to(request.user).select_related("projection")
    image = get_object_or_404(images, pk=pk)
    jobs = Job.objects.visible_to(request.user).filter(image=image, operation=Operation.PROJECT)
    job = jobs.active().defer("preview").first()
    state = _state(image, job, again="again" in request.GET)
    context: dict[str, Any] = {"image": image, "state": state}
    if state == "projecting" and job is not None:
        context |= {"job": jobs_as_data([job])[0], "crop": job.params.get("crop")}
    elif state == "crop":
        context |= _crop_context(image, jobs)
    elif state == "editing":
        context |= _editing_context(image, _saved(request, image))
    response = render(request, "transforms/edit.html", context)
    response["Cache-Control"] = "no-store"  # going back must show the state of today
    return response


@require_safe
def generator_sheet(request: HttpRequest, name: str) -> FileResponse:
    """A generator's contact sheet: what it draws, at a glance."""
    try:
        path = engine().generator(name).path.with_name(SHEET_FILE)
    except GeneratorMissing as error:
        raise Http404 from error
    if not path.is_file():
        raise Http404
    response = FileResponse(path.open("rb"), content_type="image/webp")
    response["Cache-Control"] = f"private, max-age={SHEET_MAX_AGE_SECONDS}"
    return response


def _state(image: Image, job: Job | None, *, again: bool) -> PageState:
    if image.source == Image.Source.RANDOM:
        if image.is_ready:
            return "editing"
        return "failed" if image.status_process == Status.FAILED else "drawing"
    if job is not None:
        return "projecting"
    return "crop" if again or image.projection is None else "editing"


def _crop_context(image: Image, jobs: Any) -> dict[str, Any]:
    last = jobs.defer("preview").first()
    return {
        "crop": image.crop or Crop.middle_of(image.width, image.height).as_data(),
        "form": ProjectForm(),
        "smallest": min(32, image.width, image.height),
        "error": last.error if last is not None and last.state == State.FAILED else "",
    }


def _editing_context(image: Image, saved: SavedImage | None) -> dict[str, Any]:
    config = {
        "image": str(image.pk),
        "source": image.source,
        "name": image.name,
        "truncation": image.truncation_psi if image.source == Image.Source.RANDOM else None,
        "crop": image.crop,
        "saved": str(saved.pk) if saved else None,
    }
    return {"config": config, "saved": saved, "earlier": _earlier_projection(image, saved)}


def _saved(request: HttpRequest, image: Image) -> SavedImage | None:
    """The saved picture that the address names: the member's own, made from this image."""
    try:
        pk = uuid.UUID(request.GET.get("saved", ""))
    except ValueError:
        return None
    found: SavedImage | None = (
        SavedImage.objects.visible_to(request.user).filter(pk=pk, parent_image=image).first()
    )
    return found


def _earlier_projection(image: Image, saved: SavedImage | None) -> Projection | None:
    """The projection that `saved` was made from, if the image has been projected anew since."""
    source: dict[str, Any] = saved.recipe.get("source", {}) if saved else {}
    if source.get("kind") != "latent" or source["projection"] == str(image.projection_id):
        return None
    return image.projections.filter(pk=source["projection"]).first()
