"""What templates ask about the installed generators."""

from __future__ import annotations

from dataclasses import dataclass

from django import template

from transforms.engine import engine

register = template.Library()
SHEET_FILE = "sheet.webp"


@dataclass(frozen=True)
class Choice:
    """A generator as a member chooses it: in words, and by what it draws."""

    name: str
    label: str
    description: str
    resolution: int
    classes: tuple[str, ...]
    has_components: bool
    has_sheet: bool


@register.simple_tag
def installed_generators() -> list[Choice]:
    """Each generator that is there. Reads headers only."""
    return [
        Choice(
            name=info.name,
            label=info.label,
            description=info.description,
            resolution=info.resolution,
            classes=info.classes,
            has_components=info.has_components,
            has_sheet=info.path.with_name(SHEET_FILE).is_file(),
        )
        for info in engine().generators()
    ]
