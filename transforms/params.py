"""The parameters of each operation: one schema, which the forms, the API, the sockets and the workers share.

Each class is made by `from_data(mapping)`, which checks everything and raises `InvalidParams` with a sentence,
and gives back plain JSON with `as_data()`. What depends on the installed generators is checked in `services`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from transforms.errors import InvalidParams

MAX_SEED = 2**31 - 1
MAX_COUNT = 10
MAX_TRUNCATION_PSI = 1.5
DEFAULT_TRUNCATION_PSI = 0.7
MAX_STRENGTH_SIGMA = 10.0
MAX_EDITS = 64
MAX_STEPS = 1000
DEFAULT_STEPS = 100
MAX_NAME = 120
MAX_PIXELS_SIDE = 100_000
SPACES = ("w+", "w")
# draft: what the encoder says, without a search; faithful: the generator is tuned for the picture too
GRADES = ("draft", "refined", "faithful")
DEFAULT_GRADE = "refined"
NOISE_MODES = ("const", "random", "none")
DEFAULT_UPSCALER = "faithful-x4"
MAX_SERIES_STEPS = 11
BASES = ("components", "factors")
MAX_PANORAMA_PX = 16_384
UNWRITABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")  # control characters, and halves of characters
MAX_TILES = 40
MAX_TILE = 255

Data = Mapping[str, Any]


def whole(data: Data, field: str, low: int, high: int, default: int | None = None) -> int:
    """A whole number from `low` to `high`; text of digits counts as one, a boolean does not."""
    value = data.get(field)
    if value is None or value == "":
        value = default
    if isinstance(value, str) and re.fullmatch(r"\s*-?[0-9]{1,18}\s*", value):
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InvalidParams(field, f"{_label(field)} must be a whole number from {low} to {high}.")
    return value


def number(data: Data, field: str, low: float, high: float, default: float | None = None) -> float:
    """A finite number from `low` to `high`."""
    value = data.get(field)
    if value is None or value == "":
        value = default
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            value = None
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise InvalidParams(field, f"{_label(field)} must be a number from {low:g} to {high:g}.")
    return float(value)


def text(data: Data, field: str, limit: int, default: str | None = None) -> str:
    """A text of at most `limit` characters without control characters; required if there is no default."""
    value = data.get(field)
    if value is None or value == "":
        value = default
    if not isinstance(value, str) or len(value) > limit or UNWRITABLE.search(value):
        raise InvalidParams(field, f"{_label(field)} must be a text of at most {limit} characters.")
    return value.strip()


def choice(data: Data, field: str, allowed: Sequence[str], default: str | None = None) -> str:
    value = data.get(field) or default
    if value not in allowed:
        raise InvalidParams(field, f"{_label(field)} must be one of: {', '.join(allowed)}.")
    return str(value)


def _label(field: str) -> str:
    return LABELS.get(field, field.replace("_", " ").capitalize())


LABELS = {
    "truncation_psi": "The truncation",
    "count": "The number of pictures",
    "seed": "The seed",
    "class_index": "The class",
    "generator": "The generator",
    "upscaler": "The upscaler",
    "strength": "The strength of a slider",
    "component": "The component of a slider",
    "start": "The first layer of a slider",
    "end": "The last layer of a slider",
    "steps": "The number of steps",
    "size": "The size of the square",
    "name": "The name",
    "basis": "The kind of a slider",
    "x": "The shift to the right",
    "y": "The shift down",
    "degrees": "The turn in degrees",
    "left": "The left end of the panorama",
    "width": "The width of the panorama",
    "label": "The label",
    "license": "The licence",
    "file_name": "The name of the file",
    "bytes": "The size of the file",
}


@dataclass(frozen=True)
class Edit:
    """One slider: `component` moved by `strength` sigma (-10 to 10) on the layers from `start` to before `end`.

    `basis`: the number counts principal components ("components") or closed-form factors ("factors").
    """

    component: int
    strength: float
    start: int
    end: int
    basis: str = BASES[0]

    @classmethod
    def from_data(cls, data: object) -> Self:
        if not isinstance(data, Mapping):
            raise InvalidParams(
                "edits", "Each edit must be an object with component, strength, start and end."
            )
        edit = cls(
            component=whole(data, "component", 0, 8191),
            strength=number(data, "strength", -MAX_STRENGTH_SIGMA, MAX_STRENGTH_SIGMA),
            start=whole(data, "start", 0, 63),
            end=whole(data, "end", 1, 64),
            basis=choice(data, "basis", BASES, BASES[0]),
        )
        if edit.start >= edit.end:
            raise InvalidParams("edits", "The layers of an edit must be a start and a later end.")
        return edit


def edits_from(value: object) -> tuple[Edit, ...]:
    """A list of at most 64 edits; nothing at all means no edits."""
    if value is None:
        return ()
    if not isinstance(value, list | tuple) or len(value) > MAX_EDITS:
        raise InvalidParams("edits", f"The edits must be a list of at most {MAX_EDITS}.")
    return tuple(Edit.from_data(item) for item in value)


def edits_as_data(edits: Sequence[Edit]) -> list[dict[str, Any]]:
    """Edits as JSON; the basis is named only where it is not the usual one."""
    return [
        {key: value for key, value in asdict(edit).items() if key != "basis" or value != BASES[0]}
        for edit in edits
    ]


@dataclass(frozen=True)
class Move:
    """How far a picture is shifted right and down, as parts of its side (-1 to 1), and turned (-180 to 180 degrees)."""

    x: float = 0.0
    y: float = 0.0
    degrees: float = 0.0

    @classmethod
    def from_data(cls, data: object) -> Self:
        if not isinstance(data, Mapping):
            raise InvalidParams("move", "A move must be an object with x, y and degrees.")
        return cls(
            x=number(data, "x", -1, 1, 0.0),
            y=number(data, "y", -1, 1, 0.0),
            degrees=number(data, "degrees", -180, 180, 0.0),
        )

    def as_data(self) -> dict[str, float]:
        return asdict(self)


STILL = Move()


def move_from(value: object) -> Move:
    """Nothing at all means that the picture stays where it is."""
    return STILL if value is None else Move.from_data(value)


@dataclass(frozen=True)
class Panorama:
    """A window of a panorama: `width` pixels from `left` on, of at most 16,384."""

    left: int
    width: int

    @classmethod
    def from_data(cls, data: object) -> Self:
        if not isinstance(data, Mapping):
            raise InvalidParams("panorama", "A panorama must be an object with left and width.")
        window = cls(
            left=whole(data, "left", 0, MAX_PANORAMA_PX, 0), width=whole(data, "width", 1, MAX_PANORAMA_PX)
        )
        if window.left + window.width > MAX_PANORAMA_PX:
            raise InvalidParams(
                "panorama", f"A panorama ends at {MAX_PANORAMA_PX} pixels. Choose less of it."
            )
        return window

    def as_data(self) -> dict[str, int]:
        return asdict(self)


def panorama_from(value: object) -> Panorama | None:
    return None if value is None else Panorama.from_data(value)


def class_from(data: Data) -> int | None:
    """The number of a class, if one is named."""
    return None if data.get("class_index") in (None, "") else whole(data, "class_index", 0, 8191)


def tiles_from(value: object) -> tuple[int, ...]:
    """Which tiles of a panorama are asked for, in that order."""
    fits = isinstance(value, list) and 1 <= len(value) <= MAX_TILES
    if (
        not isinstance(value, list)
        or not fits
        or not all(type(tile) is int and 0 <= tile <= MAX_TILE for tile in value)
    ):
        raise InvalidParams(
            "tiles", f"The tiles must be a list of 1 to {MAX_TILES} numbers from 0 to {MAX_TILE}."
        )
    return tuple(dict.fromkeys(value))


@dataclass(frozen=True)
class Crop:
    """A square of the upright picture, in its pixels."""

    x: int
    y: int
    size: int

    @classmethod
    def from_data(cls, data: Data) -> Self:
        return cls(
            x=whole(data, "x", 0, MAX_PIXELS_SIDE),
            y=whole(data, "y", 0, MAX_PIXELS_SIDE),
            size=whole(data, "size", 1, MAX_PIXELS_SIDE),
        )

    @classmethod
    def middle_of(cls, width: int, height: int) -> Self:
        """The largest square in the middle."""
        size = min(width, height)
        return cls(x=(width - size) // 2, y=(height - size) // 2, size=size)

    def check_within(self, width: int, height: int) -> None:
        if self.x + self.size > width or self.y + self.size > height:
            raise InvalidParams(
                "crop", f"The square must lie within the picture, which has {width} x {height} pixels."
            )

    @property
    def box(self) -> tuple[int, int, int, int]:
        return self.x, self.y, self.x + self.size, self.y + self.size

    def as_data(self) -> dict[str, int]:
        return asdict(self)


@dataclass(frozen=True)
class RandomParams:
    """`count` pictures of the seeds `seed`, `seed + 1`, ... (after the largest comes 0)."""

    generator: str
    count: int
    seed: int | None
    truncation_psi: float
    class_index: int | None

    @classmethod
    def from_data(cls, data: Data) -> Self:
        return cls(
            generator=text(data, "generator", 100),
            count=whole(data, "count", 1, MAX_COUNT, 1),
            seed=None if data.get("seed") in (None, "") else whole(data, "seed", 0, MAX_SEED),
            truncation_psi=number(data, "truncation_psi", 0.0, MAX_TRUNCATION_PSI, DEFAULT_TRUNCATION_PSI),
            class_index=class_from(data),
        )

    def seeds(self, first: int) -> list[int]:
        return [(first + index) % (MAX_SEED + 1) for index in range(self.count)]

    def as_data(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class ProjectParams:
    """Find the square `crop` of an upload in the space "w+" or "w" of a generator, in `steps` steps.

    `class_index`: near which class of the generator to look; None: among all. `grade`: one of `GRADES`; a draft has
    no steps.
    """

    generator: str
    crop: Crop | None
    space: str
    steps: int
    class_index: int | None = None
    grade: str = DEFAULT_GRADE

    @classmethod
    def from_data(cls, data: Data) -> Self:
        crop = data.get("crop")
        if isinstance(crop, Crop):
            crop = crop.as_data()
        if crop is not None and not isinstance(crop, Mapping):
            raise InvalidParams("crop", "The square must be an object with x, y and size.")
        grade = choice(data, "grade", GRADES, DEFAULT_GRADE)
        return cls(
            generator=text(data, "generator", 100),
            crop=None if crop is None else Crop.from_data(crop),
            space=choice(data, "space", SPACES, SPACES[0]),
            steps=0 if grade == "draft" else whole(data, "steps", 1, MAX_STEPS, DEFAULT_STEPS),
            class_index=class_from(data),
            grade=grade,
        )

    @property
    def draft(self) -> bool:
        return self.grade == "draft"

    @property
    def faithful(self) -> bool:
        return self.grade == "faithful"

    def as_data(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Look:
    """What can be asked of a picture besides its edits. None: as the picture has it."""

    truncation_psi: float | None = None
    noise_mode: str = NOISE_MODES[0]
    class_index: int | None = None
    move: Move = STILL

    @classmethod
    def from_data(cls, data: Data) -> Self:
        psi = data.get("truncation_psi")
        return cls(
            truncation_psi=(
                None if psi in (None, "") else number(data, "truncation_psi", 0.0, MAX_TRUNCATION_PSI)
            ),
            noise_mode=choice(data, "noise_mode", NOISE_MODES, NOISE_MODES[0]),
            class_index=class_from(data),
            move=move_from(data.get("move")),
        )

    def as_data(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class SaveParams:
    """Draw a picture with `edits` and `look`, or a `panorama` from it, and keep it."""

    edits: tuple[Edit, ...]
    look: Look
    panorama: Panorama | None
    name: str

    @classmethod
    def from_data(cls, data: Data) -> Self:
        return cls(
            edits=edits_from(data.get("edits")),
            look=Look.from_data(data),
            panorama=panorama_from(data.get("panorama")),
            name=text(data, "name", MAX_NAME, ""),
        )

    def as_data(self) -> dict[str, Any]:
        return {
            **self.look.as_data(),
            "edits": edits_as_data(self.edits),
            "panorama": self.panorama and self.panorama.as_data(),
            "name": self.name,
        }


@dataclass(frozen=True)
class UpscaleParams:
    upscaler: str

    @classmethod
    def from_data(cls, data: Data) -> Self:
        return cls(upscaler=text(data, "upscaler", 100, DEFAULT_UPSCALER))

    def as_data(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class SeriesParams:
    """One slider at `steps` strengths evenly from `low` to `high`, beside the other edits."""

    edits: tuple[Edit, ...]
    component: int
    start: int
    end: int
    low: float
    high: float
    steps: int
    basis: str = BASES[0]

    @classmethod
    def from_data(cls, data: Data) -> Self:
        reach = MAX_STRENGTH_SIGMA
        probe = Edit.from_data({**data, "strength": 0})
        return cls(
            edits=edits_from(data.get("edits")),
            component=probe.component,
            start=probe.start,
            end=probe.end,
            low=number(data, "from", -reach, reach),
            high=number(data, "to", -reach, reach),
            steps=whole(data, "steps", 1, MAX_SERIES_STEPS),
            basis=probe.basis,
        )

    def frames(self) -> list[tuple[Edit, ...]]:
        """The edits of each frame. The slider's own edit, if it is among the others, is replaced."""
        place = (self.basis, self.component, self.start, self.end)
        others = tuple(e for e in self.edits if (e.basis, e.component, e.start, e.end) != place)
        return [
            (*others, Edit(self.component, strength, self.start, self.end, self.basis))
            for strength in self._strengths()
        ]

    def _strengths(self) -> list[float]:
        if self.steps == 1:
            return [self.low]
        span = self.high - self.low
        return [self.low + span * index / (self.steps - 1) for index in range(self.steps)]


def finite(value: float | None) -> float | None:
    """JSON has no NaN and no infinity: those become null."""
    return value if value is not None and math.isfinite(value) else None
