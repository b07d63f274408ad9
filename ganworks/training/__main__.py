"""Train generators: the starters from what PixelLift's renderers draw, or your own from a folder of pictures.

    python -m ganworks.training render --work DIR [--count 24000] [--part 0/2] [--compile]
    python -m ganworks.training train  --work DIR [--config FILE] [--start-from CHECKPOINT] [--device cuda]
    python -m ganworks.training train  --work DIR --images FOLDER [--size 256] [--start-from GENERATOR]
    python -m ganworks.training finish --work DIR --to FOLDER [--names FILE]
    python -m ganworks.training strips --generator FOLDER --to PICTURE [--basis factors]
    python -m ganworks.training name --generator FOLDER --names FILE [--basis factors]
    python -m ganworks.training measure --generator FOLDER --fresh FOLDER [--known FOLDER]

`render` draws the pictures into DIR/data, `train` goes on from DIR/checkpoint.pt if there is one, and
`finish` writes what a generator's folder holds, `strips` shows what its directions change, `name` keeps what somebody who
looked calls them, and `measure` prints the figures of its card. Upscalers have their own:
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

from ganworks.errors import GanworksError, InvalidInput

from . import domains

if TYPE_CHECKING:
    from .config import Config
    from .train import Trainer


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    options = _parser().parse_args(arguments)
    if getattr(options, "threads", 0):
        import torch

        torch.set_num_threads(options.threads)
    try:
        _COMMANDS[options.command](options)
    except (GanworksError, FloatingPointError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ganworks.training", description="Train a generator of your own, or a starter."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    render = commands.add_parser("render", help="draw the training pictures of a domain")
    train = commands.add_parser("train", help="train, or go on training")
    finish = commands.add_parser("finish", help="write the generator's folder")
    measure = commands.add_parser("measure", help="the figures of a generator of a domain")
    measure.add_argument("--threads", type=int, default=0, help="CPU threads; all if not given")
    measure.add_argument("--generator", required=True, help="its folder, or a starter's name")
    measure.add_argument("--fresh", type=Path, required=True, help="renders that it was not trained on")
    measure.add_argument(
        "--known", type=Path, help="renders to compare those with; half of them if not given"
    )
    measure.add_argument("--count", type=int, default=10_000, help="how many pictures")
    strips = commands.add_parser("strips", help="draw what a generator's directions change")
    strips.add_argument("--threads", type=int, default=0, help="CPU threads; all if not given")
    strips.add_argument("--seed", type=int, default=3)
    strips.add_argument("--count", type=int, default=8, help="how many directions")
    strips.add_argument("--to", type=Path, required=True, help="the picture's file: .webp, .png or .jpg")
    name = commands.add_parser("name", help="give a generator's directions the names of what they change")
    name.add_argument("--names", type=Path, required=True, help='a JSON file: {"0": "Turn the head"}')
    for command in (strips, name):
        command.add_argument("--generator", required=True, help="its folder, or a starter's name")
        command.add_argument("--basis", choices=("components", "factors"), default="components")
    for command in (render, train, finish):
        command.add_argument("--domain", choices=domains.NAMES, default="portraits")
        command.add_argument("--work", type=Path, required=True, help="the run's folder")
        command.add_argument("--data", type=Path, help="the prepared pictures' folder; DIR/data if not given")
        command.add_argument("--threads", type=int, default=0, help="CPU threads; all if not given")
    render.add_argument("--count", type=int, default=24_000, help="how many pictures")
    render.add_argument("--size", type=int, default=128, help="pixels along an edge")
    render.add_argument("--seed", type=int, default=0)
    render.add_argument("--part", type=_part, default=(0, 1), help="K/N: this is process K of N")
    render.add_argument(
        "--compile", action="store_true", help="use torch.compile: slow start, five times the speed"
    )
    _add_training_options(train)
    for command in (train, finish):
        command.add_argument("--device", default="auto", help="auto (the default), cpu, cuda or cuda:0")
    finish.add_argument("--to", type=Path, required=True, help="the folder to write")
    finish.add_argument("--names", type=Path, help='a JSON file of component names: {"0": "Turn the head"}')
    finish.add_argument("--label", help="what people call the generator; the folder's name if not given")
    finish.add_argument("--license", help="under which its pictures may be used")
    finish.add_argument("--half", action="store_true", help="store the generator in 16 bits, half as large")
    finish.add_argument("--description", help="a sentence about it")
    return parser


def _add_training_options(train: argparse.ArgumentParser) -> None:
    train.add_argument(
        "--config", type=Path, help="a JSON file of settings, such as another run's config.json"
    )
    train.add_argument(
        "--start-from",
        metavar="CHECKPOINT or GENERATOR",
        help="another run's checkpoint.pt to begin with, of any resolution; or a generator.safetensors, its folder, or "
        "a starter's name (for a domain: of the same sizes)",
    )
    train.add_argument(
        "--compile", action="store_true", help="use torch.compile: slow start, more pictures a second"
    )
    own = train.add_argument_group("pictures of your own")
    own.add_argument("--images", type=Path, help="a folder of pictures to learn from, instead of a domain")
    for name, (kind, words) in _RECIPE.items():
        flag = "--" + name.replace("_", "-")
        if kind is bool:
            own.add_argument(flag, action="store_true", default=None, help=words)
        else:
            own.add_argument(flag, type=kind, help=words)


# What becomes part of config.json when a run on pictures begins, and is not given again.
_RECIPE: dict[str, tuple[type, str]] = {
    "size": (int, "pixels along an edge, a power of two; 128 if not given, or the generator's"),
    "pictures": (int, "how many pictures to show; 1,000,000 if not given"),
    "batch": (int, "pictures at once; 32 if not given"),
    "channel_base": (int, "width of the networks; 16384 if not given, 4096 suits a CPU"),
    "channel_max": (int, "most channels of a layer; 512 if not given, 128 suits a CPU"),
    "r1_gamma": (float, "weight of the R1 penalty; 0.0002 size^2 / batch if not given"),
    "path_length_weight": (float, "weight of the path-length penalty; 0 if not given, 2 in the paper"),
    "style_mixing": (float, "part of the pictures that mix two styles; 0 if not given, 0.9 in the paper"),
    "precision": (str, "float32 (if not given) or bfloat16"),
    "mirror": (bool, "show half of the pictures as in a mirror"),
    "seed": (int, "0 if not given"),
}


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


def _train(options: argparse.Namespace) -> None:
    tuned = _generator_to_tune(options)
    config = _config(options, tuned)
    if options.images:
        _prepare(options, config)
    trainer = _open_trainer(options, config)
    if trainer.resume():
        _say(f"Going on after {trainer.pictures} pictures.")
    elif tuned:
        from .networks import load_critic, load_for_tuning

        trainer.tune(load_for_tuning(tuned), load_critic(tuned) if config.paired else None)
        _say(f"Starting from {tuned}.")
    elif options.start_from:
        trainer.start_from(Path(options.start_from))
        _say(f"Starting from {options.start_from}, after {trainer.pictures} pictures.")
    _say(json.dumps(asdict(trainer.config)))
    stopped = False

    def stop(*_: Any) -> None:
        nonlocal stopped
        stopped = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    trainer.run(on_progress=_say, should_stop=lambda: stopped)


def _generator_to_tune(options: argparse.Namespace) -> str | None:
    """What `--start-from` names, if it is a generator and no run's checkpoint."""
    name: str | None = options.start_from
    if not name or Path(name).suffix == ".pt":
        return None
    return name


