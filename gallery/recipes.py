"""A recipe in words. What a recipe means and whether it can be followed is decided elsewhere: this only reads it aloud."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

NOISE = {"const": "The same grain each time", "random": "New grain each time", "none": "No grain"}


@dataclass(frozen=True)
class Fact:
    label: str
    value: str


def describe(recipe: Any) -> list[Fact]:
    """Label and value of each thing the recipe says; nothing is raised for what is missing or odd in it."""
    if not isinstance(recipe, dict) or not recipe:
        return []
    return list(_facts(recipe))


def _facts(recipe: dict[str, Any]) -> Iterator[Fact]:
    generator = _mapping(recipe.get("generator"))
    source = _mapping(recipe.get("source"))
    if name := generator.get("name"):
        yield Fact("Generator", str(name))
    if source.get("kind") == "seed":
        yield Fact("Starts from", f"Seed {source.get('seed')}")
        if source.get("class") is not None:
            yield Fact("Class", str(source["class"]))
        if (psi := recipe.get("truncation_psi")) is not None:
            yield Fact("Truncation", _number(psi))
    elif source.get("kind") == "latent":
        yield Fact("Starts from", "An uploaded picture, found in the model")
    edits = recipe.get("edits") or []
    if not edits:
        yield Fact("Sliders", "None moved")
    for edit in edits if isinstance(edits, list) else []:
        yield _slider(_mapping(edit))
    if (noise := recipe.get("noise_mode")) is not None:
        yield Fact("Fine detail", NOISE.get(noise, str(noise)))


def _slider(edit: dict[str, Any]) -> Fact:
    component = edit.get("component")
    label = f"Slider {component + 1}" if isinstance(component, int) else "Slider"
    return Fact(label, f"{_signed(edit.get('strength'))} σ on {_layers(edit)}")  # noqa: RUF001  (the field's own sign)


def _layers(edit: dict[str, Any]) -> str:
    """Layers are counted from 1 for people; the recipe's range is half-open and counts from 0."""
    start, end = edit.get("start"), edit.get("end")
    if not isinstance(start, int) or not isinstance(end, int):
        return "all layers"
    return f"layer {start + 1}" if end == start + 1 else f"layers {start + 1} to {end}"


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _number(value: Any) -> str:
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def _signed(value: Any) -> str:
    return f"{value:+g}".replace("-", "\N{MINUS SIGN}") if isinstance(value, int | float) else str(value)
