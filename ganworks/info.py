"""What is known of a weights file without loading it: read from the header alone, so torch is not needed."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ganworks import checkpoint
from ganworks.checkpoint import Header
from ganworks.errors import GeneratorNotFound, NotFound, UpscalerNotFound

GENERATOR_FILE = "generator.safetensors"
COMPONENTS_FILE = "components.safetensors"
CRITIC_FILE = "critic.safetensors"
UPSCALER_FILE = "upscaler.safetensors"
STARTERS = Path(__file__).parent / "starters"
MAX_RESOLUTION_PX = 4096
MAX_DIM = 8192


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
    crop: tuple[int, int, int, int] | None = None


@dataclass(frozen=True)
class UpscalerInfo:
    """An upscaler of a library: it makes pictures `scale` times as wide and as high."""

    name: str
    label: str
    scale: int
    sha256: str
    license: str
    description: str
    path: Path
    bytes: int


def read_generator_info(path: Path, name: str | None = None) -> GeneratorInfo:
    """
    Read a generator's header; CheckpointError if the file is damaged, of another kind, or lies about its
    sizes.
    """
    header = checkpoint.read_header(path, "generator")
    resolution = header.integer("resolution", 4, MAX_RESOLUTION_PX)
    num_ws = header.integer("num_ws", 1, 64)
    if resolution & (resolution - 1) or num_ws != 2 * (resolution.bit_length() - 1) - 2:
        raise checkpoint.damaged(header.name, "its resolution and its number of layers do not fit together")
    if header.text("architecture") != "stylegan2":
        raise checkpoint.damaged(header.name, "its architecture is not stylegan2")
    name = name or path.parent.name or path.stem
    return GeneratorInfo(
        name=name,
        label=header.text("label") or name,
        resolution=resolution,
        z_dim=header.integer("z_dim", 1, MAX_DIM),
        w_dim=header.integer("w_dim", 1, MAX_DIM),
        num_ws=num_ws,
        c_dim=header.integer("c_dim", 0, MAX_DIM, 0),
        classes=_texts(header, "classes"),
        sha256=checkpoint.sha256_of(path),
        license=header.text("license"),
        description=header.text("description"),
        path=path,
        bytes=path.stat().st_size,
        has_components=path.with_name(COMPONENTS_FILE).is_file(),
        has_critic=path.with_name(CRITIC_FILE).is_file(),
        crop=_crop(header),
    )


def read_upscaler_info(path: Path, name: str | None = None) -> UpscalerInfo:
    """Read an upscaler's header; CheckpointError if the file is damaged or of another kind."""
    header = checkpoint.read_header(path, "upscaler")
    name = name or path.parent.name or path.stem
    return UpscalerInfo(
        name=name,
        label=header.text("label") or name,
        scale=header.integer("scale", 1, 16),
        sha256=checkpoint.sha256_of(path),
        license=header.text("license"),
        description=header.text("description"),
        path=path,
        bytes=path.stat().st_size,
    )


def locate(path_or_name: str | Path, file_name: str) -> Path:
    """
    A weights file from its path, its folder's path, or a starter's name. GeneratorNotFound or
    UpscalerNotFound if there is none.
    """
    for candidate in (Path(path_or_name), STARTERS / path_or_name):
        file = candidate / file_name if candidate.is_dir() else candidate
        if file.is_file():
            return file
    if file_name == UPSCALER_FILE:
        raise UpscalerNotFound(
            f"There is no upscaler {str(path_or_name)!r}. Choose one from the list of upscalers."
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


def _crop(header: Header) -> tuple[int, int, int, int] | None:
    values: Any = header.meta.get("crop")
    if values is None:
        return None
    if not isinstance(values, list) or len(values) != 4 or not all(type(value) is int for value in values):
        raise checkpoint.damaged(header.name, "its header must give 'crop' as four whole numbers")
    left, top, right, bottom = values
    return left, top, right, bottom
