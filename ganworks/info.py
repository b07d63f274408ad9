"""What is known of a weights file without loading it: read from the header alone, so torch is not needed."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ganworks import checkpoint
from ganworks.checkpoint import Header
from ganworks.errors import (
    CheckpointError,
    EncoderNotFound,
    GeneratorNotFound,
    HeaderMissing,
    NotFound,
    UpscalerNotFound,
)

GENERATOR_FILE = "generator.safetensors"
COMPONENTS_FILE = "components.safetensors"
FACTORS_FILE = "factors.safetensors"
CRITIC_FILE = "critic.safetensors"
ENCODER_FILE = "encoder.safetensors"
UPSCALER_FILE = "upscaler.safetensors"
STARTERS = Path(__file__).parent / "starters"
MAX_RESOLUTION_PX = 4096
MAX_DIM = 8192
FOREIGN_UPSCALER = "spandrel"


@dataclass(frozen=True)
class GeneratorInfo:
    """A generator of a library. `sha256` is its identity; `path` its file; `bytes` the size of that file."""

    name: str
    label: str
    resolution: int
    z_dim: int
    w_dim: int
    num_ws: int
    c_dim: int
    classes: tuple[str, ...]
    sha256: str
    license: str
    description: str
    path: Path
    bytes: int
    has_components: bool
    has_critic: bool
    has_encoder: bool
    crop: tuple[int, int, int, int] | None = None
    architecture: str = "stylegan2"
    has_factors: bool = False
    source_format: str = ""
    source_name: str = ""
    source_sha256: str = ""

    @property
    def picture_size(self) -> tuple[int, int]:
        """Width and height of a picture in pixels, once what the generator pads is cut off."""
        if self.crop is None:
            return self.resolution, self.resolution
        left, top, right, bottom = self.crop
        return right - left, bottom - top

    @property
    def moves(self) -> bool:
        """Whether it can draw the same picture shifted and turned."""
        return self.architecture == "stylegan3"

    @property
    def scrolls(self) -> bool:
        """Whether it draws panoramas as wide as one likes."""
        return self.architecture == "alis"

    @property
    def has_noise(self) -> bool:
        """Whether noise modes can make a difference."""
        return self.architecture == "stylegan2"


def direction_names(info: GeneratorInfo, *, factors: bool = False) -> list[str]:
    """The names of a generator's components or factors, from their header; none if there are none to be read."""
    path = info.path.with_name(FACTORS_FILE if factors else COMPONENTS_FILE)
    if not path.is_file():
        return []
    try:
        return list(_texts(checkpoint.read_header(path, "components"), "names"))
    except CheckpointError:
        return []


@dataclass(frozen=True)
class UpscalerInfo:
    """
    An upscaler of a library: it makes pictures `scale` times as wide and as high. `is_foreign`: its network is one of
    other people, which `ganworks.upscalers` opens, and `architecture` is spandrel's word for it.
    """

    name: str
    label: str
    scale: int
    sha256: str
    license: str
    description: str
    path: Path
    bytes: int
    architecture: str = ""
    is_foreign: bool = False

    @property
    def title(self) -> str:
        """Its label and how many times it enlarges, said once, as in "Faithful (x4)" with a multiplication sign."""
        return f"{self.label.removesuffix(f' x{self.scale}')} (\N{MULTIPLICATION SIGN}{self.scale})"


def read_generator_info(path: Path, name: str | None = None) -> GeneratorInfo:
    """
    Read a generator's header; CheckpointError if the file is damaged, of another kind, or lies about its
    sizes.
    """
    header = checkpoint.read_header(path, "generator")
    resolution = header.integer("resolution", 4, MAX_RESOLUTION_PX)
    num_ws = header.integer("num_ws", 1, 64)
    architecture = header.text("architecture")
    if architecture not in ROWS:
        raise checkpoint.damaged(header.name, f"its architecture is not one of {', '.join(ROWS)}")
    if num_ws != ROWS[architecture](header, resolution):
        raise checkpoint.damaged(header.name, "its resolution and its number of layers do not fit together")
    c_dim = header.integer("c_dim", 0, MAX_DIM, 0)
    name = name or path.parent.name or path.stem
    return GeneratorInfo(
        name=name,
        label=header.text("label") or name,
        resolution=resolution,
        z_dim=header.integer("z_dim", 1, MAX_DIM),
        w_dim=header.integer("w_dim", 1, MAX_DIM),
        num_ws=num_ws,
        c_dim=c_dim,
        classes=_classes(header, c_dim),
        sha256=checkpoint.sha256_of(path),
        license=header.text("license"),
        description=header.text("description"),
        path=path,
        bytes=path.stat().st_size,
        has_components=path.with_name(COMPONENTS_FILE).is_file(),
        has_critic=path.with_name(CRITIC_FILE).is_file(),
        has_encoder=path.with_name(ENCODER_FILE).is_file(),
        crop=_crop(header, resolution),
        architecture=architecture,
        has_factors=path.with_name(FACTORS_FILE).is_file(),
        source_format=header.text("source_format"),
        source_name=header.text("source_name"),
        source_sha256=header.text("source_sha256"),
    )


