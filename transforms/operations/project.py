"""Find an uploaded picture in a generator's latent space, and keep what was found."""

from __future__ import annotations

import io
from dataclasses import replace

from PIL import Image as Pillow
from PIL.Image import Image as Picture

from gallery.models import Image, Status
from gallery.services import prepare_projection
from transforms import projections
from transforms.context import JobContext, Outcome, tag_of
from transforms.engine import Found, engine
from transforms.errors import JobFailed
from transforms.models import Job
from transforms.params import DEFAULT_GRADE, Crop, ProjectParams
from transforms.pictures import encode_webp, pixels_of


def run(job: Job, context: JobContext) -> Outcome:
    params = ProjectParams.from_data(job.params)
    image = job.image
    if image is None or params.crop is None or not image.file:
        raise JobFailed("The picture that should be projected is not there any more.")
    square = cropped(image, params.crop, engine().generator(params.generator).resolution)

    def on_step(step: int, steps: int, loss: float, preview: Picture | None) -> None:
        data = None if preview is None else encode_webp(preview)
        context.progress(step / max(1, steps), f"Step {step} of {steps}" if step else "A first draft", data)

    found = engine().project(
        params.generator,
        square,
        space=params.space,
        steps=params.steps,
        class_index=params.class_index,
        faithful=params.faithful,
        on_step=on_step,
        should_stop=context.should_stop,
    )
    if found.stopped_early:
        context.check()
    context.computed()
    return _outcome(job, image, params, found)


def cropped(image: Image, crop: Crop, side_px: int) -> Picture:
    """The square of the upright picture, RGB, at the generator's resolution."""
    return (
        pixels_of(image)
        .crop(crop.box)
        .resize((side_px, side_px), Pillow.Resampling.LANCZOS, reducing_gap=3.0)
    )


def _outcome(job: Job, image: Image, params: ProjectParams, found: Found) -> Outcome:
    """What was stopped early is kept under the steps that were made: it does not stand for the whole."""
    info = engine().generator(params.generator)
    crop = params.crop.as_data() if params.crop else None
    if found.stopped_early:
        params = params if found.tuning_steps else replace(params, grade=DEFAULT_GRADE)
        key = projections.key_of(image, info.sha256, params, found.steps, found.tuning_steps)
    else:
        key = projections.key_of(image, info.sha256, params)

    stored = prepare_projection(
        image,
        key=key,
        latent=found.data,
        preview=_webp(found.picture),
        tag=tag_of(job),
        generator=info.name,
        generator_sha256=info.sha256,
        space=params.space,
        grade=params.grade,
        crop=crop,
        steps=found.steps,
        loss=found.loss,
        psnr=found.psnr,
    )

    def write() -> None:
        projection = stored.apply()
        Image.objects.filter(pk=image.pk).update(
            model=info.name,
            generator_sha256=info.sha256,
            crop=crop,
            status_process=Status.DONE,
            projection=projection,
        )

    result = {"stopped_early": found.stopped_early, "loss": found.loss, "psnr": found.psnr}
    return Outcome(result, write, stored.discard)


def _webp(picture: Picture) -> bytes:
    out = io.BytesIO()
    picture.save(out, "WEBP", quality=92, method=4)
    return out.getvalue()
