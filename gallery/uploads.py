"""From the bytes of a stranger to a picture that is safe to store and show. Pillow only: no rows, no requests.

The order matters. The first bytes say which format it is; then the header, in which nothing is decoded yet, says how
large the picture is; only then are pixels decoded, and they are always encoded anew. What arrives besides pixels (EXIF
with the place where the photo was taken, scripts behind the picture, further frames) is gone afterwards.
"""

from __future__ import annotations

import contextlib
import io
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
from PIL import Image as Pillow
from PIL import ImageCms

from gallery.errors import TooLarge, UploadRefused
from gallery.files import MIME_TYPES, Encoded

FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "GIF")
MINIMUM_SIDE_PX = 16
MAXIMUM_SIDE_PX = 30_000
WEBP_MAXIMUM_SIDE_PX = 16_383
ICC_PROFILE_LIMIT_BYTES = 1_048_576
JPEG_QUALITY = WEBP_QUALITY = 95
TAKEN = "JPEG, PNG, WebP, AVIF or GIF"

# A picture of 50 megapixels takes 200 MB while it is decoded: only so many at a time in one process.
_decoding = threading.BoundedSemaphore(2)

_TURNS = {
    2: Pillow.Transpose.FLIP_LEFT_RIGHT,
    3: Pillow.Transpose.ROTATE_180,
    4: Pillow.Transpose.FLIP_TOP_BOTTOM,
    5: Pillow.Transpose.TRANSPOSE,
    6: Pillow.Transpose.ROTATE_270,
    7: Pillow.Transpose.TRANSVERSE,
    8: Pillow.Transpose.ROTATE_90,
}
_ORIENTATION_TAG = 0x0112
# What else people try to upload, so that the refusal can name it.
_OTHERS: tuple[tuple[int, bytes, str], ...] = (
    (0, b"%PDF", "a PDF document"),
    (0, b"BM", "a BMP picture"),
    (0, b"II*\0", "a TIFF or camera raw picture"),
    (0, b"MM\0*", "a TIFF or camera raw picture"),
    (0, b"8BPS", "a Photoshop document"),
    (0, b"\0\0\1\0", "an icon"),
    (0, b"\xff\x0a", "a JPEG XL picture"),
    (4, b"JXL ", "a JPEG XL picture"),
    (4, b"jP  ", "a JPEG 2000 picture"),
    (0, b"PK\3\4", "an archive or document"),
    (0, b"\x1aE\xdf\xa3", "a video"),
    (0, b"RIFF", "a sound or video"),
    (4, b"ftyp", "a video"),
)
_HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")


@dataclass(frozen=True)
class Limits:
    max_bytes: int
    max_pixels: int


def read_upload(stream: IO[bytes], limits: Limits) -> tuple[Encoded, Pillow.Image]:
    """The picture encoded anew, and decoded: upright, RGB or RGBA, 8 bits, with `info["icc_profile"]` or nothing.

    Raises `UploadRefused` (and `TooLarge`) with a sentence that says why.
    """
    data = _read(stream, limits.max_bytes)
    _check_format(data[:32])
    with _decoding, _sentences():
        with _open(data, limits) as opened:
            picture = _decode(opened)
            lossless = _is_lossless(opened.format, data)
        return encode(picture, opened.format or "", lossless=lossless), picture


def too_many_bytes(limit: int) -> TooLarge:
    return TooLarge(f"This file is larger than {_mebibytes(limit)} MB. Choose a smaller one.")


def encode(picture: Pillow.Image, source: str, *, lossless: bool) -> Encoded:
    """In the format that fits: JPEG for what came as JPEG, PNG for what was lossless, WebP for the rest."""
    target = _target_format(picture, source, lossless)
    options: dict[str, Any] = {
        "JPEG": {"quality": JPEG_QUALITY, "subsampling": "4:4:4", "exif": b"", "comment": b""},
        "WEBP": {"quality": WEBP_QUALITY, "method": 4, "exact": False, "exif": b"", "xmp": b""},
        "PNG": {"compress_level": 4, "exif": b""},
    }[target]
    out = io.BytesIO()
    picture.save(out, target, icc_profile=picture.info.get("icc_profile"), **options)
    return Encoded(out.getvalue(), MIME_TYPES[target], *picture.size)


