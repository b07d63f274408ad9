"""Draw a recipe exactly, and keep the picture with its recipe."""

from __future__ import annotations

from uuid import UUID

from django.core.files.storage import default_storage

from gallery.models import SavedImage
from gallery.services import prepare_saved
from transforms import projections
from transforms.context import JobContext, Outcome
from transforms.engine import engine
from transforms.models import Job
from transforms.recipes import LatentSource, Recipe


def run(job: Job, context: JobContext) -> Outcome:
    recipe = Recipe.from_data(job.params["recipe"])
    source = projections.source_of_recipe(recipe, job.user_id)
    picture = engine().render(source, recipe.edits, recipe.noise_mode)
    context.progress(0.5, "Storing")
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

    def discard() -> None:
        for name in stored.names:
            default_storage.delete(name)

    return Outcome({"saved_image": str(saved.pk)}, write, discard)
