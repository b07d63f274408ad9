"""Draw a batch of pictures from seeds. Each is stored and announced as soon as it is there."""

from __future__ import annotations

from functools import partial

from gallery.models import Image, Status
from gallery.services import Stored, prepare_image
from transforms.context import JobContext, Outcome
from transforms.durability import forgettable
from transforms.engine import engine
from transforms.errors import LeaseLost
from transforms.models import Job
from transforms.params import RandomParams
from transforms.together import seeds_of, waiting_images


def run(job: Job, context: JobContext) -> Outcome:
    params = RandomParams.from_data(job.params)
    waiting = waiting_images(job)
    seeds = seeds_of(waiting)
    shared = context.drawing and context.drawing.pictures_of(job, seeds)
    pictures = shared or engine().draw(
        params.generator,
        seeds,
        truncation_psi=params.truncation_psi,
        class_index=params.class_index,
    )
    total = len(job.result["images"])
    for image, picture in zip(waiting, pictures, strict=True):
        ready = [*job.result["ready"], str(image.pk)]
        if context.should_stop():
            context.check()
        if len(ready) == total:
            context.computed()
            return _with_last(job, prepare_image(image, picture), ready)
        _store(job, context, prepare_image(image, picture), ready)
    return Outcome(job.result)


def _with_last(job: Job, stored: Stored, ready: list[str]) -> Outcome:
    """The last picture is there when the job is over: one transaction for both, as most batches are of one picture."""

    def write() -> None:
        stored.apply(status_process=Status.DONE)

    return Outcome({**job.result, "ready": ready}, write, stored.discard, partial(_discard_if_gone, stored))


def _store(job: Job, context: JobContext, stored: Stored, ready: list[str]) -> None:
    """The picture, and the word that it is there, in one transaction."""
    total = len(job.result["images"])
    try:
        with forgettable():
            context.update(
                result={**job.result, "ready": ready},
                progress=len(ready) / total,
                stage=f"Picture {len(ready)} of {total}",
            )
            stored.apply(status_process=Status.DONE)
    except LeaseLost:
        _discard_if_gone(stored)
        raise
    job.result["ready"] = ready


def _discard_if_gone(stored: Stored) -> None:
    """A picture whose row is gone was canceled: nobody else will need its files."""
    if not Image.objects.filter(pk=stored.row.pk).exists():
        stored.discard()
