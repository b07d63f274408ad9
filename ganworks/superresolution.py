"""Superresolution: pictures of any size enlarged in tiles, without a seam and in bounded memory.

    upscaler = ganworks.open_upscaler("faithful-x4")
    large = upscaler(image)                    # [N, 3, H, W] in [-1, 1] -> [N, 3, 4H, 4W]
    picture = upscaler.upscale_image(pillow)   # keeps transparency and the colour profile
    upscaler.upscale_to_png(pillow, file)      # the same for pictures whose result would not fit in memory

A tile is enlarged together with as many of its neighbours' pixels as the network can see from it
(`UpscalerNetwork.reach`), and only its own part is kept. So tiles and the whole give the same picture. Networks of other
people (`ganworks.upscalers`) see further than is practical: how far they must is measured, and some take pictures as a
whole only.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import torch
from PIL import ExifTags, Image, ImageCms, ImageFilter, ImageOps
from torch import Tensor

from ganworks.checkpoint import Header, check_shapes, damaged, read_header, read_tensors, write
from ganworks.devices import choose_device, choose_precision, plain_memory_errors
from ganworks.errors import InvalidInput, Stopped
from ganworks.info import UPSCALER_FILE, UpscalerInfo, locate, read_upscaler_info
from ganworks.networks.upscaler import UpscalerNetwork
from ganworks.png_stream import PngStream

if TYPE_CHECKING:
    from ganworks.upscalers.network import ForeignNetwork

OnTile = Callable[[int, int], None]
ShouldStop = Callable[[], bool]

TILE_PX = 160
"""Side of a tile in pixels of the small picture. Working on one takes about 150 MB."""

MAX_OUTPUT_PIXELS = 100_000_000
"""The largest result of `upscale_image`: 400 MB in Pillow, so that a process with torch stays below 1 GB."""

MAX_STREAM_INPUT_PIXELS = 50_000_000
"""The largest picture that `upscale_to_png` takes; its result is never in memory as a whole."""

MAX_WHOLE_OUTPUT_PIXELS = 1024 * 1024
"""The largest result of a network that takes pictures as a whole only: it cannot work in bounded memory."""

ARCHITECTURE = "residual-subpixel"
MAX_CHANNELS = 512
MAX_BLOCKS = 64
MAX_SCALE = 8


@dataclass(frozen=True)
class Tile:
    """One tile, in pixels of the small picture: what is kept, and the larger window that is looked at."""

    x0: int
    y0: int
    x1: int
    y1: int
    left: int
    top: int
    right: int
    bottom: int


def tiles_of(width: int, height: int, *, tile: int, overlap: int) -> list[Tile]:
    """The tiles of a picture, row by row; their kept parts cover it exactly once. All in pixels."""
    return [
        Tile(
            x0=x,
            y0=y,
            x1=min(x + tile, width),
            y1=min(y + tile, height),
            left=max(x - overlap, 0),
            top=max(y - overlap, 0),
            right=min(x + tile + overlap, width),
            bottom=min(y + tile + overlap, height),
        )
        for y in range(0, height, tile)
        for x in range(0, width, tile)
    ]


class Upscaler:
    """A network that enlarges pictures. One object serves any number of threads."""

    def __init__(
        self,
        network: UpscalerNetwork | ForeignNetwork,
        *,
        device: str | torch.device = "cpu",
        label: str = "Upscaler",
        license: str = "",
        sha256: str = "",
        tile_px: int = TILE_PX,
        precision: torch.dtype | None = None,
        whole: bool = False,
    ) -> None:
        self.device = torch.device(device)
        self.label = label
        self.license = license
        self.sha256 = sha256
        self.scale = network.scale
        self.tile_px = tile_px
        self.whole = whole
        self._precision = precision or choose_precision(self.device)
        self._network = network.eval().requires_grad_(False).to(self.device, self._precision)
        if isinstance(network, UpscalerNetwork):
            network.use_channels_last()

    @property
    def num_parameters(self) -> int:
        """How many numbers the network has learned."""
        return sum(parameter.numel() for parameter in self._network.parameters())

    @property
    def overlap_px(self) -> int:
        """How far tiles overlap, in pixels of the small picture."""
        return self._network.reach

    def __call__(
        self, image: Tensor, *, on_tile: OnTile | None = None, should_stop: ShouldStop | None = None
    ) -> Tensor:
        """Enlarge [N, 3, H, W] in [-1, 1] to [N, 3, scale*H, scale*W], float32, on the same device.

        `on_tile(done, total)` is called after each tile. `should_stop()` is asked before each tile; when it
        says yes, `Stopped` is raised.
        """
        if image.ndim != 4 or image.shape[1] != 3 or 0 in image.shape:
            raise InvalidInput(
                f"An upscaler takes pictures as [N, 3, H, W], and this has the shape {list(image.shape)}."
            )
        count, _, height, width = image.shape
        if self.whole:
            self._refuse_too_large(width, height, MAX_WHOLE_OUTPUT_PIXELS // self.scale**2)
        s = self.scale
        large = torch.empty(count, 3, s * height, s * width, device=image.device)
        places = self._tiles(width, height)
        progress = _Progress(count * len(places), on_tile, should_stop)
        for n in range(count):
            for place in places:
                progress.before()
                window = image[n : n + 1, :, place.top : place.bottom, place.left : place.right]
                kept = self._enlarge(window.float(), place)
                large[n, :, s * place.y0 : s * place.y1, s * place.x0 : s * place.x1] = kept
                progress.after()
        return large

    def upscale_image(
        self, picture: Image.Image, *, on_tile: OnTile | None = None, should_stop: ShouldStop | None = None
    ) -> Image.Image:
        """Enlarge a Pillow picture of any mode; transparency and the colour profile are kept.

        The result has 8 bits a channel: `L` for grey pictures (16-bit ones too), `LA`, `RGB` or `RGBA`. CMYK
        becomes RGB, through its profile if it has one. A turned photo (EXIF) comes out upright. Memory stays
        below 1 GB for the largest that is taken, `MAX_OUTPUT_PIXELS`; beyond it `InvalidInput` is raised.
        """
        self._refuse_too_large(*picture.size, MAX_OUTPUT_PIXELS // self.scale**2)
        small, profile = _prepared(picture)
        large = Image.new(small.mode, (small.width * self.scale, small.height * self.scale))
        for place, tile in self._enlarged_tiles(small, on_tile, should_stop):
            large.paste(tile, (self.scale * place.x0, self.scale * place.y0))
        if profile is not None:
            large.info["icc_profile"] = profile
        return large

    def upscale_to_png(
        self,
        picture: Image.Image,
        file: BinaryIO,
        *,
        on_tile: OnTile | None = None,
        should_stop: ShouldStop | None = None,
    ) -> tuple[int, int]:
        """Like `upscale_image`, but the result goes to `file` as a PNG, row by row; returns its size.

        Only one row of tiles is in memory, so a picture of 4,000 x 4,000 pixels, which becomes one of
        16,000 x 16,000, stays below 1 GB. Takes up to `MAX_STREAM_INPUT_PIXELS`; beyond them `InvalidInput`.
        """
        self._refuse_too_large(*picture.size, MAX_STREAM_INPUT_PIXELS)
        small, profile = _prepared(picture)
        width, height = small.width * self.scale, small.height * self.scale
        channels = len(small.getbands())
        png = PngStream(file, width=width, height=height, channels=channels, icc_profile=profile)
        tallest = small.height if self.whole else self.tile_px
        rows = np.empty((self.scale * tallest, width, channels), np.uint8)
        for place, tile in self._enlarged_tiles(small, on_tile, should_stop):
            x = self.scale * place.x0
            rows[: tile.height, x : x + tile.width] = np.asarray(tile).reshape(tile.height, tile.width, -1)
            if place.x1 == small.width:
                png.append(rows[: tile.height])
        png.finish()
        return width, height

    def _enlarged_tiles(
        self, small: Image.Image, on_tile: OnTile | None, should_stop: ShouldStop | None
    ) -> Iterator[tuple[Tile, Image.Image]]:
        """The tiles of a prepared picture, enlarged, row by row, in the picture's mode."""
        places = self._tiles(small.width, small.height)
        passes = 2 if small.mode in ("LA", "RGBA") else 1
        progress = _Progress(passes * len(places), on_tile, should_stop)
        for place in places:
            window = small.crop((place.left, place.top, place.right, place.bottom))
            progress.before()
            tile = self._enlarge_bands(window.convert("RGB"), place)
            progress.after()
            if small.mode in ("L", "LA"):
                tile = tile.convert("L")
            if small.mode in ("LA", "RGBA"):
                progress.before()
                alpha = self._enlarge_bands(window.getchannel("A").convert("RGB"), place).convert("L")
                progress.after()
                tile.putalpha(alpha)
            yield place, tile

    def _enlarge_bands(self, window: Image.Image, place: Tile) -> Image.Image:
        """The kept part of one tile of an RGB picture, enlarged."""
        pixels = torch.from_numpy(np.array(window, np.uint8)).permute(2, 0, 1)[None]  # [1, 3, h, w]
        kept = self._enlarge(pixels.float() / 127.5 - 1, place)
        levels = ((kept + 1) * 127.5).round().to(torch.uint8)
        return Image.fromarray(levels.permute(1, 2, 0).contiguous().cpu().numpy())

    def _enlarge(self, window: Tensor, place: Tile) -> Tensor:
        """[1, 3, h, w] in [-1, 1] around a tile -> the tile itself, [3, scale*(y1-y0), scale*(x1-x0)]."""
        s = self.scale
        with torch.inference_mode(), plain_memory_errors():
            found: Tensor = self._network(window.to(self.device, self._precision))[0].clamp(-1, 1).float()
        y, x = s * (place.y0 - place.top), s * (place.x0 - place.left)
        return found[:, y : y + s * (place.y1 - place.y0), x : x + s * (place.x1 - place.x0)]

    def _tiles(self, width: int, height: int) -> list[Tile]:
        tile = max(width, height) if self.whole else self.tile_px
        return tiles_of(width, height, tile=tile, overlap=self.overlap_px)

    def _refuse_too_large(self, width: int, height: int, limit: int) -> None:
        if self.whole:
            limit = min(limit, MAX_WHOLE_OUTPUT_PIXELS // self.scale**2)
        if width * height > limit:
            advice = f"Choose one with at most {limit / 1e6:.3g} megapixels."
            raise InvalidInput(
                f"This picture has {width} x {height} pixels, too many to enlarge {self.scale} times"
                + (f" with {self.label}, which cannot work in parts. " if self.whole else ". ")
                + advice
            )


def open_upscaler(path_or_name: str | Path, device: str | torch.device = "cpu") -> Upscaler:
    """Open an upscaler from its file, its folder, or a starter's name.

    Raises `UpscalerNotFound` if there is none, `CheckpointError` if the file is damaged or lies about itself.
    """
    chosen = choose_device(str(device))
    info = read_upscaler_info(locate(path_or_name, UPSCALER_FILE))
    if info.is_foreign:
        return _open_foreign(info, chosen)
    network = _read_network(info)
    return Upscaler(network, device=chosen, label=info.label, license=info.license, sha256=info.sha256)


def open_network(path_or_name: str | Path) -> tuple[UpscalerNetwork, UpscalerInfo]:
    """The network of an upscaler of ours, to train it further. Raises as `open_upscaler` does, and `InvalidInput` if its
    network is one of other people."""
    info = read_upscaler_info(locate(path_or_name, UPSCALER_FILE))
    if info.is_foreign:
        raise InvalidInput(
            f"{info.label} cannot be trained further. Choose an upscaler that was trained here."
        )
    return _read_network(info), info


def _read_network(info: UpscalerInfo) -> UpscalerNetwork:
    header = read_header(info.path, kind="upscaler")
    network = _network_of(header)
    check_shapes(header, {name: tuple(value.shape) for name, value in network.state_dict().items()})
    network.load_state_dict(read_tensors(info.path, header), assign=True)
    return network


def _open_foreign(info: UpscalerInfo, device: torch.device) -> Upscaler:
    """An upscaler whose network spandrel knows. It is loaded for this only."""
    from ganworks.upscalers import open_network

    network = open_network(info.path)
    if network.scale != info.scale:
        raise damaged(
            f"{info.path.parent.name}/{info.path.name}",
            f"its header says that it enlarges {info.scale} times, and its network enlarges {network.scale} times",
        )
    return Upscaler(
        network,
        device=device,
        label=info.label,
        license=info.license,
        sha256=info.sha256,
        tile_px=network.tile_px,
        precision=None if network.supports_half else torch.float32,
        whole=network.findings.whole,
    )


def save_upscaler(
    network: UpscalerNetwork,
    path: str | Path,
    *,
    label: str,
    license: str,
    description: str = "",
    training: Mapping[str, Any] | None = None,
) -> None:
    """Write a network as a file that `open_upscaler` opens, in half precision."""
    meta = {
        "architecture": ARCHITECTURE,
        "label": label,
        "scale": network.scale,
        "channels": network.channels,
        "blocks": network.num_blocks,
        "license": license,
        "description": description,
        "source_format": "pixellift-training",
        "training": dict(training or {}),
    }
    write(path, "upscaler", meta, {key: value.half() for key, value in network.state_dict().items()})


def _network_of(header: Header) -> UpscalerNetwork:
    """The network that a header describes, without memory for its weights."""
    if header.text("architecture") != ARCHITECTURE:
        raise damaged(header.name, f"its architecture {header.text('architecture')[:40]!r} is not known here")
    with torch.device("meta"):
        return UpscalerNetwork(
            channels=header.integer("channels", 1, MAX_CHANNELS),
            blocks=header.integer("blocks", 0, MAX_BLOCKS),
            scale=header.integer("scale", 2, MAX_SCALE),
        )


class _Progress:
    """Asks whether to stop before a tile, and counts it after."""

    def __init__(self, total: int, on_tile: OnTile | None, should_stop: ShouldStop | None) -> None:
        self.done = 0
        self.total = total
        self.on_tile = on_tile
        self.should_stop = should_stop

    def before(self) -> None:
        if self.should_stop is not None and self.should_stop():
            raise Stopped("Enlarging was stopped before it was finished.")

    def after(self) -> None:
        self.done += 1
        if self.on_tile is not None:
            self.on_tile(self.done, self.total)


def _prepared(picture: Image.Image) -> tuple[Image.Image, bytes | None]:
    """The picture upright, as L, LA, RGB or RGBA with 8 bits, and the colour profile that then holds."""
    profile: bytes | None = picture.info.get("icc_profile")
    turned = picture.getexif().get(ExifTags.Base.Orientation, 1) != 1
    upright = ImageOps.exif_transpose(picture) if turned else picture
    if upright.mode == "CMYK":
        return _cmyk_to_rgb(upright, profile), None
    small = _in_8_bits(upright)
    if small.mode in ("LA", "RGBA"):
        if small.getchannel("A").getextrema() == (255, 255):
            return small.convert(small.mode[:-1]), profile
        return _with_colour_under_transparency(small), profile
    return small, profile


def _in_8_bits(picture: Image.Image) -> Image.Image:
    mode = picture.mode
    if mode in ("L", "LA", "RGB", "RGBA") and "transparency" not in picture.info:
        return picture
    if mode.startswith("I;16") or mode == "I":  # 16 bits: Pillow opens some as 32-bit integers
        levels = np.asarray(picture, np.float32) / 257
        return Image.fromarray(levels.round().clip(0, 255).astype(np.uint8))
    if mode == "F":
        return Image.fromarray(np.asarray(picture).round().clip(0, 255).astype(np.uint8))
    if mode == "1":
        return picture.convert("L")
    if picture.has_transparency_data:
        return picture.convert("LA" if mode in ("L", "LA", "La") else "RGBA")
    return picture.convert("RGB")


def _cmyk_to_rgb(picture: Image.Image, profile: bytes | None) -> Image.Image:
    if profile is not None:
        try:
            converted = ImageCms.profileToProfile(
                picture,
                ImageCms.ImageCmsProfile(io.BytesIO(profile)),
                ImageCms.createProfile("sRGB"),
                outputMode="RGB",
            )
        except (ImageCms.PyCMSError, OSError):
            converted = None  # a damaged profile is no reason to refuse the picture
        if converted is not None:
            converted.info.pop("icc_profile", None)
            return converted
    return picture.convert("RGB")


def _with_colour_under_transparency(small: Image.Image) -> Image.Image:
    """Fill what cannot be seen with the colour beside it, or the edge of a cut-out would get a dark rim."""
    rgba = small.convert("RGBA")
    spread = rgba.convert("RGBa").filter(ImageFilter.GaussianBlur(6)).convert("RGBA").convert("RGB")
    alpha = rgba.getchannel("A")
    hidden = alpha.point(lambda level: 255 if level == 0 else 0)
    filled = rgba.convert("RGB")
    filled.paste(spread, mask=hidden)
    result = filled.convert("L") if small.mode == "LA" else filled
    result.putalpha(alpha)
    return result
