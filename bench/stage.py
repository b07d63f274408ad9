"""The scene: a server with data of its own on a free port, generators, a member and photos to work with."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.member import Member
from tests.browser import camera
from tests.server import SiteServer

LARGE_GENERATOR = "large"


@dataclass
class Stage:
    """`with Stage(folder) as stage: stage.member.get("/gallery/")`. Stops the server at the end."""

    folder: Path
    cores: int
    starts: list[float] = field(default_factory=list)

    def __enter__(self) -> Self:
        models = self.folder / "models"
        make_random_generator(models / LARGE_GENERATOR)
        self.server = SiteServer(self.data, MODELS_DIR=str(models), **self._two_cores())
        try:
            self._open()
        except BaseException:
            self.server.kill()
            raise
        return self

    def _open(self) -> None:
        self.starts.append(self._start())
        self.server.stop()
        self.starts.append(self._start())
        self.server.rest()
        self.member = Member(self.server.url)
        self.generator = self._first_generator()
        self._photos = 0

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.server.stop()

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def photo(self) -> bytes:
        """A JPEG as a camera writes it. Each one is another, since nothing is uploaded or projected twice."""
        self._photos += 1
        return camera.photo(self.folder / "photo.jpg", grain_seed=self._photos).read_bytes()

    def peak_memory_bytes(self) -> int:
        """The most that the server has held so far."""
        status = Path(f"/proc/{self.server.pid}/status").read_text()
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:"))

    def _two_cores(self) -> dict[str, str]:
        """What the server would choose by itself on a machine that has only so many cores."""
        return {"OMP_NUM_THREADS": str(self.cores), "ENGINE_JOB_THREADS": str(max(1, self.cores - 1))}

    def _start(self) -> float:
        """Seconds from the command to the first page."""
        begun = time.perf_counter()
        self.server.start()
        return time.perf_counter() - begun

    def _first_generator(self) -> str:
        names = [str(info["name"]) for info in self.member.get("/api/v1/generators/").data]
        return next((name for name in names if name != LARGE_GENERATOR), LARGE_GENERATOR)


def make_random_generator(folder: Path) -> None:
    """A generator of 128 pixels with directions. It has learned nothing, which takes as long as if it had."""
    import torch

    from ganworks.components import principal_components
    from ganworks.generator import open_generator, save_generator
    from ganworks.networks.stylegan2 import Generator

    torch.manual_seed(0)
    folder.mkdir(parents=True, exist_ok=True)
    network = Generator(z_dim=48, w_dim=128, resolution=128, num_layers=2, channel_base=2048, channel_max=128)
    save_generator(network, folder / "generator.safetensors", label="Large, untrained", license="none")
    principal_components(open_generator(folder), samples=20_000).save(folder / "components.safetensors")
