"""A recipe in words. What a recipe means and whether it can be followed is decided elsewhere: this only reads it aloud."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

NOISE = {"const": "The same grain each time", "random": "New grain each time", "none": "No grain"}
SLIDERS = {"components": "Slider", "factors": "Factor"}


@dataclass(frozen=True)
class Fact:
    label: str
    value: str


@dataclass(frozen=True)
class Words:
    """What the generator calls things, if it is still there.

    `directions`: the names of its directions, for each basis. `layers`: how many it has; 0: not known.
    """

    directions: Mapping[str, Sequence[str]] = field(default_factory=dict)
    classes: Sequence[str] = ()
    layers: int = 0
    has_noise: bool = True


def describe(recipe: Any, words: Words | None = None) -> list[Fact]:
    """Label and value of each thing the recipe says; nothing is raised for what is missing or odd in it."""
    if not isinstance(recipe, dict) or not recipe:
        return []
    return list(_facts(recipe, words or Words()))


def _facts(recipe: dict[str, Any], words: Words) -> Iterator[Fact]:
    generator = _mapping(recipe.get("generator"))
    if name := generator.get("name"):
        yield Fact("Generator", str(name))
    yield from _source(_mapping(recipe.get("source")), recipe.get("truncation_psi"), words)
    edits = recipe.get("edits") or []
    if not edits:
        yield Fact("Sliders", "None moved")
    for edit in edits if isinstance(edits, list) else []:
        yield _slider(_mapping(edit), words)
    yield from _moves(_mapping(recipe.get("move")))
    if window := _mapping(recipe.get("panorama")):
        yield Fact("Panorama", _panorama(window))
    if words.has_noise and (noise := recipe.get("noise_mode")) is not None:
        yield Fact("Fine detail", NOISE.get(noise, str(noise)))


def _source(source: dict[str, Any], psi: Any, words: Words) -> Iterator[Fact]:
    if source.get("kind") == "seed":
        yield Fact("Starts from", f"Seed {source.get('seed')}")
        if (number := source.get("class")) is not None:
            yield Fact("Class", _named(words.classes, number) or str(number))
        if psi is not None:
            yield Fact("Truncation", _number(psi))
    elif source.get("kind") == "latent":
        yield Fact("Starts from", "An uploaded picture, found in the model")


def _slider(edit: dict[str, Any], words: Words) -> Fact:
    component, basis = edit.get("component"), edit.get("basis") or "components"
    kind = SLIDERS.get(basis, "Slider")
    label = f"{kind} {component + 1}" if isinstance(component, int) else kind
    name = _named(words.directions.get(basis, ()), component)
    return Fact(name or label, f"{_signed(edit.get('strength'))} σ on {_layers(edit, words.layers)}")  # noqa: RUF001  (the field's own sign)


def _layers(edit: dict[str, Any], count: int) -> str:
    """Layers are counted from 1 for people; the recipe's range is half-open and counts from 0."""
    start, end = edit.get("start"), edit.get("end")
    if not isinstance(start, int) or not isinstance(end, int) or (start == 0 and end == count):
        return "all layers"
    return f"layer {start + 1}" if end == start + 1 else f"layers {start + 1} to {end}"


def _moves(move: dict[str, Any]) -> Iterator[Fact]:
    x, y, degrees = (move.get(axis) for axis in ("x", "y", "degrees"))
    parts = [
        f"{abs(share) * 100:.4g} % {forward if share > 0 else backward}"
        for share, forward, backward in ((x, "to the right", "to the left"), (y, "down", "up"))
        if isinstance(share, int | float) and share
    ]
    if isinstance(degrees, int | float) and degrees:
        parts.append(f"turned by {_signed(degrees)}°")
    if parts:
        yield Fact("Moved", ", ".join(parts))


def _panorama(window: dict[str, Any]) -> str:
    left = window.get("left")
    where = f"from pixel {left} on" if left else "from the start"
    return f"{window.get('width')} pixels wide, {where}"


def _named(names: Sequence[str], number: Any) -> str:
    return names[number] if isinstance(number, int) and 0 <= number < len(names) else ""


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _number(value: Any) -> str:
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def _signed(value: Any) -> str:
    return f"{value:+g}".replace("-", "\N{MINUS SIGN}") if isinstance(value, int | float) else str(value)
