"""Train an upscaler: `python -m ganworks.training.upscaling render | train | export | measure`.

    render  --store mixed.npy --pictures 1500 --portraits 375 --textures 625     draw the training pictures once
    train   --store mixed.npy --run run/ --steps 16000                           learn to be faithful
    train   --store mixed.npy --run crisp/ --recipe crisp --start-from faithful-x4 --steps 4000
    export  --run run/ --to faithful-x4/upscaler.safetensors
    measure --upscaler faithful-x4/upscaler.safetensors [--pictures folder/] [--sheet sheet.webp]

There are two recipes, of which every number can be changed. "faithful" learns the pixels alone. "crisp" has a judge too, and
small pictures that were damaged. Stop a training at any time, and call it again to go on.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch

from ganworks.devices import has_quick_bfloat16
from ganworks.errors import GanworksError, InvalidInput
from ganworks.networks.upscaler import UpscalerNetwork
from ganworks.superresolution import open_network, open_upscaler, save_upscaler
from ganworks.training.upscaling_data import portrait_pictures
from ganworks.training.upscaling_leaves import leaves_picture
from ganworks.training.upscaling_measure import drawing_table, photo_table, sheet
from ganworks.training.upscaling_run import RECIPES, Recipe, Training, train
from ganworks.training.upscaling_textures import texture_picture

DESCRIPTIONS = {
    "faithful": "Enlarges {times} and stays faithful to the picture: it sharpens, and invents little.",
    "crisp": "Enlarges {times}, removes noise and JPEG damage, and draws crisp edges and texture, even by guessing.",
}
TIMES = {2: "twice", 3: "three times", 4: "four times"}


def render(
    path: Path, *, pictures: int, size: int, seed: int = 0, portraits: int = 0, textures: int = 0
) -> None:
    """Draw dead leaves, portraits and textures, in this order, into a .npy file, [K, size, size, 3] uint8."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (pictures + portraits + textures, size, size, 3)
    unfinished = path.with_suffix(".part")
    store = np.lib.format.open_memmap(unfinished, mode="w+", dtype=np.uint8, shape=shape)
    for i in range(pictures):
        store[i] = leaves_picture(seed + i, size)
    if portraits:
        store[pictures : pictures + portraits] = portrait_pictures(portraits, size, seed)
    for i in range(textures):
        store[pictures + portraits + i] = texture_picture(seed + i, size)
    store.flush()
    unfinished.replace(path)


def export(
    run: Path,
    path: Path,
    *,
    label: str | None = None,
    license: str | None = None,
    blend: str | None = None,
    share: float = 0.5,
) -> None:
    """Write the mean weights of a run as an upscaler file. Its licence is that of what it began with, if anything.

    `blend`: another upscaler of ours, of the same form, whose weights are `share` of the result. A faithful one takes the
    most daring inventions of a crisp one back. Source: "ESRGAN" (arXiv 1809.00219), section 3.4. InvalidInput if it does
    not fit.
    """
    training = Training.load(run / "state.pt")
    recipe = training.recipe
    network = training.mean_network()
    blended = {}
    if blend is not None:
        other, info = open_network(blend)
        mix(network, other, share)
        blended = {"with": info.label, "sha256": info.sha256, "share": share}
    kind = "crisp" if recipe.crispness else "faithful"
    times = TIMES.get(recipe.scale, f"{recipe.scale} times")
    save_upscaler(
        network,
        path,
        label=label or f"{kind.capitalize()} x{recipe.scale}",
        license=license or training.origin.get("license") or "Same licence as PixelLift",
        description=DESCRIPTIONS[kind].format(times=times),
        training={"steps": training.step, "origin": training.origin, "blend": blended, **asdict(recipe)},
    )


