"""Draw the strips that the first page shows: one picture, moved along one component, frame beside frame.

    python -m tools.landing_frames static/img/landing/turn.webp --generator portraits --seed 5 --component 0

The frames lie side by side in one WebP; their number is odd, so that the untouched picture is in the middle.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image

import ganworks

SMOOTH = Image.Resampling.LANCZOS


def strip(arguments: argparse.Namespace) -> Image.Image:
    """The frames from -reach to +reach sigma, from left to right."""
    library = ganworks.Library(directories=arguments.models)
    generator = library.generator(arguments.generator)
    basis = library.basis(arguments.generator)
    upscaler = library.upscaler(arguments.upscaler)
    start, end = ganworks.layer_ranges(generator.num_ws)[arguments.layers]
    ws = generator.mapping(generator.latents([arguments.seed]), truncation_psi=arguments.truncation)
    side, count = arguments.side, arguments.frames
    sheet = Image.new("RGB", (side * count, side))
    for index in range(count):
        strength = arguments.reach * (2 * index / (count - 1) - 1)
        edit = ganworks.Edit(basis, arguments.component, (start, end), strength)
        small = ganworks.to_image(generator.synthesis(ganworks.apply_edits(ws, [edit])))
        large = upscaler.upscale_image(small).convert("RGB").resize((side, side), SMOOTH)
        sheet.paste(large, (index * side, 0))
    return sheet


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("path", type=Path, help="the WebP file to write")
    parser.add_argument("--generator", default="portraits")
    parser.add_argument("--models", type=Path, nargs="*", default=[], help="folders of further models")
    parser.add_argument("--upscaler", default="faithful-x4")
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--truncation", type=float, default=0.7)
    parser.add_argument("--component", type=int, default=0)
    parser.add_argument("--layers", default="all", choices=["all", "coarse", "middle", "fine"])
    parser.add_argument("--reach", type=float, default=3.0, help="sigma at both ends")
    parser.add_argument("--frames", type=int, default=21)
    parser.add_argument("--side", type=int, default=384, help="pixels of a frame's side")
    parser.add_argument("--quality", type=int, default=72)
    return parser.parse_args()


def main() -> None:
    arguments = parse()
    if arguments.frames % 2 == 0:
        raise SystemExit("The number of frames must be odd, so that one of them is the untouched picture.")
    arguments.path.parent.mkdir(parents=True, exist_ok=True)
    strip(arguments).save(arguments.path, "WEBP", quality=arguments.quality, method=6)


if __name__ == "__main__":
    main()