def _config(options: argparse.Namespace, tuned: str | None = None) -> "Config":
    """The run's own settings if it has begun, else those that were asked for."""
    from .config import IMAGES, Config
    from .networks import config_for_tuning

    saved = options.work / "config.json"
    given = {name: value for name in _RECIPE if (value := vars(options).get(name)) is not None}
    path = getattr(options, "config", None) or (saved if saved.exists() else None)
    images = getattr(options, "images", None)
    if given and (path or not images):
        flags = ", ".join("--" + name.replace("_", "-") for name in given)
        reason = f"{path} has the settings of this run" if path else "There is no --images"
        raise InvalidInput(
            f"{reason}, so {flags} cannot be used. Change a copy of that file, and pass --config."
        )
    if path:
        config = Config.from_json(path.read_text())
        if images and config.domain != IMAGES:
            raise InvalidInput(f"{path} is about {config.domain}. Choose another --work folder for --images.")
        return config
    if not images:
        return Config(domain=options.domain, precision=_precision(options.device))
    size = given.pop("size", None)
    if "channel_base" in given:
        given["discriminator_channel_base"] = given["channel_base"]
    if not tuned:
        return Config.for_images(size or 128, **given)
    config = config_for_tuning(tuned, **given)
    if size not in (None, config.resolution):
        raise InvalidInput(f"{tuned} draws {config.resolution} pixels. Leave --size out.")
    return config


