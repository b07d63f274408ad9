"""Draw a recipe exactly, and keep the picture with its recipe."""

from __future__ import annotations

from uuid import UUID

from PIL import Image as Pillow
from PIL.Image import Image as Picture

from gallery.models import SavedImage
from gallery.services import prepare_saved
from transforms import projections
from transforms.context import JobContext, Outcome
from transforms.engine import Source, engine
from transforms.models import Job
from transforms.recipes import LatentSource, Recipe

STRIP_PX = 512


def run(job: Job, context: JobContext) -> Outcome:
    recipe = Recipe.from_data(job.params["recipe"])
    source = projections.source_of_recipe(recipe, job.user_id)
    picture = _drawn(recipe, source, context)
    context.computed()
    context.progress(0.9, "Storing")
    saved = SavedImage(
        id=UUID(job.params["saved_image"]),
        user_id=job.user_id,
        parent_image_id=job.image_id,
        name=job.params["name"],
        model=recipe.generator,
        recipe=recipe.as_data(),
    )
    latent = source.read() if isinstance(recipe.source, LatentSource) and hasattr(source, "read") else None
    stored = prepare_saved(saved, picture, latent)

    def write() -> None:
        saved.save(force_insert=True)
        stored.apply()
        Job.objects.filter(pk=job.pk).update(saved_image=saved)

    return Outcome({"saved_image": str(saved.pk)}, write, stored.discard)


def _drawn(recipe: Recipe, source: Source, context: JobContext) -> Picture:
    """The picture of a recipe. A panorama is drawn strip by strip, so that it can be stopped."""
    window = recipe.panorama
    if window is None:
        return engine().render(source, recipe.edits, recipe.noise_mode, recipe.move)
    drawn: Picture | None = None
    for start in range(0, window.width, STRIP_PX):
        width = min(STRIP_PX, window.width - start)
        strip = engine().panorama(source, recipe.edits, window.left + start, width)
        if drawn is None:
            drawn = Pillow.new("RGB", (window.width, strip.height))
        drawn.paste(strip, (start, 0))
        if context.should_stop():
            context.check()
        context.progress(
            0.9 * (start + width) / window.width, f"{start + width:,} of {window.width:,} pixels"
        )
    assert drawn is not None  # noqa: S101  (a panorama is at least one pixel wide)
    return drawn
