"""Draw a batch of pictures from seeds. Each is stored and announced as soon as it is there."""

from __future__ import annotations

from PIL.Image import Image as Picture

from gallery.models import Image, Status
from gallery.services import prepare_image
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
    for image, picture in zip(waiting, pictures, strict=True):
        if context.should_stop():
            context.check()
        _store(job, context, image, picture)
    return Outcome(job.result)


def _store(job: Job, context: JobContext, image: Image, picture: Picture) -> None:
    """The picture, and the word that it is there, in one transaction."""
    stored = prepare_image(image, picture)
    ready = [*job.result["ready"], str(image.pk)]
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
        if not Image.objects.filter(pk=image.pk).exists():  # canceled: nobody else will need the files
            stored.discard()
        raise
    job.result["ready"] = ready