def _precision(name: str) -> str:
    """bfloat16 on GPUs and on CPUs that are quicker at it, float32 elsewhere."""
    from ganworks.devices import choose_device, has_quick_bfloat16

    device = choose_device(name)
    return "bfloat16" if device.type == "cuda" or has_quick_bfloat16(device) else "float32"


def _prepare(options: argparse.Namespace, config: "Config") -> None:
    from .folders import prepare_folder

    def report(done: int, of: int) -> None:
        if done % 1000 == 0 or done == of:
            _say(f"{done}/{of} files read")

    folder = options.data or options.work / "data"
    left_out = prepare_folder(options.images, folder, config.resolution, report)
    for sentence in left_out[:10]:
        _say(f"Left out: {sentence}")
    if left_out:
        _say(f"{len(left_out)} files were left out.")


def _open_trainer(options: argparse.Namespace, config: "Config") -> "Trainer":
    from ganworks.devices import choose_device

    from .data import PictureSet
    from .folders import PictureFolder
    from .train import Trainer

    folder = options.data or options.work / "data"
    data = (
        PictureSet(folder, config.held_out)
        if config.paired
        else PictureFolder(folder, config.held_out, config.mirror)
    )
    backend = "inductor" if getattr(options, "compile", False) else None
    return Trainer(config, data, options.work, str(choose_device(options.device)), backend)


def _finish(options: argparse.Namespace) -> None:
    from .finish import finish

    trainer = _open_trainer(options, _config(options))
    if not trainer.resume():
        raise SystemExit(f"{options.work} holds no checkpoint. Train first.")
    names = _names(options.names) if options.names else {}
    figures = finish(
        trainer,
        options.to,
        names,
        options.label,
        options.license,
        options.description,
        options.half,
    )
    _say(json.dumps(figures, indent=2))


def _measure(options: argparse.Namespace) -> None:
    from .measuring import measure_generator

    figures = measure_generator(options.generator, options.fresh, options.known, options.count)
    _say(json.dumps(figures, indent=2))


def _strips(options: argparse.Namespace) -> None:
    from ganworks.components import open_basis
    from ganworks.generator import open_generator
    from ganworks.sheets import direction_strips

    generator = open_generator(options.generator)
    basis = open_basis(_basis_file(options))
    direction_strips(generator, basis, options.seed, options.count).save(options.to, quality=88)
    _say(f"{options.to}: " + ", ".join(basis.names[: options.count]))


def _name(options: argparse.Namespace) -> None:
    from ganworks.components import open_basis

    path = _basis_file(options)
    basis = open_basis(path)
    basis.rename(_names(options.names))
    basis.save(path)
    _say(f"{path}: " + ", ".join(basis.names))


def _basis_file(options: argparse.Namespace) -> Path:
    from ganworks.info import GENERATOR_FILE, locate

    return locate(options.generator, GENERATOR_FILE).with_name(f"{options.basis}.safetensors")


def _names(path: Path) -> dict[int, str]:
    """What a JSON file calls directions, by their numbers from 0."""
    try:
        names = json.loads(path.read_text())
        return {int(index): str(name) for index, name in names.items()}
    except (OSError, ValueError, AttributeError) as error:
        raise InvalidInput(f'{path} must hold names by number, such as {{"0": "Turn the head"}}.') from error


_COMMANDS = {
    "render": _render,
    "train": _train,
    "finish": _finish,
    "measure": _measure,
    "strips": _strips,
    "name": _name,
}


if __name__ == "__main__":
    sys.exit(main())
