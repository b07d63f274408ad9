"""What templates ask about the installed generators."""

from __future__ import annotations

from dataclasses import dataclass

from django import template

from gallery.models import Image
from transforms.classes import class_labels
from transforms.engine import engine
from transforms.errors import GeneratorMissing

register = template.Library()
SHEET_FILE = "sheet.webp"


@dataclass(frozen=True)
class Choice:
    """A generator as a member chooses it: in words, and by what it draws. `crop`: "left,top,right,bottom" of the
    square that it keeps, in pixels; empty if it keeps all."""

    name: str
    label: str
    description: str
    resolution: int
    width: int
    height: int
    crop: str
    has_sheet: bool
    has_encoder: bool


@register.simple_tag
def installed_generators() -> list[Choice]:
    """Each generator that is there. Reads headers only."""
    return [
        Choice(
            name=info.name,
            label=info.label,
            description=info.description,
            resolution=info.resolution,
            width=info.picture_size[0],
            height=info.picture_size[1],
            crop=",".join(map(str, info.crop or ())),
            has_sheet=info.path.with_name(SHEET_FILE).is_file(),
            has_encoder=info.has_encoder,
        )
        for info in engine().generators()
    ]


@register.simple_tag
def class_of(image: Image) -> str:
    """The class that a random picture shows, in words; empty if it has none."""
    if image.class_index is None:
        return ""
    try:
        info = engine().generator_by_sha256(image.generator_sha256)
    except GeneratorMissing:
        return f"class {image.class_index}"
    labels = class_labels(info.c_dim, info.classes)
    return labels[image.class_index] if image.class_index < len(labels) else f"class {image.class_index}"