def _target_format(picture: Pillow.Image, source: str, lossless: bool) -> str:
    if source in ("JPEG", "MPO"):
        return "JPEG"
    if lossless:
        return "PNG"
    if max(picture.size) <= WEBP_MAXIMUM_SIDE_PX:
        return "WEBP"
    return "PNG" if picture.mode == "RGBA" else "JPEG"


def _is_lossless(source: str | None, data: bytes) -> bool:
    return source in ("PNG", "GIF") or (source == "WEBP" and b"VP8L" in data[12:128])


# --- Bytes and header ----------------------------------------------------------------------------------------------


def _read(stream: IO[bytes], limit: int) -> bytes:
    data = stream.read(limit + 1)
    if len(data) > limit:
        raise too_many_bytes(limit)
    if not data:
        raise UploadRefused("This file is empty. Choose another one.")
    return data


def _check_format(head: bytes) -> None:
    if _is_known(head):
        return
    if head[4:8] == b"ftyp" and head[8:12] in _HEIC_BRANDS:
        raise UploadRefused(
            f"This is a HEIC photo, which browsers cannot show. Export it as JPEG, and upload that. "
            f"(On an iPhone: Settings, Camera, Formats, Most Compatible. {TAKEN} can be uploaded.)"
        )
    for offset, magic, what in _OTHERS:
        if head.startswith(magic, offset):
            raise UploadRefused(f"This is {what}. Upload a picture as {TAKEN}.")
    if head.lstrip()[:5].lower() in (b"<svg ", b"<?xml"):
        raise UploadRefused(
            f"This is an SVG drawing. Export it as PNG, and upload that ({TAKEN} can be uploaded)."
        )
    raise UploadRefused(f"This is not a picture that we can read. Upload it as {TAKEN}.")


def _is_known(head: bytes) -> bool:
    return (
        head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a"))
        or (head.startswith(b"RIFF") and head[8:12] == b"WEBP")
        or (
            head[4:8] == b"ftyp" and b"avi" in head[8:32]
        )  # major brand avif or avis, or one of the compatible ones
    )


def _open(data: bytes, limits: Limits) -> Pillow.Image:
    _check_webp_canvas(data, limits)
    opened = Pillow.open(io.BytesIO(data), formats=FORMATS)
    _check_size(*opened.size, limits)
    return opened


