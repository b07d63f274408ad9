"""
Networks of the public sizes with random weights, alone: how long a picture takes, and how much memory.

Each measurement is a process of its own (`python -m bench.networks "StyleGAN2 256" forward ours 5` is one, in seconds and
bytes), which loads the weights, notes what it holds, and draws. Ours and the plain form (`bench/plain.py`) follow each
other, and of each the best time counts. Beside the time on the clock stands the processor's, for each of the cores: it
hardly sees other work on the machine, and where there is none the two are nearly the same. Bars are held against it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bench.report import Row, seconds

if TYPE_CHECKING:
    from torch import Tensor

    from ganworks.networks import stylegan2, stylegan3

GIGA = 1e9


@dataclass(frozen=True)
class Reference:
    """What the authors' code took on a machine of two cores, with its fallbacks for the CPU, and the bars as parts of it."""

    seconds: tuple[float, float]  # from, to
    gigabytes: float | None = None  # at most, with all that the process holds
    time_bar: float | None = None
    memory_bar: float | None = None


@dataclass(frozen=True)
class Measurement:
    """The best times of a task, and the peak of memory, beyond what the weights take and in all."""

    seconds: float
    core_seconds: float
    peak_bytes: int
    total_bytes: int


REFERENCES = {
    ("StyleGAN2 256", "forward"): Reference((0.25, 0.32), time_bar=0.7),
    ("StyleGAN2 256", "backward"): Reference((0.49, 0.84), time_bar=0.6),
    ("StyleGAN2 1024", "forward"): Reference((2.5, 3.7), 1.5, time_bar=0.7, memory_bar=0.6),
    ("StyleGAN2 1024", "backward"): Reference((5.7, 12), 4.4, time_bar=0.6),
    ("StyleGAN3-T 256", "forward"): Reference((7.5, 7.5), 1.3, time_bar=0.25),
    ("StyleGAN3-T 256", "backward"): Reference((31, 31), 7.3),
    ("StyleGAN3-R 256", "forward"): Reference((14, 19), 2.0, time_bar=0.25),
    ("StyleGAN3-R 256", "backward"): Reference((46, 46), 12.1),
}
TASKS = {
    "forward": "forward",
    "backward": "forward and backward to w",
    "draft": "draft, as while a slider moves",
}
DRAFT_BAR_SECONDS = 0.4


def networks() -> Iterator[Row]:
    """The rows of the table."""
    for (name, task), reference in REFERENCES.items():
        slow = name.startswith("StyleGAN3")
        ours = measure(name, task, "ours", 2 if slow else 5)
        compared = task == "forward" or not slow  # the plain gradient of StyleGAN3 takes 12 GB
        plain = measure(name, task, "plain", 1 if slow else 3) if compared else None
        yield from _rows(f"{name} px, {TASKS[task]}", reference, ours, plain)
    draft = measure("StyleGAN2 1024", "draft", "ours", 5)
    what = f"StyleGAN2 1024 px, {TASKS['draft']}"
    yield Row(what, f"≤ {DRAFT_BAR_SECONDS} s", _time(draft), draft.core_seconds <= DRAFT_BAR_SECONDS)


def _rows(what: str, reference: Reference, ours: Measurement, plain: Measurement | None) -> Iterator[Row]:
    low, high = reference.seconds
    span = f"{low:g} s" if low == high else f"{low:g} to {high:g} s"
    shares = {f"of {span}": ours.core_seconds / low}
    if plain:
        shares["of the plain form"] = ours.core_seconds / plain.core_seconds
    told = ", ".join(f"{share:.2f} {of}" for of, share in shares.items())
    bar = f"≤ {reference.time_bar} of the reference" if reference.time_bar else ""
    met = ours.core_seconds / low <= reference.time_bar if reference.time_bar else None
    yield Row(what, bar, f"{_time(ours)}: {told}", met)
    yield _memory_row(what, reference, ours, plain)


def _time(measured: Measurement) -> str:
    return f"{seconds(measured.core_seconds)} of each core, {seconds(measured.seconds)} on the clock"


def _memory_row(what: str, reference: Reference, ours: Measurement, plain: Measurement | None) -> Row:
    measured = f"{ours.total_bytes / GIGA:.2f} GB, {ours.peak_bytes / GIGA:.2f} beyond the weights"
    if plain:
        measured += f" (plain {plain.total_bytes / GIGA:.2f}, {plain.peak_bytes / GIGA:.2f})"
    if reference.memory_bar is None or reference.gigabytes is None:
        known = "" if reference.gigabytes is None else f"; reference {reference.gigabytes} GB"
        return Row(f"{what}: memory", "", measured + known)
    bar = f"≤ {reference.memory_bar} of {reference.gigabytes} GB"
    most_bytes = reference.memory_bar * reference.gigabytes * GIGA
    return Row(f"{what}: memory", bar, measured, ours.total_bytes <= most_bytes)


def build(name: str) -> stylegan2.Generator | stylegan3.Generator:
    """A network by its name here, with random weights, ready for use."""
    import torch

    from ganworks.networks import stylegan2, stylegan3

    torch.manual_seed(0)
    family, size = name.split()
    if family == "StyleGAN2":
        base = 32768 if int(size) >= 512 else 16384
        return stylegan2.Generator(512, 512, int(size), channel_base=base, conv_clamp=256).freeze()
    plan = stylegan3.standard_description(int(size), radial=family.endswith("R"))
    network = stylegan3.Generator(512, 512, plan)
    return network.freeze()


def measure_here(name: str, task: str, form: str, rounds: int) -> Measurement:
    """Draw in this process. The first round, which prepares kernels and finds memory, does not count."""
    import torch

    from bench import plain
    from ganworks.effort import draft_resolution
    from ganworks.half import HalfPrecision
    from ganworks.networks.stylegan2 import Generator

    network = build(name)
    draw: Callable[[Tensor], Tensor] = network.draw
    if form == "plain":
        draw = partial(plain.draw, network)
    elif task == "draft" and isinstance(network, Generator):
        half = HalfPrecision.of(network, torch.device("cpu"))
        draw = half.draw if half else partial(network.draw, resolution=draft_resolution(network))
    ws = network.mapping(torch.randn(1, 512))
    held = _forget_peak()
    times, used = [], []
    for _ in range(rounds + 1):
        begun, before = time.perf_counter(), time.process_time()
        if task == "backward":
            given = ws.clone().requires_grad_()
            torch.autograd.backward(draw(given).square().mean())
        else:
            with torch.inference_mode():
                draw(ws)
        times.append(time.perf_counter() - begun)
        used.append(time.process_time() - before)
    peak = _memory("VmHWM")
    return Measurement(min(times[1:]), min(used[1:]) / torch.get_num_threads(), peak - held, peak)


def _forget_peak() -> int:
    """Let the peak of memory start from what this process holds now, and say how much that is."""
    Path("/proc/self/clear_refs").write_text("5")
    return _memory("VmRSS")


def _memory(kind: str) -> int:
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(kind + ":"))


def measure(name: str, task: str, form: str, rounds: int) -> Measurement:
    """The same in a fresh process."""
    command = [sys.executable, "-m", "bench.networks", name, task, form, str(rounds)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return Measurement(**json.loads(answer))


if __name__ == "__main__":
    import ganworks  # it sets how torch's threads wait, before torch is loaded

    assert ganworks
    name, task, form, rounds = sys.argv[1:]
    print(json.dumps(asdict(measure_here(name, task, form, int(rounds)))))
