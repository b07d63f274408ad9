"""The upscaler: seams, odd sizes, transparency, colour profiles, cancel, memory, and files that lie."""

import io
import json
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms
from safetensors.torch import save_file

import ganworks
from ganworks import superresolution
from ganworks.networks.upscaler import UpscalerNetwork
from ganworks.superresolution import Upscaler, open_upscaler, save_upscaler, tiles_of


def a_network(blocks: int = 2) -> UpscalerNetwork:
    """A small network that does more than bicubic enlargement, as an untrained one would."""
    torch.manual_seed(0)
    network = UpscalerNetwork(channels=8, blocks=blocks)
    torch.nn.init.normal_(network.tail.weight, std=0.05)
    return network


@pytest.fixture
def upscaler() -> Upscaler:
    return Upscaler(a_network(), tile_px=16)


def noise(width: int, height: int, mode: str = "RGB") -> Image.Image:
    bands = len(Image.new(mode, (1, 1)).getbands())
    levels = np.random.default_rng(0).integers(0, 256, (height, width, bands), np.uint8)
    return Image.fromarray(levels.squeeze(-1) if bands == 1 else levels, mode)


def largest_difference(a: Image.Image, b: Image.Image) -> int:
    assert a.mode == b.mode
    assert a.size == b.size
    return int(np.abs(np.asarray(a, np.int16) - np.asarray(b, np.int16)).max())


# The network


def test_an_untrained_network_is_bicubic_enlargement() -> None:
    small = torch.rand(2, 3, 9, 7) * 2 - 1
    bicubic = torch.nn.functional.interpolate(small, scale_factor=4, mode="bicubic")
    torch.testing.assert_close(UpscalerNetwork(channels=4, blocks=1)(small), bicubic)


def test_a_pixel_is_seen_exactly_as_far_as_the_reach() -> None:
    network = a_network(blocks=1)
    small = torch.zeros(1, 3, 1, 41)
    changed = small.clone()
    changed[..., 20] = 1
    difference = (network(changed) - network(small)).abs().amax((0, 1, 2)).view(41, 4).amax(1)
    seen = difference.nonzero().flatten()
    assert (20 - int(seen.min()), int(seen.max()) - 20) == (network.reach, network.reach)


# Tiles


@pytest.mark.parametrize("size", [(1, 1), (16, 16), (17, 16), (40, 33), (5, 100)])
def test_tiles_cover_a_picture_exactly_once(size: tuple[int, int]) -> None:
    covered = np.zeros(size[::-1], int)
    for tile in tiles_of(*size, tile=16, overlap=3):
        covered[tile.y0 : tile.y1, tile.x0 : tile.x1] += 1
        assert 0 <= tile.left <= tile.x0 < tile.x1 <= tile.right <= size[0]
        assert 0 <= tile.top <= tile.y0 < tile.y1 <= tile.bottom <= size[1]
    assert (covered == 1).all()


@pytest.mark.parametrize(("height", "width"), [(53, 37), (16, 33), (1, 70), (7, 7), (1, 1)])
def test_tiles_leave_no_seam_at_any_size(upscaler: Upscaler, height: int, width: int) -> None:
    image = torch.rand(2, 3, height, width) * 2 - 1
    whole = Upscaler(a_network(), tile_px=1000)(image)
    tiled = upscaler(image)
    assert tiled.shape == (2, 3, 4 * height, 4 * width)
    assert float((tiled - whole).abs().max()) < 1e-5


def test_results_stay_in_range_and_have_no_gradient(upscaler: Upscaler) -> None:
    image = torch.where(torch.rand(1, 3, 20, 20) > 0.5, 1.0, -1.0)
    large = upscaler(image)
    assert large.dtype == torch.float32
    assert not large.requires_grad
    assert float(large.abs().max()) <= 1


