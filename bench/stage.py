"""The scene: a server with data of its own on a free port, a generator, members and photos to work with."""

from __future__ import annotations

import io
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from PIL import Image

from bench.member import Member
from tests.server import SiteServer

RANDOM_GENERATOR = "random-weights"
PHOTO_SIZE = (3000, 2000)


@dataclass
class Stage:
    """`with Stage(folder) as stage: stage.member.get("/gallery/")`. Stops the server at the end."""

    folder: Path
    cores: int
    starts: list[float] = field(default_factory=list)

    def __enter__(self) -> Self:
        models = self.folder / "models"
        if not _has_starter():
            make_random_generator(models / RANDOM_GENERATOR)
        self.server = SiteServer(self.data, MODELS_DIR=str(models), **self._two_cores())
        self.starts.append(self._start())
        self.server.stop()
        self.starts.append(self._start())
        self._wait_until_warm()
        self.member = Member(self.server.url)
        self.generator = self._first_generator()
        self._photos = 0
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.server.stop()

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def photo(self) -> bytes:
        """A JPEG as a phone makes them: six megapixels, soft shapes, noise. Each one is another."""
        self._photos += 1
        return make_photo(self._photos)

    def _two_cores(self) -> dict[str, str]:
        """What the server would choose by itself on a machine that has only so many cores."""
        return {"OMP_NUM_THREADS": str(self.cores), "ENGINE_JOB_THREADS": str(max(1, self.cores - 1))}

    def _start(self) -> float:
        """Seconds from the command to the first page."""
        begun = time.perf_counter()
        self.server.start()
        return time.perf_counter() - begun

    def _wait_until_warm(self) -> None:
        """The engine is loaded in the background of a start; that is over when the process comes to rest."""
        used, since = -1.0, time.monotonic()
        while time.monotonic() - since < 60:
            now = processor_seconds(self.server.pid)
            if 0 <= now - used < 0.1:
                return
            used = now
            time.sleep(1)

    def _first_generator(self) -> str:
        names = [str(info["name"]) for info in self.member.get("/api/v1/generators/").data]
        return "portraits" if "portraits" in names else names[0]


def processor_seconds(pid: int) -> float:
    """How long a process has computed so far, in all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _has_starter() -> bool:
    from ganworks.info import STARTERS

    return any(STARTERS.glob("*/generator.safetensors"))


def make_random_generator(folder: Path) -> None:
    """As large and as slow as the starter, with directions, but it has learned nothing: for a tree without weights."""
    import torch

    from ganworks.components import principal_components
    from ganworks.generator import open_generator, save_generator
    from ganworks.networks.stylegan2 import Generator

    torch.manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    network = Generator(z_dim=48, w_dim=128, resolution=128, num_layers=2, channel_base=2048, channel_max=128)
    save_generator(network, folder / "generator.safetensors", label="Random weights", license="none")
    principal_components(open_generator(folder), samples=20_000).save(folder / "components.safetensors")


def make_photo(seed: int) -> bytes:
    width, height = PHOTO_SIZE
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32) / height
    picture = np.empty((height, width, 3), np.float32)
    for channel in range(3):
        waves = random.uniform(1, 6, (4, 2))
        picture[..., channel] = sum(np.sin(a * x + b * y + seed) for a, b in waves) / 4
    face = np.exp(-((((x - 0.75) / 0.28) ** 2 + ((y - 0.5) / 0.36) ** 2) ** 3))[..., None]
    picture = picture * (1 - face) + face * np.array([0.55, 0.2, 0.0], np.float32)
    picture += random.normal(0, 0.04, picture.shape)
    out = io.BytesIO()
    Image.fromarray(((picture.clip(-1, 1) + 1) * 127.5).astype(np.uint8)).save(out, "JPEG", quality=90)
    return out.getvalue()
