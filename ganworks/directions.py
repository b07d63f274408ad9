"""What the sliders of a generator are called, how much each counts and where they act: known without torch, for pages."""

from dataclasses import dataclass
from pathlib import Path

from ganworks import checkpoint
from ganworks.checkpoint import Header
from ganworks.errors import BasisMismatch
from ganworks.info import COMPONENTS_FILE, FACTORS_FILE, GeneratorInfo

MAX_COUNT = 8192


@dataclass(frozen=True)
class Direction:
    """`share`: its part of the whole variance, 0 to 1 (for closed-form factors: of the weights' whole reaction)."""

    name: str
    share: float


def check_header(header: Header) -> tuple[int, int, list[str]]:
    """How many directions of how many numbers a file holds, and their names; CheckpointError if it is damaged."""
    shape = header.shapes.get("components", ())
    if len(shape) != 2 or not 1 <= shape[0] <= shape[1] <= MAX_COUNT:
        raise checkpoint.damaged(header.name, "its components do not form a table")
    count, w_dim = shape
    checkpoint.check_shapes(
        header,
        {"mean": (w_dim,), "components": (count, w_dim), "stdev": (count,), "variance_share": (count,)},
    )
    names = header.meta.get("names")
    if not isinstance(names, list) or len(names) != count or not all(isinstance(name, str) for name in names):
        raise checkpoint.damaged(header.name, "its header must give one name for each component")
    return count, w_dim, names


def read_directions(info: GeneratorInfo, *, factors: bool = False) -> list[Direction]:
    """
    The components of a generator, or its factors, strongest first; none if they have not been computed. CheckpointError
    if the file is damaged, BasisMismatch if it is another generator's.
    """
    path = info.path.with_name(FACTORS_FILE if factors else COMPONENTS_FILE)
    if not path.is_file():
        return []
    header = checkpoint.read_header(path, "components")
    _, _, names = check_header(header)
    check_owner(header.text("generator_sha256"), info.sha256)
    return [Direction(*pair) for pair in zip(names, _shares(path, header), strict=True)]


def check_owner(sha256: str, generator_sha256: str) -> None:
    """BasisMismatch if directions of the generator `sha256` are asked of another one."""
    if sha256 != generator_sha256:
        raise BasisMismatch(
            "These principal components belong to another generator. Compute them again for this one."
        )


def _shares(path: Path, header: Header) -> list[float]:
    import numpy as np
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            found = np.asarray(file.get_tensor("variance_share"), dtype=np.float32)
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        raise checkpoint.damaged(header.name, "its tensors cannot be read") from error
    if not np.isfinite(found).all():
        raise checkpoint.damaged(header.name, "the tensor 'variance_share' holds numbers that are not finite")
    return [float(share) for share in found]


def layer_ranges(num_ws: int) -> dict[str, tuple[int, int]]:
    """
    Names for ranges of rows, half-open: all; coarse (up to 8 px: pose and shape); middle (16 and 32 px:
    features); fine (from 64 px: colour and texture). A small generator divides its rows in three instead.
    """
    first, second = (4, 8) if num_ws >= 10 else (max(1, num_ws // 3), max(2, 2 * num_ws // 3))
    return {"all": (0, num_ws), "coarse": (0, first), "middle": (first, second), "fine": (second, num_ws)}
