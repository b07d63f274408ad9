"""Pictures of the operator's own: a folder of files, made square and small once, and batches of them.

`pictures.npy` holds uint8 [N, 3, S, S], `pictures.json` what they were made of. Batches are functions of the seed and the
step alone, as those of `data.PictureSet`, and have no latents and no masks.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image, ImageOps

from ganworks.errors import InvalidInput
from ganworks.images import to_tensor

from .data import Batch

FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "BMP", "TIFF")
ENDINGS = {".jpg", ".jpeg", ".png", ".webp", ".avif", ".gif", ".bmp", ".tif", ".tiff"}
MAX_PIXELS = 200_000_000
FEWEST_PICTURES = 8
READ_TOGETHER = 64
ARRAY, LIST = "pictures.npy", "pictures.json"


def prepare_folder(
    source: Path, folder: Path, size: int, on_progress: Callable[[int, int], None] | None = None
) -> list[str]:
    """Fill `folder` with the pictures below `source` at `size` pixels, unless it holds just these already.

    Each picture is turned as its camera says, and cut to the square in the middle. Returns a sentence for each file
    that was left out. InvalidInput if fewer than `FEWEST_PICTURES` remain.
    """
    files = _files(source)
    listing = {"size": size, "files": [[str(f.relative_to(source)), *_stamp(f)] for f in files]}
    known = _read_list(folder)
    if known.get("source") == listing and (folder / ARRAY).exists():
        return list(known["left_out"])
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f"{ARRAY}.draft"
    left_out: list[str] = []
    count = 0
    if files:
        shape = (len(files), 3, size, size)
        array = np.lib.format.open_memmap(draft, mode="w+", dtype=np.uint8, shape=shape)
        for done, result in enumerate(_read_all(files, source, size), 1):
            if isinstance(result, str):
                left_out.append(result)
            else:
                array[count] = result
                count += 1
            if on_progress:
                on_progress(done, len(files))
        array.flush()
    if count < FEWEST_PICTURES:
        draft.unlink(missing_ok=True)
        reasons = " ".join(left_out[:3])
        raise InvalidInput(
            f"{source} has {count} pictures that can be used, and at least {FEWEST_PICTURES} are needed. {reasons}".strip()
        )
    (folder / LIST).unlink(missing_ok=True)
    os.replace(draft, folder / ARRAY)
    (folder / LIST).write_text(json.dumps({"count": count, "left_out": left_out, "source": listing}))
    return left_out


def _files(source: Path) -> list[Path]:
    if not source.is_dir():
        raise InvalidInput(f"{source} is not a folder. Name the folder that holds the pictures.")
    found = (
        Path(parent) / name for parent, folders, names in os.walk(source) for name in _visible(folders, names)
    )
    return sorted(path for path in found if path.suffix.lower() in ENDINGS and path.is_file())


def _visible(folders: list[str], names: list[str]) -> list[str]:
    """The names that do not begin with a dot; such folders are not entered either."""
    folders[:] = [name for name in folders if not name.startswith(".")]
    return [name for name in names if not name.startswith(".")]


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _read_list(folder: Path) -> dict[str, Any]:
    path = folder / LIST
    content: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return content


def _read_all(files: list[Path], source: Path, size: int) -> Iterator[NDArray[np.uint8] | str]:
    """The pictures in order, or why one cannot be used; a few are read at once, and no more are in memory."""

    def read(path: Path) -> NDArray[np.uint8] | str:
        return _read(path, str(path.relative_to(source)), size)

    with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:
        for start in range(0, len(files), READ_TOGETHER):
            yield from pool.map(read, files[start : start + READ_TOGETHER])


def _read(path: Path, name: str, size: int) -> NDArray[np.uint8] | str:
    """One picture uint8 [3, size, size], or a sentence."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Pillow warns of in a header is checked here
            with Image.open(path, formats=FORMATS) as opened:
                if opened.width * opened.height > MAX_PIXELS:
                    return f"{name} has more than {MAX_PIXELS:,} pixels."
                if min(opened.size) < size // 2:
                    return f"{name} is smaller than {size // 2} pixels."
                opened.draft("RGB", (2 * size, 2 * size))  # JPEG: read no more detail than needed
                picture = to_tensor(ImageOps.exif_transpose(opened), size)
    except (OSError, ValueError, SyntaxError, MemoryError, EOFError, Image.DecompressionBombError):
        return f"{name} cannot be read as a picture."
    pixels: NDArray[np.uint8] = ((picture[0] + 1) * 127.5).round().to(torch.uint8).numpy()
    return pixels


class PictureFolder:
    """A folder that `prepare_folder` filled."""

    def __init__(self, folder: Path, held_out: int = 0, mirror: bool = False) -> None:
        """`held_out` pictures at the end are kept from training; with `mirror` half of the others are mirrored."""
        self.pictures: NDArray[np.uint8] = np.load(folder / ARRAY, mmap_mode="r")
        count = int(_read_list(folder)["count"])
        self.mirror = mirror
        self.rows: NDArray[np.int64] = np.arange(count - held_out)
        self.held_rows: NDArray[np.int64] = np.arange(count - held_out, count)
        if not len(self.rows):
            raise InvalidInput(f"{folder} holds no more pictures than are held out. Hold out fewer.")

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def size(self) -> int:
        """Pixels along an edge of the stored pictures."""
        return int(self.pictures.shape[-1])

    def batch(self, rows: NDArray[np.int64], resolution: int) -> Batch:
        """The pictures at these rows, reduced to a resolution by area averages."""
        pictures = torch.from_numpy(self.pictures[np.sort(rows)]).float() / 127.5 - 1
        if resolution < self.size:
            pictures = F.avg_pool2d(pictures, self.size // resolution)
        return Batch(None, pictures, None)

    def at_step(self, step: int, count: int, resolution: int, seed: int) -> Batch:
        """The batch of a training step, a function of the arguments alone: a resumed run sees the same.

        Pictures come in a new order in each round through the set, and none comes twice in a round.
        """
        places = np.arange(step * count, (step + 1) * count)
        rounds, places = np.divmod(places, len(self.rows))
        rows = np.empty(count, np.int64)
        for number in np.unique(rounds):
            order = np.random.default_rng((seed, int(number))).permutation(self.rows)
            rows[rounds == number] = order[places[rounds == number]]
        batch = self.batch(rows, resolution)
        if not self.mirror:
            return batch
        mirrored = torch.from_numpy(np.random.default_rng((seed, step, 1)).random(count) < 0.5)
        pictures = torch.where(mirrored[:, None, None, None], batch.pictures.flip(3), batch.pictures)
        return Batch(None, pictures, None)

    def held_out_batches(self, count: int, resolution: int) -> Iterator[Batch]:
        """All held-out pictures, `count` at a time."""
        for start in range(0, len(self.held_rows), count):
            yield self.batch(self.held_rows[start : start + count], resolution)
