"""What is found out about networks of other people, and that tiles of theirs show no seams."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

import ganworks
from ganworks import superresolution
from ganworks.importing.refusal import Refused
from ganworks.superresolution import Upscaler
from ganworks.upscalers.network import ForeignNetwork, findings_about, recognise, stored
from ganworks.upscalers.vision import spandrel

from .support import NETWORKS, SCALES, esrgan, of_grey_pictures, state, swinir, with_a_view_of_the_whole


def opened(network: torch.nn.Module) -> ForeignNetwork:
    descriptor = recognise(stored(state(network)))
    return ForeignNetwork(descriptor, findings_about(descriptor))


def an_upscaler(network: torch.nn.Module, tile_px: int = 32) -> Upscaler:
    foreign = opened(network)
    return Upscaler(foreign, tile_px=tile_px, precision=torch.float32, whole=foreign.findings.whole)


def a_photo(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """Soft colours with grain."""
    chance = np.random.default_rng(0)
    bands = len(Image.new(mode, (1, 1)).getbands())
    coarse = chance.integers(0, 256, (5, 5, bands), np.uint8).squeeze()
    soft = np.asarray(
        Image.fromarray(coarse, mode).resize((width, height), Image.Resampling.BICUBIC), np.int16
    )
    return Image.fromarray((soft + chance.integers(-12, 12, soft.shape)).clip(0, 255).astype(np.uint8), mode)


@pytest.mark.parametrize("name", list(NETWORKS))
def test_the_kind_and_the_scale_of_a_network_are_found_out(name: str) -> None:
    findings = opened(NETWORKS[name]()).findings
    assert (findings.architecture, findings.scale, findings.purpose) == (name, SCALES[name], "SR")
    assert not findings.whole
    assert findings.overlap_px % findings.align_px == 0
    assert findings.parameters == sum(p.numel() for p in NETWORKS[name]().parameters())


@pytest.mark.parametrize("name", list(NETWORKS))
@pytest.mark.parametrize("size", [(75, 101), (33, 64), (9, 40), (1, 1)])
def test_tiles_and_the_whole_differ_by_no_visible_level_at_any_size(name: str, size: tuple[int, int]) -> None:
    picture = a_photo(*size)
    tiled = np.asarray(an_upscaler(NETWORKS[name]()).upscale_image(picture), np.int16)
    whole = np.asarray(an_upscaler(NETWORKS[name](), tile_px=1024).upscale_image(picture), np.int16)
    assert tiled.shape == (size[1] * SCALES[name], size[0] * SCALES[name], 3)
    assert np.abs(tiled - whole).max() <= 1


def test_what_is_drawn_is_what_the_network_itself_draws() -> None:
    network = esrgan()
    image = torch.rand(1, 3, 40, 56) * 2 - 1
    expected = network((image + 1) / 2).clamp(0, 1) * 2 - 1
    torch.testing.assert_close(an_upscaler(network, tile_px=1024)(image), expected, atol=1e-4, rtol=0)


def test_windows_of_attention_lie_at_the_same_places_in_every_tile() -> None:
    network = opened(swinir())
    assert network.findings.align_px == 8
    assert network.tile_px % 8 == network.reach % 8 == 0


def test_a_network_that_only_restores_keeps_the_size() -> None:
    upscaler = an_upscaler(esrgan(scale=1))
    assert upscaler.scale == 1
    assert upscaler.upscale_image(a_photo(40, 33)).size == (40, 33)


def test_a_network_with_a_view_of_the_whole_takes_small_pictures_as_a_whole_and_refuses_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    upscaler = an_upscaler(with_a_view_of_the_whole())
    assert upscaler.whole
    picture = a_photo(70, 50)
    reports: list[tuple[int, int]] = []
    large = upscaler.upscale_image(picture, on_tile=lambda done, total: reports.append((done, total)))
    assert reports == [(1, 1)]
    file = io.BytesIO()
    assert upscaler.upscale_to_png(picture, file) == (140, 100)
    assert np.array_equal(np.asarray(Image.open(file)), np.asarray(large))
    monkeypatch.setattr(superresolution, "MAX_WHOLE_OUTPUT_PIXELS", 4 * 1000)
    with pytest.raises(
        ganworks.InvalidInput, match=r"cannot work in parts. Choose one with at most 0.001 mega"
    ):
        upscaler.upscale_image(picture)
    with pytest.raises(ganworks.InvalidInput, match="cannot work in parts"):
        upscaler(torch.zeros(1, 3, 50, 70))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "L"])
def test_transparency_and_grey_are_kept_as_with_our_own(mode: str) -> None:
    large = an_upscaler(esrgan()).upscale_image(a_photo(20, 17, mode))
    assert (large.mode, large.size) == (mode, (80, 68))


def test_enlarging_stops_between_tiles_when_asked() -> None:
    done: list[int] = []
    with pytest.raises(ganworks.Stopped):
        an_upscaler(esrgan()).upscale_image(
            a_photo(100, 40),
            on_tile=lambda count, total: done.append(count),
            should_stop=lambda: len(done) == 2,
        )
    assert done == [1, 2]


def test_no_window_is_larger_than_promised_however_large_the_picture() -> None:
    foreign = opened(swinir())
    sizes: list[int] = []
    foreign.model.register_forward_pre_hook(lambda _, args: sizes.append(max(args[0].shape[2:])))
    upscaler = Upscaler(foreign, tile_px=foreign.tile_px, precision=torch.float32)
    upscaler.upscale_image(a_photo(300, 170))
    assert max(sizes) <= foreign.tile_px + 2 * foreign.reach


# What is no upscaler


def test_a_network_for_grey_pictures_is_refused() -> None:
    with pytest.raises(Refused, match="no three colours"):
        recognise(stored(state(of_grey_pictures())))


def test_a_network_that_fills_holes_is_refused() -> None:
    spandrel()
    from spandrel.architectures.LaMa import LaMa

    with pytest.raises(Refused, match=r"another purpose \(LaMa, Inpainting\)"):
        recognise(stored(state(LaMa())))


def test_tensors_that_no_network_has_are_refused() -> None:
    with pytest.raises(Refused, match="no network that is known"):
        recognise({"a.weight": torch.zeros(3, 3)})


def test_a_network_that_lacks_a_tensor_is_refused() -> None:
    tensors = stored(state(esrgan()))
    tensors.pop(sorted(tensors)[5])
    with pytest.raises(Refused):
        recognise(tensors)


def test_numbers_that_are_not_finite_are_refused() -> None:
    tensors = state(esrgan())
    next(iter(tensors.values())).fill_(float("nan"))
    with pytest.raises(Refused, match="not finite"):
        stored(tensors)


def test_an_index_that_leads_out_of_its_table_is_refused() -> None:
    tensors = stored(state(swinir()))
    for name in tensors:
        if name.endswith("relative_position_index"):
            tensors[name].fill_(10_000)
    with pytest.raises(Refused, match="does not work"):
        findings_about(recognise(tensors))