def test_no_tile_is_larger_than_promised_however_large_the_picture(upscaler: Upscaler) -> None:
    sizes: list[tuple[int, ...]] = []
    hook = upscaler._network.register_forward_pre_hook(lambda _, args: sizes.append(tuple(args[0].shape)))
    upscaler.upscale_image(noise(90, 70))
    hook.remove()
    side = upscaler.tile_px + 2 * upscaler.overlap_px
    assert len(sizes) == 6 * 5
    assert max(max(size) for size in sizes) <= side


def test_a_tensor_of_another_shape_is_refused_with_a_sentence(upscaler: Upscaler) -> None:
    with pytest.raises(ganworks.InvalidInput, match=r"\[N, 3, H, W\]"):
        upscaler(torch.zeros(1, 1, 8, 8))
    with pytest.raises(ganworks.InvalidInput):
        upscaler(torch.zeros(1, 3, 0, 8))


def test_several_threads_share_one_upscaler(upscaler: Upscaler) -> None:
    images = [torch.rand(1, 3, 30, 30) * 2 - 1 for _ in range(4)]
    expected = [upscaler(image) for image in images]
    found: dict[int, torch.Tensor] = {}

    def work(i: int) -> None:
        found[i] = upscaler(images[i])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i in range(4):
        torch.testing.assert_close(found[i], expected[i])


# Progress and cancel


def test_each_tile_is_reported(upscaler: Upscaler) -> None:
    reports: list[tuple[int, int]] = []
    upscaler.upscale_image(noise(40, 20), on_tile=lambda done, total: reports.append((done, total)))
    assert reports == [(i, 6) for i in range(1, 7)]


def test_both_passes_of_a_transparent_picture_are_reported(upscaler: Upscaler) -> None:
    reports: list[tuple[int, int]] = []
    upscaler.upscale_image(noise(20, 16, "RGBA"), on_tile=lambda done, total: reports.append((done, total)))
    assert reports == [(i, 4) for i in range(1, 5)]


ENLARGE: dict[str, Callable[..., object]] = {
    "tensor": lambda upscaler, **calls: upscaler(torch.zeros(1, 3, 40, 40), **calls),
    "picture": lambda upscaler, **calls: upscaler.upscale_image(noise(40, 40), **calls),
    "png": lambda upscaler, **calls: upscaler.upscale_to_png(noise(40, 40), io.BytesIO(), **calls),
}


@pytest.mark.parametrize("kind", list(ENLARGE))
def test_enlarging_stops_between_tiles_when_asked(upscaler: Upscaler, kind: str) -> None:
    done: list[int] = []

    def stop() -> bool:
        return len(done) == 2

    def on_tile(count: int, total: int) -> None:
        done.append(count)

    with pytest.raises(ganworks.Stopped, match="stopped"):
        ENLARGE[kind](upscaler, on_tile=on_tile, should_stop=stop)
    assert done == [1, 2]


# Pictures


def test_a_picture_and_its_tensor_give_the_same(upscaler: Upscaler) -> None:
    picture = noise(33, 21)
    tensor = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None] / 127.5 - 1
    levels = ((upscaler(tensor)[0] + 1) * 127.5).round().to(torch.uint8).permute(1, 2, 0).numpy()
    assert largest_difference(upscaler.upscale_image(picture), Image.fromarray(levels)) == 0


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA"])
def test_the_mode_of_a_picture_is_kept(upscaler: Upscaler, mode: str) -> None:
    large = upscaler.upscale_image(noise(19, 5, mode))
    assert (large.mode, large.size) == (mode, (76, 20))


def test_a_picture_of_one_pixel_becomes_four_by_four(upscaler: Upscaler) -> None:
    assert upscaler.upscale_image(Image.new("RGB", (1, 1), "red")).size == (4, 4)


