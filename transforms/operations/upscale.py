"""Enlarge a saved picture, tile by tile."""

from __future__ import annotations

from gallery.services import prepare_upscaled
from transforms.context import JobContext, Outcome, tag_of
from transforms.engine import engine
from transforms.errors import JobFailed
from transforms.models import Job
from transforms.params import UpscaleParams
from transforms.pictures import pixels_of


def run(job: Job, context: JobContext) -> Outcome:
    params = UpscaleParams.from_data(job.params)
    saved = job.saved_image
    if saved is None or not saved.file:
        raise JobFailed("The picture that should be enlarged is not there any more.")

    def on_tile(done: int, total: int) -> None:
        context.progress(0.9 * done / total, f"Part {done} of {total}")

    large = engine().upscale(
        params.upscaler, pixels_of(saved, alpha=True), on_tile=on_tile, should_stop=context.should_stop
    )
    context.check()
    context.computed()
    stored = prepare_upscaled(saved, large, params.upscaler, tag_of(job))
    result = {"saved_image": str(saved.pk), "width": large.width, "height": large.height}
    return Outcome(result, stored.apply, stored.discard)
