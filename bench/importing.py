"""How long the import of a published checkpoint takes, and how much memory, for a file of the size of the largest."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

import ganworks
from bench.report import Row, seconds
from bench.stage import Stage
from ganworks.networks import stylegan2
from tests.ganworks.importing.writer import Writer, from_network

MAX_SECONDS, MAX_TIMES = 15, 2.5


def importing(stage: Stage) -> Iterator[Row]:
    """A StyleGAN2-ADA of 1024 pixels with its training copy and random weights, as `pickle.dump` writes it."""
    with tempfile.TemporaryDirectory(prefix="pixellift-bench-") as name:
        folder = Path(name)
        source = checkpoint(folder / "large.pkl")
        size = source.stat().st_size
        start = time.monotonic()
        with watched_children() as peak_bytes:
            ganworks.import_checkpoint(source, folder / "large" / "generator.safetensors")
        took, times = time.monotonic() - start, max(peak_bytes) / size
    what = f"import of a checkpoint of {size / 1e6:.0f} MB"
    yield Row(what, f"≤ {MAX_SECONDS} s", seconds(took), took <= MAX_SECONDS)
    yield Row(f"{what}: memory", f"≤ {MAX_TIMES} times the file", f"{times:.2f} times", times <= MAX_TIMES)


def checkpoint(path: Path) -> Path:
    """A file of about 300 MB."""
    torch.manual_seed(0)
    sizes = ((1024, 512), (1024, 512), (512, 352))  # the last stands for the discriminator
    parts = [
        from_network(stylegan2.Generator(512, 512, resolution, channel_max=most, conv_clamp=256))
        for resolution, most in sizes
    ]
    with path.open("wb") as file:
        Writer(file, 4).dump(dict(zip(("G_ema", "G", "D"), parts, strict=True)))
    return path


@contextmanager
def watched_children() -> Iterator[list[int]]:
    """The most memory that any process had at once that this one started meanwhile, looked at each 5 ms."""
    peaks, done = [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.005):
            peaks.extend(_peak_bytes(pid) for pid in _children())

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peaks
    finally:
        done.set()
        thread.join()


def _children() -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{os.getpid()}/task").iterdir():
        try:
            found += map(int, (task / "children").read_text().split())
        except OSError:
            continue
    return found


def _peak_bytes(pid: int) -> int:
    """What a process had at most; nothing if it is gone, or still a copy of this one."""
    try:
        if Path(f"/proc/{pid}/cmdline").read_bytes() == Path("/proc/self/cmdline").read_bytes():
            return 0
        fields = Path(f"/proc/{pid}/status").read_text().partition("VmHWM:")[2].split()
    except OSError:
        return 0
    return int(fields[0]) * 1024 if fields else 0
