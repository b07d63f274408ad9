"""A photo as a phone makes it: lying on its side with an orientation tag, a place in its EXIF, noise, and big."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

WIDTH_PX, HEIGHT_PX = 3000, 4000  # as a viewer shows it
TURNED_RIGHT = 6
ORIENTATION, MAKE, MODEL, GPS = 0x0112, 0x010F, 0x0110, 0x8825


def portrait(width: int = WIDTH_PX, height: int = HEIGHT_PX, grain_seed: int = 7) -> Image.Image:
    """A head before a wall in evening light, upright."""
    small = Image.new("RGB", (300, 400), (96, 118, 140))
    draw = ImageDraw.Draw(small)
    for y in range(400):
        draw.line([(0, y), (300, y)], fill=(110 - y // 8, 125 - y // 10, 150 - y // 12))
    draw.ellipse((60, 300, 240, 480), fill=(52, 66, 92))  # shoulders
    draw.rectangle((128, 250, 172, 320), fill=(196, 148, 120))  # neck
    draw.ellipse((78, 70, 222, 290), fill=(58, 40, 32))  # hair
    draw.ellipse((92, 98, 208, 282), fill=(222, 176, 146))  # face
    for x in (124, 176):
        draw.ellipse((x - 13, 168, x + 13, 184), fill=(244, 242, 238))
        draw.ellipse((x - 6, 169, x + 6, 183), fill=(64, 92, 104))
        draw.arc((x - 18, 146, x + 18, 176), 200, 340, fill=(70, 48, 38), width=4)
    draw.arc((138, 186, 162, 218), 20, 160, fill=(186, 136, 110), width=3)
    draw.chord((126, 232, 174, 258), 0, 180, fill=(176, 86, 84))
    picture = small.filter(ImageFilter.GaussianBlur(2)).resize((width, height), Image.Resampling.BICUBIC)
    grain = np.random.default_rng(grain_seed).normal(0, 6, (height, width, 1))
    return Image.fromarray((np.asarray(picture) + grain).clip(0, 255).astype(np.uint8))


def photo(path: Path, grain_seed: int = 7) -> Path:
    """Write the portrait as a camera would: the sensor's pixels, and a tag that says how to turn them."""
    exif = Image.Exif()
    exif[ORIENTATION] = TURNED_RIGHT
    exif[MAKE], exif[MODEL] = "Telefon", "Nine"
    exif.get_ifd(GPS).update({1: "N", 2: (52.0, 31.0, 12.0), 3: "E", 4: (13.0, 24.0, 18.0)})
    portrait(grain_seed=grain_seed).transpose(Image.Transpose.ROTATE_90).save(path, quality=92, exif=exif)
    return path
