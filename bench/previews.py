"""
Live previews of several people at once: how many pictures a drawing thread gives, together and one by one.

Each of so many people has one picture in flight and asks for the next when it arrives, of the first starter, as pages do
while a slider moves. What waits when the thread is free is drawn in one pass (`transforms/painters.py`), and then, with
`ENGINE_BATCH_PIXELS` 0, one by one, in turns of a few seconds. The processor's time counts, which hardly sees other work
on the machine; the ratio is what to look at. `python -m bench.previews USERS ...` measures in this process and prints JSON.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from bench.report import Row, milliseconds, percentile

if TYPE_CHECKING:
    from transforms.drawing import Editor
    from transforms.painters import Painters

USERS = (1, 2, 4, 8, 16)
TURNS = 3
TURN_SECONDS = 3.0
BATCH_PIXELS = 131_072


@dataclass(frozen=True)
class Measurement:
    """Seconds of one core for each picture, and how long 95 of 100 pictures took at most from wish to arrival."""

    core_seconds: float
    late_seconds: float


def previews() -> Iterator[Row]:
    """The rows of the table."""
    told = subprocess.run(
        [sys.executable, "-m", "bench.previews", *map(str, USERS)], capture_output=True, text=True, check=True
    ).stdout
    for users, apart, together in json.loads(told):
        yield _row(users, Measurement(**apart), Measurement(**together))


def _row(users: int, apart: Measurement, together: Measurement) -> Row:
    share = together.core_seconds / apart.core_seconds
    late = together.late_seconds / apart.late_seconds
    measured = (
        f"{share:.2f} of the time one by one, p95 {late:.2f}: {_told(together)}; one by one {_told(apart)}"
    )
    return Row(f"previews, {users} dragging at the same moment", "", measured)


def _told(measured: Measurement) -> str:
    return f"{milliseconds(measured.core_seconds)} of a core, p95 {milliseconds(measured.late_seconds)}"


def measure_here(users: int) -> tuple[Measurement, Measurement]:
    """One by one, and together; their turns follow each other."""
    from django.conf import settings

    from transforms.painters import Painters

    painters = Painters(threads=1)
    used: dict[int, list[float]] = {0: [], BATCH_PIXELS: []}
    waits: dict[int, list[float]] = {0: [], BATCH_PIXELS: []}
    for _ in range(TURNS):
        for pixels in used:
            settings.ENGINE_BATCH_PIXELS = pixels
            before = time.process_time()
            took = asyncio.run(_all_drag(painters, _editors(users)))
            used[pixels].append((time.process_time() - before) / len(took))
            waits[pixels] += took
    apart, together = (Measurement(min(used[pixels]), percentile(waits[pixels], 0.95)) for pixels in used)
    return apart, together


def _editors(count: int) -> list[Editor]:
    from transforms.drawing import Editor
    from transforms.engine import SeedSource, engine
    from transforms.recipes import Recipe
    from transforms.recipes import SeedSource as SeedOfRecipe

    info = engine().generators()[0]
    return [
        Editor.of(
            SeedSource(info.sha256, seed, 0 if info.c_dim else None, 0.7),
            Recipe(info.name, info.sha256, SeedOfRecipe(seed)),
            f"person {seed}",
        )
        for seed in range(count)
    ]


async def _all_drag(painters: Painters, editors: list[Editor]) -> list[float]:
    """Seconds from each wish to its picture, of all."""
    until = time.perf_counter() + TURN_SECONDS
    return [
        took
        for part in await asyncio.gather(*(_drag(painters, one, until) for one in editors))
        for took in part
    ]


async def _drag(painters: Painters, editor: Editor, until: float) -> list[float]:
    from transforms.drawing import Drawing
    from transforms.painters import Order
    from transforms.params import Edit

    took: list[float] = []
    while (begun := time.perf_counter()) < until:
        strength = 3 * math.sin(len(took) / 9)
        order = Order.of(editor, Drawing((Edit(0, strength, 0, editor.num_ws),)))
        painters.put(order)
        await asyncio.wrap_future(order.answer)
        took.append(time.perf_counter() - begun)
    return took


def main(counts: list[int]) -> int:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "pixellift.settings")
    import django

    django.setup()
    import torch

    torch.set_num_threads(1)
    measure_here(1)  # loads the generator
    rows = [(users, *(asdict(part) for part in measure_here(users))) for users in counts]
    print(json.dumps(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main([int(count) for count in sys.argv[1:]] or list(USERS)))
