"""An engine that sleeps in place of drawing. The seed of a picture says for how long, and how it ends."""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext

from PIL import Image as Pillow

from transforms.engine import LocalEngine

SIDE_PX = 8
ENDINGS_EVERY = 1_000_000

DRAWN, OUT_OF_MEMORY, KILLED, TOO_LARGE = range(4)
"""How a picture ends: it is drawn; MemoryError; the kernel kills the process; an allocation beyond RLIMIT_AS."""

ADDRESS_SPACE_BYTES = 4 * 2**30


def seed_for(milliseconds: int, ending: int = DRAWN) -> int:
    """The seed of a picture that takes so long and ends so."""
    return ending * ENDINGS_EVERY + milliseconds


class SleepingEngine(LocalEngine):
    """Knows the installed generators, loads none of them, and draws grey squares."""

    def draw(
        self, name: str, seeds: Sequence[int], *, truncation_psi: float, class_index: int | None
    ) -> Iterator[Pillow.Image]:
        for seed in seeds:
            ending, milliseconds = divmod(seed, ENDINGS_EVERY)
            time.sleep(milliseconds / 1000)
            ENDS[ending]()
            yield Pillow.new("RGB", (SIDE_PX, SIDE_PX), (seed % 256,) * 3)

    def warm(self) -> None:
        """There is nothing to load."""

    def job_threads(self) -> AbstractContextManager[None]:
        """Nothing computes, so torch, which loads for many seconds on a busy machine, need not be there."""
        return nullcontext()


def _drawn() -> None:
    pass


def _out_of_memory() -> None:
    raise MemoryError


def _killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _too_large() -> None:
    """As a checkpoint does that is too large for the machine: the system refuses the memory."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE_BYTES, before[1]))
    try:
        bytearray(2 * ADDRESS_SPACE_BYTES)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


ENDS: tuple[Callable[[], None], ...] = (_drawn, _out_of_memory, _killed, _too_large)
