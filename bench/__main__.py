"""`python -m bench`: measure, and print a table. `--only slider,projection` measures a part, `--list` names the parts."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench import browser, importing, lanes, networks, pages, previews
from bench.report import Row, table
from bench.stage import Stage

Measure = Callable[[Stage], Iterator[Row]]

PARTS: dict[str, tuple[Measure, ...]] = {
    "start": (lanes.starting,),
    "pictures": (browser.ten_pictures, lanes.ten_pictures),
    "slider": (browser.slider, lanes.slider_on_socket, lanes.slider_on_socket_while_projecting),
    "projection": (lanes.projecting,),
    "upscale": (lanes.enlarging,),
    "pages": (pages.pages,),
    "import": (importing.importing,),
    "memory": (lanes.memory,),
}
WITHOUT_SERVER: dict[str, Callable[[], Iterator[Row]]] = {
    "networks": networks.networks,
    "previews": previews.previews,
}


def main() -> int:
    options = _options()
    parts = [*WITHOUT_SERVER, *PARTS]
    if options.list:
        print("\n".join(parts))
        return 0
    wanted = options.only.split(",") if options.only else parts
    unknown = [name for name in wanted if name not in parts]
    if unknown:
        print(f"There is no part {unknown[0]!r}: choose from {', '.join(parts)}.", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("Stopped."))  # through the blocks that stop the server
    _use_cores(options.cores)
    busy = os.getloadavg()[0]
    alone = [row for name in wanted if name in WITHOUT_SERVER for row in _rows(WITHOUT_SERVER[name])]
    if alone:
        print(f"\n{_where(options.cores, busy)}\n\n{table(alone)}")
    served = [name for name in wanted if name in PARTS]
    if served:
        _measure_served(served, options.cores, busy)
    return 0


def _measure_served(wanted: list[str], cores: int, busy: float) -> None:
    """The parts that need a server, which is started for all of them."""
    folder = Path(tempfile.mkdtemp(prefix="pixellift-bench-"))
    try:
        _say("starting the server, twice")
        with Stage(folder, cores) as stage:
            rows = [row for name in wanted for measure in PARTS[name] for row in _rows(measure, stage)]
            info = stage.member.get(f"/api/v1/generators/{stage.generator}/").data
            drawn_with = f"generator {stage.generator} of {info['resolution']} pixels; "
            print(f"\n{_where(cores, busy, drawn_with)}\n\n{table(rows)}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _rows(measure: Callable[..., Iterator[Row]], *stage: Stage) -> list[Row]:
    """What was measured. A part that cannot be measured says why, and the others go on."""
    what = f"{measure.__module__.rpartition('.')[2]}: {measure.__name__.replace('_', ' ')}"
    _say(what)
    rows: list[Row] = []
    try:
        rows.extend(measure(*stage))
    except Exception as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        rows.append(Row(what, "", f"could not be measured: {lines[0][:120]}"))
    return rows


def _use_cores(count: int) -> None:
    """This process and all that it starts share so many cores, however many the machine has."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])


def _where(cores: int, busy: float, drawn_with: str = "") -> str:
    name = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.machine(),
    )
    return (
        f"{time.strftime('%Y-%m-%d %H:%M')} on {cores} cores of {name}, Python {platform.python_version()}; "
        f"{drawn_with}load of the machine before it began: {busy:.1f}"
    )


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def _say(text: str) -> None:
    print(f"measuring: {text} ...", file=sys.stderr, flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Measure PixelLift, and print a table."
    )
    parser.add_argument("--only", help="parts to measure, with commas between them")
    parser.add_argument("--list", action="store_true", help="name the parts")
    parser.add_argument("--cores", type=int, default=2, help="CPU cores that all of it shares (2)")
    return parser.parse_args()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("Stopped.")
