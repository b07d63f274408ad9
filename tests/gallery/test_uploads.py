"""What strangers send: which files are taken, how they are stored, and what is said about the others."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow
from PIL import ImageCms, PngImagePlugin

from gallery.errors import TooLarge, UploadRefused
from gallery.files import Encoded, thumbnail, to_srgb
from gallery.uploads import Limits, read_upload
from tests.gallery.conftest import as_bytes, scene

LIMITS = Limits(max_bytes=2_000_000, max_pixels=1_000_000)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def read(data: bytes, limits: Limits = LIMITS) -> tuple[Encoded, Pillow.Image]:
    return read_upload(io.BytesIO(data), limits)


def stored(data: bytes) -> Pillow.Image:
    """What a browser will get."""
    opened = Pillow.open(io.BytesIO(read(data)[0].data))
    opened.load()
    return opened


def refusal(data: bytes, limits: Limits = LIMITS) -> str:
    with pytest.raises(UploadRefused) as caught:
        read(data, limits)
    text = str(caught.value)
    assert text[0].isupper()
    assert text.endswith((".", ".)"))
    return text


def distance(one: Pillow.Image, other: Pillow.Image) -> float:
    difference = np.asarray(one.convert("RGB"), dtype=float) - np.asarray(other.convert("RGB"), dtype=float)
    return float(np.abs(difference).mean())


# --- What is taken --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "kept"),
    [("JPEG", "JPEG"), ("PNG", "PNG"), ("WEBP", "WEBP"), ("AVIF", "WEBP"), ("GIF", "PNG")],
)
def test_each_format_is_taken_and_looks_the_same(sent: str, kept: str) -> None:
    picture = scene(80, 48)
    result = stored(as_bytes(picture, sent, **({"quality": 95} if sent != "PNG" and sent != "GIF" else {})))
    assert (result.format, result.size, result.mode) == (kept, (80, 48), "RGB")
    assert distance(result, picture) < 6


def test_a_lossless_webp_stays_lossless() -> None:
    result = stored(as_bytes(scene(), "WEBP", lossless=True))
    assert result.format == "PNG"
    assert distance(result, scene()) == 0


def test_the_name_and_declared_type_do_not_matter_but_the_bytes_do() -> None:
    assert stored(as_bytes(scene(), "PNG")).format == "PNG"


def test_a_photo_of_a_phone_with_several_pictures_in_it_is_a_jpeg() -> None:
    data = as_bytes(scene(), "MPO", save_all=True, append_images=[scene(seed=1)])
    assert stored(data).format == "JPEG"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_and_forgotten(orientation: int) -> None:
    picture = Pillow.new("RGB", (64, 32), "blue")
    picture.paste("red", (0, 0, 32, 32))
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    result = stored(as_bytes(picture, "JPEG", quality=95, exif=exif))
    assert result.size == ((64, 32) if orientation < 5 else (32, 64))
    assert 0x0112 not in result.getexif()
    red = {1: (5, 5), 2: (60, 5), 3: (60, 5), 4: (5, 5), 5: (5, 5), 6: (5, 5), 7: (5, 60), 8: (5, 60)}[
        orientation
    ]
    pixel = result.getpixel(red)
    assert isinstance(pixel, tuple)
    assert pixel[0] > 200
    assert pixel[2] < 60


def test_all_metadata_is_dropped_but_the_colour_profile() -> None:
    exif = Pillow.Exif()
    exif[0x010F] = "SecretCamera"
    exif.get_ifd(0x8825)[1] = "N"
    data = as_bytes(
        scene(), "JPEG", exif=exif, comment=b"SecretComment", icc_profile=SRGB, xmp=b"<x>SecretXmp</x>"
    )
    encoded, _ = read(data)
    assert b"Secret" in data
    assert b"Secret" not in encoded.data
    result = Pillow.open(io.BytesIO(encoded.data))
    assert result.info["icc_profile"] == SRGB
    assert not dict(result.getexif())


def test_text_in_a_png_is_dropped() -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "Secret")
    text.add_itxt("pixellift-recipe", "{}")
    encoded, _ = read(as_bytes(scene(), "PNG", pnginfo=text, dpi=(300, 300)))
    assert b"Secret" not in encoded.data
    assert b"iTXt" not in encoded.data
    assert b"pHYs" not in encoded.data


def test_alpha_is_kept_where_something_is_transparent() -> None:
    picture = scene(mode="RGBA")
    picture.putpixel((3, 3), (0, 0, 0, 0))
    assert stored(as_bytes(picture)).mode == "RGBA"


def test_alpha_that_says_nothing_is_dropped() -> None:
    assert stored(as_bytes(scene(mode="RGBA"))).mode == "RGB"


def test_a_transparent_gif_keeps_its_hole_and_only_its_first_frame() -> None:
    first = Pillow.new("RGBA", (32, 32), (255, 0, 0, 255))
    first.paste((0, 0, 0, 0), (0, 0, 16, 16))
    data = as_bytes(
        first, "GIF", save_all=True, append_images=[Pillow.new("RGBA", (32, 32), "blue")], disposal=2
    )
    result = stored(data)
    assert result.mode == "RGBA"
    assert not getattr(result, "is_animated", False)
    assert result.getchannel("A").getpixel((2, 2)) == 0
    assert result.getpixel((30, 30)) == (255, 0, 0, 255)


@pytest.mark.parametrize("kind", ["WEBP", "PNG", "AVIF"])
def test_of_an_animation_the_first_frame_is_kept(kind: str) -> None:
    frames = [scene(seed=index) for index in range(1, 4)]
    result = stored(as_bytes(scene(), kind, save_all=True, append_images=frames))
    assert getattr(result, "n_frames", 1) == 1
    assert distance(result, scene()) < 8


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA"])
def test_grey_palette_and_bitmap_become_colour(mode: str) -> None:
    picture = scene().convert("L").convert("P") if mode == "PA" else scene().convert(mode)
    if mode == "PA":
        picture.info["transparency"] = 0
    assert stored(as_bytes(picture)).mode in ("RGB", "RGBA")


def test_sixteen_bits_become_eight_without_losing_the_range() -> None:
    ramp = np.linspace(0, 65_535, 64 * 64).reshape(64, 64).astype(np.uint16)
    result = np.asarray(stored(as_bytes(Pillow.fromarray(ramp))).convert("L"))
    assert result.min() == 0
    assert result.max() == 255
    assert np.abs(result.astype(float) - ramp / 257).max() <= 1


def test_cmyk_becomes_rgb_that_looks_alike() -> None:
    result = stored(as_bytes(scene().convert("CMYK"), "JPEG", quality=95))
    assert (result.format, result.mode) == ("JPEG", "RGB")
    assert distance(result, scene()) < 12


def test_a_grey_profile_is_used_and_not_kept() -> None:
    assert "icc_profile" not in stored(as_bytes(scene(mode="L"), "PNG", icc_profile=SRGB)).info


@pytest.mark.parametrize("profile", [b"nonsense", SRGB[:100], b"\0" * 2_000_000, SRGB + b"\0" * 1_500_000])
def test_a_profile_that_is_damaged_or_huge_is_dropped_and_the_picture_kept(profile: bytes) -> None:
    encoded, picture = read(as_bytes(scene(), "JPEG", icc_profile=profile), Limits(4_000_000, 1_000_000))
    assert "icc_profile" not in Pillow.open(io.BytesIO(encoded.data)).info
    assert distance(picture, scene()) < 6


def test_broken_exif_does_not_spoil_a_good_picture() -> None:
    assert stored(as_bytes(scene(), "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xff" + b"\xff" * 50)).size == (
        64,
        64,
    )


def test_what_lies_behind_the_picture_is_gone() -> None:
    encoded, _ = read(as_bytes(scene(), "JPEG") + b"<script>alert(1)</script>")
    assert b"script" not in encoded.data


def test_thumbnails_are_small_webp_in_srgb() -> None:
    small = Pillow.open(io.BytesIO(thumbnail(scene(1200, 600))))
    assert (small.format, small.size) == ("WEBP", (480, 240))


@pytest.mark.parametrize(
    ("size", "shown"), [((4000, 1000), (960, 480)), ((3000, 16), (32, 16)), ((100, 900), (100, 200))]
)
def test_the_thumbnail_of_a_strip_shows_its_middle(size: tuple[int, int], shown: tuple[int, int]) -> None:
    strip = Pillow.new("RGB", size, "white")
    middle = (size[0] // 2, size[1] // 2)
    strip.paste("red", (middle[0] - 4, middle[1] - 4, middle[0] + 4, middle[1] + 4))
    small = Pillow.open(io.BytesIO(thumbnail(strip))).convert("RGB")
    assert small.size == shown
    red, green, _ = small.getpixel((shown[0] // 2, shown[1] // 2))  # type: ignore[misc]  # RGB gives three
    assert red > 200
    assert green < 120


def test_to_srgb_goes_through_the_profile() -> None:
    lab = ImageCms.createProfile("sRGB")
    picture = scene()
    picture.info["icc_profile"] = ImageCms.ImageCmsProfile(lab).tobytes()
    result = to_srgb(picture)
    assert "icc_profile" not in result.info
    assert distance(result, scene()) < 2


# --- What is refused, and in which words ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (b"hello", "not a picture"),
        (b"<html><script>", "not a picture"),
        (b"<svg xmlns='x'>", "SVG"),
        (b"<?xml version='1.0'?><svg/>", "SVG"),
        (b"%PDF-1.7", "PDF"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x18ftypisom\0\0\0\0isom", "video"),
        (b"BM" + b"\0" * 60, "BMP"),
        (b"II*\0" + b"\0" * 60, "TIFF"),
        (b"PK\3\4" + b"\0" * 60, "archive"),
        (b"RIFF\0\0\0\0WAVEfmt ", "sound"),
        (b"\x89PNG\r\n\x1a\n<html><body><script>alert(1)</script>", "damaged"),
        (b"\xff\xd8\xff\xe0<html>", "damaged"),
        (b"GIF89a<html>", "damaged"),
        (b"RIFF\x10\0\0\0WEBPVP8 ", "damaged"),
        (b"\0\0\0\x1cftypavif" + b"\0" * 40, "damaged"),
    ],
)
def test_what_is_no_picture_is_named(data: bytes, words: str) -> None:
    assert words in refusal(data)


@pytest.mark.parametrize("kind", ["BMP", "TIFF", "ICO", "PPM", "TGA", "JPEG2000"])
def test_formats_that_pillow_knows_but_browsers_do_not_are_refused(kind: str) -> None:
    assert refusal(as_bytes(scene(), kind))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "GIF"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.7])
def test_files_that_end_too_early_are_refused(kind: str, share: float) -> None:
    data = as_bytes(scene(200, 200), kind)
    assert refusal(data[: max(4, int(len(data) * share))])


def test_too_many_bytes_are_refused() -> None:
    with pytest.raises(TooLarge, match=r"larger than 1 MB"):
        read(as_bytes(scene()) + b"\0" * 1_048_577, Limits(1_048_576, 1_000_000))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF"])
def test_too_many_pixels_are_refused_by_the_header(kind: str) -> None:
    data = as_bytes(Pillow.new("L", (1100, 1000)), kind)
    with pytest.raises(TooLarge, match="megapixels"):
        read(data[: len(data) // 2], LIMITS)  # half a file: nothing of it was decoded


def test_a_png_that_promises_more_than_it_holds_is_never_decoded() -> None:
    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 6, 0, 0, 0)
    chunk = b"IHDR" + header
    bomb = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    body = b"IDAT" + zlib.compress(b"\0" * 1_000_000)
    bomb += struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    assert "megapixels" in refusal(bomb) or "pixels" in refusal(bomb)


def test_an_animated_webp_with_a_giant_canvas_is_refused_before_it_is_opened() -> None:
    canvas = (16_000).to_bytes(3, "little")
    body = (
        b"VP8X"
        + struct.pack("<I", 10)
        + b"\x02\0\0\0"
        + canvas
        + canvas
        + b"ANIM"
        + struct.pack("<I", 6)
        + b"\0" * 6
    )
    assert "megapixels" in refusal(b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body)


def test_a_thread_of_pixels_is_refused() -> None:
    assert "on a side" in refusal(as_bytes(Pillow.new("L", (31_000, 20)), "PNG"))


@pytest.mark.parametrize("size", [(1, 1), (15, 200), (200, 15)])
def test_tiny_pictures_are_refused(size: tuple[int, int]) -> None:
    assert "at least 16" in refusal(as_bytes(scene(*size)))


SEEDS = [as_bytes(scene(40, 40), kind) for kind in ("JPEG", "PNG", "WEBP", "AVIF", "GIF")]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(SEEDS),
    st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), max_size=12),
    st.integers(0, 4000),
)
def test_whatever_is_wrong_with_a_file_it_is_taken_or_refused_and_nothing_else(
    seed: bytes, changes: list[tuple[int, int]], cut: int
) -> None:
    data = bytearray(seed)
    for place, value in changes:
        data[place % len(data)] = value
    if cut < len(data) // 2:
        del data[len(data) - cut :]
    with contextlib.suppress(UploadRefused):
        encoded, picture = read(bytes(data))
        assert Pillow.open(io.BytesIO(encoded.data)).size == picture.size
        assert picture.mode in ("RGB", "RGBA")


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300))
def test_noise_is_always_refused(data: bytes) -> None:
    with pytest.raises(UploadRefused):
        read(data)