def mix(network: UpscalerNetwork, other: UpscalerNetwork, share: float) -> None:
    """Make `share` (0 to 1) of the weights of `network` the other's. InvalidInput if their forms differ."""
    if not 0 <= share <= 1:
        raise InvalidInput(f"The share of the other upscaler must lie between 0 and 1, not at {share}.")
    weights, others = network.state_dict(), other.state_dict()
    if {name: value.shape for name, value in weights.items()} != {n: v.shape for n, v in others.items()}:
        raise InvalidInput("Only upscalers of the same scale and size can be blended.")
    network.load_state_dict(
        {name: value.lerp(others[name].to(value.dtype), share) for name, value in weights.items()}
    )


def recipe_of(options: argparse.Namespace) -> Recipe:
    """The chosen recipe with what was said otherwise. bfloat16 only where the processor is quick at it."""
    said = {name: getattr(options, name) for name in asdict(Recipe())}
    if not has_quick_bfloat16(torch.device("cpu")):
        said["precision"] = said["precision"] or "fp32"
    return replace(RECIPES[options.recipe], **{name: v for name, v in said.items() if v is not None})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ganworks.training.upscaling", description=__doc__.splitlines()[0]
    )
    commands = parser.add_subparsers(dest="command", required=True)
    drawing = commands.add_parser("render", help="draw the training pictures")
    drawing.add_argument("--store", type=Path, required=True)
    drawing.add_argument("--pictures", type=int, default=1500)
    drawing.add_argument("--portraits", type=int, default=0)
    drawing.add_argument("--textures", type=int, default=0)
    drawing.add_argument("--size", type=int, default=256)
    drawing.add_argument("--seed", type=int, default=0)
    training = commands.add_parser("train", help="train, or go on training")
    training.add_argument("--store", type=Path, required=True)
    training.add_argument("--run", type=Path, required=True)
    training.add_argument("--steps", type=int, default=16_000)
    training.add_argument("--minutes", type=float, default=math.inf)
    training.add_argument("--threads", type=int, default=1)
    training.add_argument("--recipe", choices=RECIPES, default="faithful")
    training.add_argument(
        "--start-from", help="an upscaler to begin with: a file, a folder or a starter's name"
    )
    for name, value in asdict(Recipe()).items():
        training.add_argument(f"--{name.replace('_', '-')}", type=type(value), help="as the recipe says")
    exporting = commands.add_parser("export", help="write the weights for use")
    exporting.add_argument("--run", type=Path, required=True)
    exporting.add_argument("--to", type=Path, required=True)
    exporting.add_argument("--label")
    exporting.add_argument("--license")
    exporting.add_argument(
        "--blend", help="another upscaler of ours whose weights are mixed in, such as a faithful one"
    )
    exporting.add_argument("--share", type=float, default=0.5, help="how much of it, 0 to 1")
    measuring = commands.add_parser("measure", help="compare with bicubic enlargement")
    measuring.add_argument("--upscaler", type=Path, required=True)
    measuring.add_argument("--pictures", type=Path, help="a folder of photos; without it, held-out drawings")
    measuring.add_argument("--sheet", type=Path, help="also write a sheet of held-out drawings, here")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line; see the top of this file."""
    options = _parser().parse_args(arguments)
    try:
        _run(options)
    except GanworksError as error:
        raise SystemExit(str(error)) from error


def _run(options: argparse.Namespace) -> None:
    if options.command == "render":
        render(
            options.store,
            pictures=options.pictures,
            size=options.size,
            seed=options.seed,
            portraits=options.portraits,
            textures=options.textures,
        )
    elif options.command == "train":
        torch.set_num_threads(options.threads)
        train(
            np.load(options.store, mmap_mode="r"),
            options.run,
            recipe_of(options),
            steps=options.steps,
            minutes=options.minutes,
            start_from=options.start_from,
            say=_say,
        )
    elif options.command == "export":
        export(
            options.run,
            options.to,
            label=options.label,
            license=options.license,
            blend=options.blend,
            share=options.share,
        )
    elif options.command == "measure":
        upscaler = open_upscaler(options.upscaler)
        _say(photo_table(upscaler, options.pictures) if options.pictures else drawing_table(upscaler))
        if options.sheet is not None:
            sheet(upscaler).save(options.sheet, quality=90)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
