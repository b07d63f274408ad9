"""From pictures to places in a latent space: which projection counts, and how the engine opens it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID

from django.core.files.storage import default_storage

from gallery.models import Image, Projection, SavedImage
from transforms.engine import TUNING_STEPS, FileSource, SeedSource, Source
from transforms.errors import NotReady
from transforms.params import Look, ProjectParams
from transforms.recipes import LatentSource, Recipe
from transforms.recipes import SeedSource as SeedOfRecipe

MAX_LATENT_BYTES = 64 * 1024 * 1024
KEY_VERSION = 1
"""To be raised when projection changes so much that old results should not stand for new ones."""


@dataclass(frozen=True)
class StoredLatent:
    """Reads the file of a latent, wherever media lies. Its name may travel to another process."""

    name: str

    def __call__(self) -> bytes:
        with default_storage.open(self.name, "rb") as stream:
            data: bytes = stream.read(MAX_LATENT_BYTES)
        return data


def key_of(
    image: Image,
    generator_sha256: str,
    params: ProjectParams,
    steps: int | None = None,
    tuning_steps: int = TUNING_STEPS,
) -> str:
    """
    SHA-256 of all that determines a projection: two wishes with the same key have the same answer. `steps` and
    `tuning_steps`: those that were made, if fewer than what was wished.
    """
    what: dict[str, object] = {
        "version": KEY_VERSION,
        "picture": image.sha256,
        "generator": generator_sha256,
        "crop": params.crop.as_data() if params.crop else None,
        "space": params.space,
        "steps": params.steps if steps is None else steps,
    }
    if params.class_index is not None:
        what["class"] = params.class_index
    if params.faithful:
        what |= {"grade": params.grade, "tuning": tuning_steps}
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


def needs_projection(image: Image) -> bool:
    """Whether the editor cannot open the picture yet. Random pictures come from a place that is known."""
    return image.source == Image.Source.UPLOAD and image.projection_id is None


def source_of(image: Image, look: Look | None = None) -> Source:
    """What the engine needs to draw the picture again. Truncation and class count for random pictures only."""
    if image.source == Image.Source.RANDOM:
        seed = SeedSource(
            generator_sha256=image.generator_sha256,
            seed=image.seed or 0,
            class_index=image.class_index,
            truncation_psi=image.truncation_psi,
        )
        return seed if look is None else seed.seen(look)
    if image.projection is None:
        raise NotReady("This picture has to be projected before it can be edited.")
    return _file_source(image.projection)


def recipe_of(image: Image, look: Look | None = None) -> Recipe:
    """The recipe of the picture without edits."""
    look = look or Look()
    source = source_of(image, look)
    if isinstance(source, SeedSource):
        return Recipe(
            generator=image.model,
            generator_sha256=image.generator_sha256,
            source=SeedOfRecipe(source.seed, source.class_index),
            truncation_psi=source.truncation_psi,
            noise_mode=look.noise_mode,
            move=look.move,
        )
    projection = image.projection
    if projection is None:
        raise NotReady("This picture has to be projected before it can be edited.")
    return Recipe(
        generator=projection.generator,
        generator_sha256=projection.generator_sha256,
        source=LatentSource(str(projection.pk), hashlib.sha256(source.read()).hexdigest()),
        noise_mode=look.noise_mode,
        move=look.move,
    )


def source_of_recipe(recipe: Recipe, user_id: UUID) -> Source:
    """What the engine needs to follow a member's recipe. A latent may come from the copy of a saved picture."""
    if isinstance(recipe.source, SeedOfRecipe):
        return SeedSource(
            recipe.generator_sha256,
            recipe.source.seed,
            recipe.source.class_index,
            recipe.truncation_psi,
            recipe.truncation_cutoff,
        )
    pk = recipe.source.projection
    projection = Projection.objects.filter(pk=pk, image__user_id=user_id).first()
    if projection is not None and projection.file:
        return _file_source(projection)
    saved = SavedImage.objects.filter(
        user_id=user_id, recipe__source__projection=pk, latent_file__gt=""
    ).first()
    if saved is None:
        raise NotReady("The projection that this picture starts from was deleted. Project the photo again.")
    return FileSource(
        recipe.generator_sha256, f"saved:{saved.pk}", StoredLatent(saved.latent_file.name or "")
    )


def _file_source(projection: Projection) -> FileSource:
    version = f"{projection.steps}:{projection.loss}"  # a projection that was made anew has another latent
    key = f"projection:{projection.pk}:{version}"
    return FileSource(projection.generator_sha256, key, StoredLatent(projection.file.name or ""))


def source_as_data(source: Source) -> dict[str, Any]:
    """A source as JSON, for another process that reaches the same models and files."""
    if isinstance(source, SeedSource):
        return {"kind": "seed", **asdict(source)}
    if not isinstance(source.read, StoredLatent):
        raise TypeError("Only a latent that is stored in a file can be told to another process.")
    return {
        "kind": "file",
        "generator_sha256": source.generator_sha256,
        "key": source.key,
        "name": source.read.name,
    }


def source_from_data(data: dict[str, Any]) -> Source:
    what = {name: value for name, value in data.items() if name != "kind"}
    if data["kind"] == "seed":
        return SeedSource(**what)
    return FileSource(what["generator_sha256"], what["key"], StoredLatent(what["name"]))
