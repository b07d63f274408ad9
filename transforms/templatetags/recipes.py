"""What the page of a saved picture asks: its recipe in the generator's own words, and whether it can be enlarged."""

from __future__ import annotations

from django import template

from gallery.models import SavedImage
from gallery.recipes import Fact, Words, describe
from transforms import services
from transforms.classes import class_labels
from transforms.engine import UpscalerInfo, engine
from transforms.errors import GeneratorMissing
from transforms.params import BASES

register = template.Library()


@register.simple_tag
def recipe_facts(saved: SavedImage) -> list[Fact]:
    """The recipe in words. Reads headers only."""
    return describe(saved.recipe, _words_of(saved))


@register.simple_tag
def upscalers_for(saved: SavedImage) -> list[UpscalerInfo]:
    """With what the picture can be enlarged. Reads headers only."""
    return services.upscalers_for(saved)


@register.filter
def enlarged_by(saved: SavedImage) -> str:
    """What enlarged the picture, as people are offered it; by its name if it is not installed any more."""
    titles = {info.name: info.title for info in engine().upscalers()}
    return titles.get(saved.upscaler, saved.upscaler)


def _words_of(saved: SavedImage) -> Words:
    try:
        info = engine().generator_by_sha256(str(saved.recipe["generator"]["sha256"]))
    except (GeneratorMissing, KeyError, TypeError):
        return Words()
    return Words(
        directions={basis: engine().direction_names(info.name, basis) for basis in BASES},
        classes=class_labels(info.c_dim, info.classes),
        layers=info.num_ws,
        has_noise=info.has_noise,
    )