def test_transparency_is_enlarged_on_its_own_and_does_not_darken_the_edge() -> None:
    bicubic = Upscaler(UpscalerNetwork(channels=4, blocks=0))
    picture = Image.new("RGBA", (24, 24), (0, 0, 0, 0))
    picture.paste((250, 200, 100, 255), (8, 8, 16, 16))
    large = bicubic.upscale_image(picture)
    alpha = np.asarray(large.getchannel("A"))
    assert alpha[64 - 16, 64 - 16] == 255
    assert alpha[4, 4] == 0
    visible = np.asarray(large.convert("RGB"))[alpha > 40].astype(int)
    assert np.abs(visible - [250, 200, 100]).max() <= 8  # a dark rim would differ by 100 and more


def test_an_alpha_channel_that_hides_nothing_is_dropped(upscaler: Upscaler) -> None:
    picture = noise(9, 9)
    picture.putalpha(255)
    assert upscaler.upscale_image(picture).mode == "RGB"


def test_a_palette_becomes_colours_and_keeps_its_transparency(upscaler: Upscaler) -> None:
    picture = noise(12, 12).quantize(8)
    assert upscaler.upscale_image(picture).mode == "RGB"
    file = io.BytesIO()
    picture.save(file, "PNG", transparency=0)
    assert upscaler.upscale_image(Image.open(file)).mode == "RGBA"


