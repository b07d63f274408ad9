"""The classes of a generator in words: each has a name of its own, which members choose by and read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

MAX_DIGITS = 9


def class_labels(count: int, names: Sequence[str] = ()) -> list[str]:
    """A label for each of `count` classes, all different. Without a name it is "Class 3"; of two that share a name
    each adds its number."""
    return list(_labels(count, tuple(names)))


@lru_cache(maxsize=32)  # each card of the gallery asks for them
def _labels(count: int, names: tuple[str, ...]) -> tuple[str, ...]:
    labels = [
        (names[index].strip() if index < len(names) else "") or f"Class {index}" for index in range(count)
    ]
    often = Counter(label.casefold() for label in labels)
    return tuple(
        f"{label} ({index})" if often[label.casefold()] > 1 else label for index, label in enumerate(labels)
    )


def class_named(words: str, labels: Sequence[str]) -> int | None:
    """The class that `words` mean: a label in any case, its number, or a part that only one label has."""
    words = words.strip().casefold()
    folded = [label.casefold() for label in labels]
    if words in folded:
        return folded.index(words)
    if words.isdecimal() and len(words) <= MAX_DIGITS and int(words) < len(labels):
        return int(words)
    found = [index for index, label in enumerate(folded) if words in label]
    return found[0] if words and len(found) == 1 else None
