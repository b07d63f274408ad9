"""The editor's page: which of its states a picture is in, and what the page needs to know in each."""

from __future__ import annotations

import uuid
from typing import Any, Literal

from django.http import FileResponse, Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_safe

from gallery.models import Image, Projection, SavedImage, Status
from transforms.classes import class_labels
from transforms.engine import GeneratorInfo, engine
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
        context |= {"job": jobs_as_data([job])[0], "crop": job.params.get("crop"), "frame": _frame_in(job)}
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


def _frame_in(job: Job) -> list[float] | None:
    """What the generator of a projection keeps of the square."""
    try:
        return _frame_of(engine().generator(job.params["generator"]))
    except GeneratorMissing:
        return None


def _crop_context(image: Image, jobs: Any) -> dict[str, Any]:
    last = jobs.defer("preview").first()
    return {
        "crop": image.crop or Crop.middle_of(image.width, image.height).as_data(),
        "form": ProjectForm(),
        "smallest": min(32, image.width, image.height),
        "error": last.error if last is not None and last.state == State.FAILED else "",
    }


def _editing_context(image: Image, saved: SavedImage | None) -> dict[str, Any]:
    generator = _generator_of(image)
    random = image.source == Image.Source.RANDOM
    classes = class_labels(generator.c_dim, generator.classes) if generator and random else []
    width, height = generator.picture_size if generator else (image.width, image.height)
    config = {
        "image": str(image.pk),
        "source": image.source,
        "name": image.name,
        "width": width,
        "height": height,
        "scrolls": generator is not None and generator.scrolls,
        "truncation": image.truncation_psi if random else None,
        "class_index": image.class_index or 0 if classes else None,
        "crop": image.crop,
        "frame": _frame_of(generator),
        "saved": str(saved.pk) if saved else None,
        "left": saved.recipe.get("panorama", {}).get("left", 0) if saved else 0,
    }
    return {
        "config": config,
        "generator": generator,
        "classes": classes,
        "class_name": classes[image.class_index or 0] if classes else "",
        "saved": saved,
        "earlier": _earlier_projection(image, saved),
    }


def _generator_of(image: Image) -> GeneratorInfo | None:
    """What draws the picture in the editor: of an upload, the generator in which it was found."""
    sha256 = image.projection.generator_sha256 if image.projection else image.generator_sha256
    try:
        return engine().generator_by_sha256(sha256)
    except GeneratorMissing:
        return None  # the socket says so


def _frame_of(generator: GeneratorInfo | None) -> list[float] | None:
    """What the generator keeps of its squares: left, top, right and bottom, as parts of the side."""
    if generator is None or generator.crop is None:
        return None
    return [edge / generator.resolution for edge in generator.crop]


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