def _check_webp_canvas(data: bytes, limits: Limits) -> None:
    """Pillow allocates the canvas of a WebP file when it opens it: ask the header first (RFC 9649, section 2)."""
    if data[:4] != b"RIFF" or len(data) < 30:
        return
    if data[12:16] == b"VP8X":
        _check_size(_little(data, 24, 3) + 1, _little(data, 27, 3) + 1, limits)
    elif data[12:16] == b"VP8L":
        bits = _little(data, 21, 4)
        _check_size((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, limits)
    elif data[12:16] == b"VP8 ":
        _check_size(_little(data, 26, 2) & 0x3FFF, _little(data, 28, 2) & 0x3FFF, limits)


def _little(data: bytes, start: int, count: int) -> int:
    return int.from_bytes(data[start : start + count], "little")


def _check_size(width: int, height: int, limits: Limits) -> None:
    if width * height > limits.max_pixels:
        raise TooLarge(
            f"This picture has {_megapixels(width * height)} megapixels ({width} x {height}). "
            f"At most {_megapixels(limits.max_pixels)} are taken: make it smaller first."
        )
    if max(width, height) > MAXIMUM_SIDE_PX:
        raise TooLarge(
            f"This picture is {width} x {height} pixels. "
            f"At most {MAXIMUM_SIDE_PX} on a side are taken: crop it or make it smaller first."
        )
    if min(width, height) < MINIMUM_SIDE_PX:
        raise UploadRefused(
            f"This picture is only {width} x {height} pixels. It needs at least {MINIMUM_SIDE_PX} on each side."
        )


def _megapixels(pixels: int) -> str:
    return f"{pixels / 1e6:.0f}" if pixels >= 10_000_000 else f"{pixels / 1e6:.1f}".removesuffix(".0")


def _mebibytes(size: int) -> str:
    return f"{size / 1_048_576:.1f}".removesuffix(".0")


@contextlib.contextmanager
def _sentences() -> Iterator[None]:
    """Whatever a decoder raises at a hostile or damaged file becomes a refusal. Pillow has no common root for it."""
    try:
        yield
    except UploadRefused:
        raise
    except Pillow.DecompressionBombError as error:
        raise TooLarge("This picture has too many pixels to be read. Make it smaller first.") from error
    except MemoryError as error:
        raise TooLarge("This picture is too large to be read. Make it smaller first.") from error
    except Exception as error:
        raise UploadRefused(
            "This file is damaged or ends too early: the picture in it cannot be read. "
            "Open it in a photo program, save it anew, and upload that."
        ) from error


# --- Pixels --------------------------------------------------------------------------------------------------------


def _decode(opened: Pillow.Image) -> Pillow.Image:
    """The first frame as RGB or RGBA of 8 bits, upright, with the colour profile and nothing else in `info`."""
    turn = _TURNS.get(_orientation(opened))
    opened.load()
    profile = opened.info.get("icc_profile")
    picture, profile = _to_rgb(opened, profile if isinstance(profile, bytes) else None)
    picture = _without_idle_alpha(picture)
    if turn is not None:
        picture = picture.transpose(turn)
    picture.info = {"icc_profile": profile} if profile else {}
    return picture


def _orientation(opened: Pillow.Image) -> int:
    try:
        return int(opened.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # EXIF of a stranger: whatever is wrong in it, the picture may still be good
        return 1


def _to_rgb(picture: Pillow.Image, profile: bytes | None) -> tuple[Pillow.Image, bytes | None]:
    """RGB or RGBA, and the profile that still holds for it. Grey and CMYK go through their profile to sRGB."""
    space = _colour_space(profile)
    if picture.mode in ("RGB", "RGBA", "RGBX", "RGBa", "P", "PA"):
        mode = "RGBA" if picture.has_transparency_data else "RGB"
        converted = picture if picture.mode == mode else picture.convert(mode)
        return converted, profile if space == "RGB" else None
    if picture.mode.startswith("I"):
        picture = _eight_bits(picture)
    if picture.mode == "CMYK":
        return _through_profile(picture, profile if space == "CMYK" else None), None
    if picture.mode == "L" and space == "GRAY" and not picture.has_transparency_data:
        return _through_profile(picture, profile), None
    return picture.convert("RGBA" if picture.has_transparency_data else "RGB"), None


def _colour_space(profile: bytes | None) -> str:
    """RGB, CMYK or GRAY; empty when there is no profile that can be read and is of a sensible size."""
    # Those of CMYK printers are larger, but they are used and not kept.
    if not profile or len(profile) > 4 * ICC_PROFILE_LIMIT_BYTES:
        return ""
    try:
        space = str(ImageCms.ImageCmsProfile(io.BytesIO(profile)).profile.xcolor_space).strip()
    except (OSError, ValueError, TypeError, ImageCms.PyCMSError):
        return ""
    return "" if space == "RGB" and len(profile) > ICC_PROFILE_LIMIT_BYTES else space


def _through_profile(picture: Pillow.Image, profile: bytes | None) -> Pillow.Image:
    if profile:
        with contextlib.suppress(OSError, ValueError, TypeError, ImageCms.PyCMSError):
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(
                picture, source, ImageCms.createProfile("sRGB"), outputMode="RGB"
            )
            if converted is not None:
                return converted
    return picture.convert("RGB")


def _eight_bits(picture: Pillow.Image) -> Pillow.Image:
    """16-bit grey (0..65535) to 8 bits, rounded; its transparent grey becomes alpha."""
    grey = np.clip(np.asarray(picture).astype(np.int64), 0, 65_535)
    eight = Pillow.fromarray(((grey * 255 + 32_767) // 65_535).astype(np.uint8))
    hole = picture.info.get("transparency")
    if isinstance(hole, int):
        eight.putalpha(Pillow.fromarray(np.where(grey == hole, 0, 255).astype(np.uint8)))
    return eight


def _without_idle_alpha(picture: Pillow.Image) -> Pillow.Image:
    """An alpha channel in which everything is opaque says nothing."""
    if picture.mode == "RGBA" and picture.getchannel("A").getextrema() == (255, 255):
        return picture.convert("RGB")
    return picture