def _rows_by_resolution(extra: int) -> Callable[[Header, int], int | None]:
    """The number of rows of ws of a network with two rows for each doubling of the resolution."""

    def rows(header: Header, resolution: int) -> int | None:
        return None if resolution & (resolution - 1) else 2 * (resolution.bit_length() - 2) + extra

    return rows


def _rows_by_plan(header: Header, resolution: int) -> int | None:
    plan = header.meta.get("plan")
    layers = plan.get("layers") if isinstance(plan, dict) else None
    return len(layers) + 1 if isinstance(layers, list) else None


# How many rows of ws a generator of each architecture must have; None where the header cannot be right.
ROWS: dict[str, Callable[[Header, int], int | None]] = {
    "stylegan2": _rows_by_resolution(0),
    "stylegan3": _rows_by_plan,
    "alis": _rows_by_resolution(1),
}


def read_upscaler_info(path: Path, name: str | None = None) -> UpscalerInfo:
    """
    Read an upscaler's header; CheckpointError if the file is damaged or of another kind. A foreign file without a header
    is looked at once, which takes seconds to a minute, and what was found is noted beside it.
    """
    name = name or path.parent.name or path.stem
    try:
        header = checkpoint.read_header(path, "upscaler")
    except HeaderMissing:
        return _foreign_info(path, name)
    architecture = header.text("architecture")
    is_foreign = architecture == FOREIGN_UPSCALER
    return UpscalerInfo(
        name=name,
        label=header.text("label") or name,
        scale=header.integer("scale", 1, 16),
        sha256=checkpoint.sha256_of(path),
        license=header.text("license"),
        description=header.text("description"),
        path=path,
        bytes=path.stat().st_size,
        architecture=header.text("spandrel_architecture")[:60] if is_foreign else architecture,
        is_foreign=is_foreign,
    )


def _foreign_info(path: Path, name: str) -> UpscalerInfo:
    """What is known of a foreign file that was put into its folder as it is."""
    from ganworks.upscalers import findings_of

    findings = findings_of(path)
    return UpscalerInfo(
        name=name,
        label=name,
        scale=findings.scale,
        sha256=checkpoint.sha256_of(path),
        license="",
        description="",
        path=path,
        bytes=path.stat().st_size,
        architecture=findings.architecture,
        is_foreign=True,
    )


def locate(path_or_name: str | Path, file_name: str) -> Path:
    """
    A weights file from its path, its folder's path, or a starter's name. GeneratorNotFound, UpscalerNotFound or
    EncoderNotFound if there is none.
    """
    for candidate in (Path(path_or_name), STARTERS / path_or_name):
        file = candidate / file_name if candidate.is_dir() else candidate
        if file.is_file():
            return file
    if file_name == UPSCALER_FILE:
        raise UpscalerNotFound(
            f"There is no upscaler {str(path_or_name)!r}. Choose one from the list of upscalers."
        )
    if file_name == ENCODER_FILE:
        raise EncoderNotFound(
            f"There is no encoder {str(path_or_name)!r}. Train one with: python -m ganworks.training.encoding"
        )
    raise GeneratorNotFound(
        f"There is no generator {str(path_or_name)!r}. Choose one from the list of generators."
    )


def not_found(kind: str, name: str, known: list[str]) -> NotFound:
    """The error for a name that a library does not have, with the names that it has."""
    listing = f"There are: {', '.join(known)}." if known else f"The library has no {kind} yet."
    error = UpscalerNotFound if kind == "upscaler" else GeneratorNotFound
    return error(f"There is no {kind} named {name!r}. {listing}")


def _texts(header: Header, key: str) -> tuple[str, ...]:
    values: Any = header.meta.get(key) or []
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise checkpoint.damaged(header.name, f"its header must give {key!r} as a list of texts")
    return tuple(values)


def _classes(header: Header, c_dim: int) -> tuple[str, ...]:
    names = _texts(header, "classes")
    if names and len(names) != c_dim:
        raise checkpoint.damaged(header.name, f"its header names {len(names)} classes, and it has {c_dim}")
    return names


def _crop(header: Header, resolution: int) -> tuple[int, int, int, int] | None:
    values: Any = header.meta.get("crop")
    if values is None:
        return None
    if not isinstance(values, list) or len(values) != 4 or not all(type(value) is int for value in values):
        raise checkpoint.damaged(header.name, "its header must give 'crop' as four whole numbers")
    left, top, right, bottom = values
    if not 0 <= left < right <= resolution or not 0 <= top < bottom <= resolution:
        raise checkpoint.damaged(header.name, "its crop does not lie within its pictures")
    return left, top, right, bottom