def test_a_grey_picture_with_a_transparent_level_keeps_it(upscaler: Upscaler) -> None:
    file = io.BytesIO()
    noise(12, 12, "L").point(lambda level: level // 64 * 64).save(file, "PNG", transparency=0)
    assert upscaler.upscale_image(Image.open(file)).mode == "LA"


def test_sixteen_bits_become_eight_without_clipping() -> None:
    bicubic = Upscaler(UpscalerNetwork(channels=4, blocks=0))
    levels = np.full((8, 8), 0x8080, np.uint16)
    large = bicubic.upscale_image(Image.fromarray(levels))
    assert large.mode == "L"
    assert np.asarray(large).min() == np.asarray(large).max() == 0x80


def test_black_and_white_becomes_grey(upscaler: Upscaler) -> None:
    assert upscaler.upscale_image(noise(8, 8, "L").convert("1")).mode == "L"


def test_a_colour_profile_is_kept(upscaler: Upscaler) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    picture = noise(8, 8)
    picture.info["icc_profile"] = profile
    large = upscaler.upscale_image(picture)
    assert large.info["icc_profile"] == profile
    file = io.BytesIO()
    large.save(file, "PNG")
    assert Image.open(file).info["icc_profile"] == profile


def test_cmyk_becomes_rgb_and_a_profile_that_no_longer_fits_is_dropped(upscaler: Upscaler) -> None:
    picture = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    picture.info["icc_profile"] = b"not a profile"
    large = upscaler.upscale_image(picture)
    assert large.mode == "RGB"
    assert "icc_profile" not in large.info


def test_a_turned_photo_comes_out_upright(upscaler: Upscaler) -> None:
    picture = noise(10, 6)
    exif = picture.getexif()
    exif[0x0112] = 6
    file = io.BytesIO()
    picture.save(file, "PNG", exif=exif)
    large = upscaler.upscale_image(Image.open(file))
    assert large.size == (24, 40)
    assert 0x0112 not in large.getexif()


def test_the_picture_that_is_given_is_not_changed(upscaler: Upscaler) -> None:
    picture = noise(20, 20, "RGBA")
    before = picture.copy()
    upscaler.upscale_image(picture)
    assert largest_difference(picture, before) == 0


def test_a_picture_that_is_too_large_is_refused_with_its_size_and_the_limit(
    upscaler: Upscaler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(superresolution, "MAX_OUTPUT_PIXELS", 16 * 2_000_000)
    with pytest.raises(ganworks.InvalidInput, match=r"2000 x 1001 pixels.*at most 2 megapixels"):
        upscaler.upscale_image(Image.new("L", (2000, 1001)))


# Straight to a file


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA"])
def test_a_streamed_png_holds_the_same_picture(upscaler: Upscaler, mode: str) -> None:
    picture = noise(37, 41, mode)
    file = io.BytesIO()
    assert upscaler.upscale_to_png(picture, file) == (148, 164)
    found = Image.open(file)
    found.load()
    assert largest_difference(found, upscaler.upscale_image(picture)) == 0


def test_a_streamed_png_keeps_the_colour_profile(upscaler: Upscaler) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    picture = noise(8, 8)
    picture.info["icc_profile"] = profile
    file = io.BytesIO()
    upscaler.upscale_to_png(picture, file)
    assert Image.open(file).info["icc_profile"] == profile


def test_streaming_takes_what_does_not_fit_in_memory_up_to_its_own_limit(
    upscaler: Upscaler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(superresolution, "MAX_OUTPUT_PIXELS", 16 * 100)
    monkeypatch.setattr(superresolution, "MAX_STREAM_INPUT_PIXELS", 400)
    assert upscaler.upscale_to_png(noise(20, 20), io.BytesIO()) == (80, 80)
    with pytest.raises(ganworks.InvalidInput, match="too many to enlarge"):
        upscaler.upscale_to_png(noise(21, 20), io.BytesIO())


# Files


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "small-x4" / "upscaler.safetensors"
    save_upscaler(a_network(), path, label="Small", license="CC0-1.0", description="For tests.")
    return path


def test_a_saved_upscaler_opens_and_enlarges_the_same(file: Path) -> None:
    opened = open_upscaler(file)
    assert (opened.label, opened.license, opened.scale) == ("Small", "CC0-1.0", 4)
    assert len(opened.sha256) == 64
    assert file.stat().st_size < 2.5 * opened.num_parameters + 2000  # half precision, and a header
    image = torch.rand(1, 3, 9, 9) * 2 - 1
    torch.testing.assert_close(opened(image), Upscaler(a_network())(image), atol=4e-3, rtol=0)  # half a level


def test_an_upscaler_opens_from_its_folder(file: Path) -> None:
    assert open_upscaler(file.parent).label == "Small"


def test_an_unknown_name_is_not_found() -> None:
    with pytest.raises(ganworks.UpscalerNotFound, match="no-such-upscaler"):
        open_upscaler("no-such-upscaler")


def rewrite(file: Path, **changes: object) -> None:
    """Write the same tensors under a header that says something else."""
    meta = {
        "schema": 1,
        "kind": "upscaler",
        "architecture": "residual-subpixel",
        "label": "Small",
        "scale": 4,
        "channels": 8,
        "blocks": 2,
        **changes,
    }
    tensors = {name: value.contiguous() for name, value in a_network().state_dict().items()}
    save_file(tensors, file, metadata={"ganworks": json.dumps(meta)})


@pytest.mark.parametrize(
    ("lie", "sentence"),
    [
        ({"kind": "generator"}, "a generator"),
        ({"architecture": "esrgan"}, "architecture 'esrgan' is not known"),
        ({"channels": 16}, "has the shape"),
        ({"blocks": 3}, "lacks 5 tensors"),
        ({"blocks": 1}, "unknown tensors"),
        ({"channels": 10**9}, "'channels' as a whole number"),
        ({"blocks": "many"}, "'blocks' as a whole number"),
        ({"scale": 1}, "'scale' as a whole number"),
        ({"scale": 2}, "has the shape"),
    ],
)
def test_a_file_that_lies_about_itself_is_refused(file: Path, lie: dict[str, object], sentence: str) -> None:
    rewrite(file, **lie)
    with pytest.raises(ganworks.CheckpointError, match=sentence):
        open_upscaler(file)


def test_a_file_that_was_cut_short_is_refused(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ganworks.CheckpointError, match="cannot be used"):
        open_upscaler(file)


def test_numbers_that_are_not_finite_are_refused(file: Path) -> None:
    network = a_network()
    torch.nn.init.constant_(network.head.weight, float("nan"))
    save_upscaler(network, file, label="Broken", license="")
    with pytest.raises(ganworks.CheckpointError, match="not finite"):
        open_upscaler(file)
