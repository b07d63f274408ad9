"""
What each operation costs: the processor's seconds of one core, with the starters, for the capacity model.

`python -m bench.service` measures; `docs/scaling.md` says what is made of it. The processor's time is taken, not the
clock's: it hardly sees other work on the machine, and on an idle core both are nearly the same.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bench.report import Row, median, seconds, table

ROUNDS = 3
PROJECTION_STEPS = 100


@dataclass(frozen=True)
class Service:
    """One operation: how long one core works on it, the median of `ROUNDS`."""

    operation: str
    seconds: float


def measure() -> Iterator[Service]:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "pixellift.settings")
    import django

    django.setup()
    import torch

    torch.set_num_threads(1)
    from transforms.engine import engine
    from transforms.params import Edit

    local = engine()
    info = local.generators()[0]
    begun = time.process_time()
    [picture] = local.draw(info.name, [1], truncation_psi=0.7, class_index=None)
    yield Service("open a generator", time.process_time() - begun)

    def draw(count: int) -> None:
        list(local.draw(info.name, list(range(count)), truncation_psi=0.7, class_index=None))

    def render() -> None:
        from transforms.engine import SeedSource

        local.render(
            SeedSource(info.sha256, int(time.perf_counter_ns() % 2**31)), [Edit(0, 1.0, 0, info.num_ws)]
        )

    def project() -> None:
        local.project(
            info.name,
            picture,
            space="w+",
            steps=PROJECTION_STEPS,
            class_index=None,
            on_step=lambda *told: None,
            should_stop=lambda: False,
        )

    def upscale() -> None:
        local.upscale("faithful-x4", picture, on_tile=lambda *told: None, should_stop=lambda: False)

    yield _median("random: 1 picture", lambda: draw(1))
    yield _median("random: 10 pictures", lambda: draw(10))
    yield _median("save: 1 exact picture", render)
    yield _median(f"project: {PROJECTION_STEPS} steps", project)
    yield _median(f"upscale: {picture.width} to {4 * picture.width} pixels", upscale)


def _median(operation: str, work: Callable[[], object]) -> Service:
    work()
    times = []
    for _ in range(ROUNDS):
        begun = time.process_time()
        work()
        times.append(time.process_time() - begun)
    return Service(operation, median(times))


def main() -> int:
    rows = [Row(service.operation, "", seconds(service.seconds)) for service in measure()]
    print(table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
