"""Train the starter generators.

    python -m ganworks.training render --work DIR [--count 24000] [--part 0/2] [--compile]
    python -m ganworks.training train  --work DIR [--config FILE] [--start-from CHECKPOINT] [--device cuda]
    python -m ganworks.training finish --work DIR --to FOLDER [--names FILE]

`render` draws the pictures into DIR/data, `train` goes on from DIR/checkpoint.pt if there is one, and
`finish` writes what a generator's folder holds. The x4 upscaler has a command of its own:
`python -m ganworks.training.upscaling`.
"""

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from . import domains

if TYPE_CHECKING:
    from .train import Trainer


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    options = _parser().parse_args(arguments)
    if options.threads:
        import torch

        torch.set_num_threads(options.threads)
    command = {"render": _render, "train": _train, "finish": _finish}[options.command]
    command(options)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ganworks.training", description="Train a starter generator."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    render = commands.add_parser("render", help="draw the training pictures")
    train = commands.add_parser("train", help="train, or go on training")
    finish = commands.add_parser("finish", help="write the generator's folder")
    for command in (render, train, finish):
        command.add_argument("--domain", choices=domains.NAMES, default="portraits")
        command.add_argument("--work", type=Path, required=True, help="the run's folder")
        command.add_argument("--data", type=Path, help="the pictures' folder; DIR/data if not given")
        command.add_argument("--threads", type=int, default=0, help="CPU threads; all if not given")
    render.add_argument("--count", type=int, default=24_000, help="how many pictures")
    render.add_argument("--size", type=int, default=128, help="pixels along an edge")
    render.add_argument("--seed", type=int, default=0)
    render.add_argument("--part", type=_part, default=(0, 1), help="K/N: this is process K of N")
    render.add_argument(
        "--compile", action="store_true", help="use torch.compile: slow start, five times the speed"
    )
    train.add_argument(
        "--config", type=Path, help="a JSON file of settings, such as another run's config.json"
    )
    train.add_argument(
        "--start-from", type=Path, help="another run's checkpoint.pt to begin with, of any resolution"
    )
    for command in (train, finish):
        command.add_argument("--device", default="cpu")
    finish.add_argument("--to", type=Path, required=True, help="the folder to write")
    finish.add_argument("--names", type=Path, help='a JSON file of component names: {"0": "Turn the head"}')
    return parser


def _part(text: str) -> tuple[int, int]:
    this, _, of = text.partition("/")
    if not (this.isdigit() and of.isdigit() and int(this) < int(of)):
        raise argparse.ArgumentTypeError("Give a part as K/N with K from 0 to N-1, such as 0/2.")
    return int(this), int(of)


def _say(text: object) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _render(options: argparse.Namespace) -> None:
    from .data import render_folder

    def report(done: int, of: int, rate: float) -> None:
        if done % 20 == 0 or done == of:
            _say(f"{done}/{of} blocks, {rate:.1f} pictures/s")

    folder = options.data or options.work / "data"
    render_folder(
        domains.by_name(options.domain),
        folder,
        options.count,
        options.size,
        options.seed,
        options.part,
        options.compile,
        report,
    )


def _open_trainer(options: argparse.Namespace, config_path: Path | None) -> "Trainer":
    from .data import PictureSet
    from .train import Config, Trainer

    saved = options.work / "config.json"
    path = config_path or (saved if saved.exists() else None)
    config = Config.from_json(path.read_text()) if path else Config(domain=options.domain)
    return Trainer(
        config,
        PictureSet(options.data or options.work / "data", config.held_out),
        options.work,
        options.device,
    )


def _train(options: argparse.Namespace) -> None:
    trainer = _open_trainer(options, options.config)
    if trainer.resume():
        _say(f"Going on after {trainer.pictures} pictures.")
    elif options.start_from:
        trainer.start_from(options.start_from)
        _say(f"Starting from {options.start_from}, after {trainer.pictures} pictures.")
    _say(json.dumps(asdict(trainer.config)))
    stopped = False

    def stop(*_: Any) -> None:
        nonlocal stopped
        stopped = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    trainer.run(on_progress=_say, should_stop=lambda: stopped)


def _finish(options: argparse.Namespace) -> None:
    from .finish import finish

    trainer = _open_trainer(options, None)
    if not trainer.resume():
        raise SystemExit(f"{options.work} holds no checkpoint. Train first.")
    names = json.loads(options.names.read_text()) if options.names else {}
    figures = finish(trainer, options.to, {int(index): name for index, name in names.items()})
    _say(json.dumps(figures, indent=2))


if __name__ == "__main__":
    sys.exit(main())
