"""Generators of all architectures, from a file to a picture: each must open, draw, and refuse what it cannot do."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import ganworks
from ganworks import checkpoint
from ganworks.generator import Generator, open_generator, save_generator
from ganworks.networks import alis, stylegan2, stylegan3

from .conftest import small_network
from .test_checkpoint import change_meta

SIDE_PX = 32
PLAN = stylegan3.standard_description(SIDE_PX, channel_base=256, channel_max=8)


def network_of(architecture: str, c_dim: int = 0) -> torch.nn.Module:
    """A generator of 32 px with random weights."""
    torch.manual_seed(0)
    if architecture == "stylegan3":
        return stylegan3.Generator(z_dim=16, w_dim=24, plan=PLAN, c_dim=c_dim)
    if architecture == "alis":
        return alis.Generator(16, 24, SIDE_PX, c_dim=c_dim, channel_base=256, channel_max=16)
    return small_network(c_dim=c_dim)


ARCHITECTURES = ("stylegan2", "stylegan3", "alis")


@pytest.fixture(params=ARCHITECTURES)
def any_generator(request: pytest.FixtureRequest, tmp_path: Path) -> Generator:
    save_generator(network_of(request.param), tmp_path / "any" / "generator.safetensors", label="Any")
    return open_generator(tmp_path / "any")


def saved(tmp_path: Path, architecture: str, **meta: Any) -> Generator:
    c_dim = len(meta.get("classes", ()))
    save_generator(network_of(architecture, c_dim), tmp_path / "g.safetensors", **meta)
    return open_generator(tmp_path / "g.safetensors")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_saved_generator_draws_what_its_network_draws(tmp_path: Path, architecture: str) -> None:
    network = network_of(architecture)
    generator = saved(tmp_path, architecture)
    ws = generator.mapping(generator.latents([1, 2, 3]))
    assert ws.shape == (3, network.num_ws, 24)
    with torch.no_grad():
        expected = network.draw(ws)
    pictures = generator.synthesis(ws)
    assert pictures.shape == (3, 3, SIDE_PX, SIDE_PX)
    torch.testing.assert_close(pictures, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_what_is_known_of_a_file_says_what_its_generator_can_do(tmp_path: Path, architecture: str) -> None:
    info = saved(tmp_path, architecture, source_format="a pickle", source_sha256="ab").info
    assert info.architecture == architecture
    assert (info.moves, info.scrolls, info.has_noise) == (
        architecture == "stylegan3",
        architecture == "alis",
        architecture == "stylegan2",
    )
    assert (info.source_format, info.source_sha256, info.picture_size) == ("a pickle", "ab", (32, 32))


def test_widths_that_follow_no_rule_are_read_off_the_tensors(tmp_path: Path) -> None:
    widths = {4: 7, 8: 9, 16: 5, 32: 6}
    network = stylegan2.Generator(16, 24, SIDE_PX, num_layers=2, widths=widths)
    save_generator(network, tmp_path / "g.safetensors")
    assert open_generator(tmp_path / "g.safetensors").network.synthesis.b16.conv0.weight.shape[:2] == (5, 9)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_classes_make_a_difference_and_need_to_exist(tmp_path: Path, architecture: str) -> None:
    generator = saved(tmp_path, architecture, classes=["cat", "dog"])
    z = generator.latents([1])
    cat, dog, first = (generator.mapping(z, generator.one_hot(index)) for index in (0, 1, None))
    assert not torch.allclose(cat, dog)
    assert torch.equal(cat, first)
    random = torch.Generator().manual_seed(0)
    assert generator.sample_w(5, random, class_index=1).shape == (5, 24)
    with pytest.raises(ganworks.InvalidInput, match="from 0 to 1"):
        generator.one_hot(2)


def test_as_many_classes_are_named_as_there_are(tmp_path: Path) -> None:
    save_generator(network_of("stylegan2", 2), tmp_path / "g.safetensors", classes=["a", "b", "c"])
    with pytest.raises(ganworks.CheckpointError, match="names 3 classes, and it has 2"):
        open_generator(tmp_path / "g.safetensors")


def test_a_picture_is_moved_and_turned_as_the_public_tools_do(tmp_path: Path) -> None:
    generator = saved(tmp_path, "stylegan3")
    ws = generator.mapping(generator.latents([1]))
    still = generator.synthesis(ws)
    assert torch.equal(generator.synthesis(ws, translate=(0.0, 0.0), rotate=0.0), still)
    torch.testing.assert_close(generator.synthesis(ws, rotate=360.0), still, rtol=0, atol=1e-5)
    moved = generator.synthesis(ws, translate=(0.25, -0.5), rotate=30.0)
    with torch.no_grad():
        expected = generator.network.synthesis(ws, stylegan3.user_transform((0.25, -0.5), 30.0))
    torch.testing.assert_close(moved, expected)
    assert (moved - still).abs().max() > 0.1 * still.abs().max()


@pytest.mark.parametrize("architecture", ["stylegan2", "alis"])
def test_a_generator_that_cannot_move_a_picture_says_so(tmp_path: Path, architecture: str) -> None:
    generator = saved(tmp_path, architecture)
    with pytest.raises(ganworks.InvalidInput, match="cannot shift or turn"):
        generator.synthesis(torch.zeros(1, generator.num_ws, 24), rotate=5.0)


@pytest.mark.parametrize(
    "move", [{"translate": (5.0, 0.0)}, {"translate": (0.0, float("nan"))}, {"rotate": 400.0}]
)
def test_a_move_out_of_range_is_refused(tmp_path: Path, move: dict[str, Any]) -> None:
    generator = saved(tmp_path, "stylegan3")
    with pytest.raises(ganworks.InvalidInput, match="at most"):
        generator.synthesis(torch.zeros(1, generator.num_ws, 24), **move)


def test_a_panorama_begins_with_the_picture_of_its_first_two_anchors(tmp_path: Path) -> None:
    generator = saved(tmp_path, "alis")
    anchors = generator.mapping(generator.latents([1, 1, 2, 3]))
    assert generator.reach_px(4) == 192
    whole = generator.panorama(anchors, 192)
    assert whole.shape == (1, 3, SIDE_PX, 192)
    torch.testing.assert_close(whole[..., :SIDE_PX], generator.synthesis(anchors[:1]), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(generator.panorama(anchors, 50, 77), whole[..., 77:127], rtol=1e-4, atol=1e-4)


def test_a_draft_of_a_panorama_shows_the_same_columns_with_fewer_pixels(tmp_path: Path) -> None:
    generator = saved(tmp_path, "alis")
    anchors = generator.mapping(generator.latents([1, 2, 3]))
    assert torch.equal(generator.panorama(anchors, 64, 32, draft=True), generator.panorama(anchors, 64, 32))
    generator.draft_resolution = 16
    assert generator.panorama(anchors, 64, 32, draft=True).shape == (1, 3, 16, 32)
    torch.testing.assert_close(
        generator.draft(anchors[:1]),
        generator.panorama(anchors[[0, 0]], SIDE_PX, draft=True),
        rtol=1e-4,
        atol=1e-4,
    )


def test_a_window_that_anchors_do_not_reach_and_a_generator_without_panoramas_are_refused(
    tmp_path: Path,
) -> None:
    generator = saved(tmp_path, "alis")
    anchors = generator.mapping(generator.latents([1, 2]))
    for left, width in ((0, 65), (-1, 2), (0, 0)):
        with pytest.raises(ganworks.InvalidInput, match="reach 64 pixels"):
            generator.panorama(anchors, width, left)
    single = saved(tmp_path, "stylegan3")
    with pytest.raises(ganworks.InvalidInput, match="no panoramas"):
        single.panorama(single.mapping(single.latents([1, 2])), 32)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_cropped_generator_loses_and_regains_its_edges(tmp_path: Path, architecture: str) -> None:
    generator = saved(tmp_path, architecture, crop=[0, 4, 32, 28])
    assert generator.info.picture_size == (32, 24)
    pictures = generator.synthesis(generator.mapping(generator.latents([1])))
    assert torch.equal(generator.crop(pictures), pictures[:, :, 4:28])
    draft = pictures[:, :, ::2, ::2]
    assert torch.equal(generator.crop(draft), draft[:, :, 2:14])
    padded = generator.pad(pictures)
    assert torch.equal(generator.crop(padded), generator.crop(pictures))
    assert (padded[:, :, :4] == -1).all()
    assert (padded[:, :, 28:] == -1).all()


@pytest.mark.parametrize("crop", [[0, 0, 33, 32], [-1, 0, 32, 32], [5, 0, 5, 32], [0, 9, 32, 3]])
def test_a_crop_that_leaves_the_picture_is_refused(tmp_path: Path, crop: list[int]) -> None:
    with pytest.raises(ganworks.CheckpointError, match="crop does not lie within"):
        saved(tmp_path, "stylegan2", crop=crop)


def test_any_generator_can_be_projected_into(any_generator: Generator) -> None:
    target = any_generator.synthesis(any_generator.mapping(any_generator.latents([3]), truncation_psi=0.5))
    found = ganworks.project(any_generator, target.clamp(-1, 1), steps=12)
    assert found.ws.shape == (1, any_generator.num_ws, 24)
    assert found.noise.keys() == any_generator.network.noise_in_use().keys()
    start = ganworks.project(any_generator, target.clamp(-1, 1), steps=1)
    assert found.loss < start.loss


def test_any_generator_has_components_and_factors(any_generator: Generator, tmp_path: Path) -> None:
    basis = ganworks.principal_components(any_generator, samples=200)
    factors = ganworks.closed_form_factors(any_generator, count=5, samples=200)
    assert (len(basis), len(factors), factors.method) == (24, 5, "closed-form")
    ws = any_generator.mapping(any_generator.latents([1]))
    for directions in (basis, factors):
        edited = ganworks.apply_edits(ws, [ganworks.Edit(directions, 0, strength=3.0)])
        assert not torch.allclose(any_generator.synthesis(edited), any_generator.synthesis(ws), atol=1e-4)


def test_any_generator_fills_a_contact_sheet(any_generator: Generator) -> None:
    told: list[float] = []
    sheet = ganworks.contact_sheet(any_generator, on_progress=told.append)
    assert sheet.size == (4 * SIDE_PX, 4 * SIDE_PX)
    assert told[-1] == 1
    first = any_generator.synthesis(any_generator.mapping(any_generator.latents([0]), truncation_psi=0.7))
    drawn = ganworks.to_tensor(sheet.crop((0, 0, SIDE_PX, SIDE_PX)))
    assert (drawn - first.clamp(-1, 1)).abs().max() < 0.02


def test_a_contact_sheet_shows_each_class_in_turn_and_no_edges(tmp_path: Path) -> None:
    generator = saved(tmp_path, "stylegan2", classes=["cat", "dog"], crop=[0, 4, 32, 28])
    sheet = ganworks.contact_sheet(generator, seeds=[0, 0, 0], columns=2)
    assert sheet.size == (64, 48)
    cat, dog, again = (sheet.crop((x, y, x + 32, y + 24)).tobytes() for x, y in ((0, 0), (32, 0), (0, 24)))
    assert cat == again != dog


@pytest.mark.parametrize(
    "change",
    [
        {"plan": None},
        {"plan": []},
        {"plan": {"layers": 3}},
        {"plan": {"layers": []}},
        {"num_ws": 9},
        {"resolution": 64},
        {"architecture": "alis"},
        {"architecture": "stylegan2"},
    ],
)
def test_a_header_that_lies_about_a_plan_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    saved(tmp_path, "stylegan3")
    change_meta(tmp_path / "g.safetensors", **change)
    with pytest.raises(ganworks.CheckpointError):
        open_generator(tmp_path / "g.safetensors")


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("channels",), 9),
        (("channels",), True),
        (("size",), [36]),
        (("size",), [10**9, 36]),
        (("sampling_rate",), 0),
        (("sampling_rate",), "16"),
        (("output_scale",), None),
        (("layers", 3, "up"), 3),
        (("layers", 3, "up"), 10**6),
        (("layers", 3, "down"), 4),
        (("layers", 3, "up_taps"), 0),
        (("layers", 3, "up_taps"), 10**9),
        (("layers", 3, "padding"), [0, 0, 0, 0]),
        (("layers", 3, "padding"), [10**9, 0, 0, 0]),
        (("layers", 3, "padding"), "none"),
        (("layers", 3, "out_size"), [99, 36]),
        (("layers", 3, "inputs"), 7),
        (("layers", 3, "kernel"), 1),
        (("layers", 3, "name"), "forward"),
        (("layers", 3, "name"), "L0_36_8"),
        (("layers", 3, "name"), "../L3_36_8"),
        (("layers", 3, "conv_clamp"), "no"),
        (("layers", 3, "down_radial"), 1),
        (("layers", 3, "is_torgb"), True),
        (("layers", 14, "is_torgb"), False),
        (("layers", 3), {}),
        (("layers", 3), None),
    ],
)
def test_a_plan_whose_parts_do_not_fit_is_refused_before_anything_is_allocated(
    tmp_path: Path, place: tuple[str | int, ...], value: object
) -> None:
    saved(tmp_path, "stylegan3")
    path = tmp_path / "g.safetensors"
    plan = json.loads(json.dumps(checkpoint.read_header(path).meta["plan"]))
    part: Any = plan
    for key in place[:-1]:
        part = part[key]
    part[place[-1]] = value
    change_meta(path, plan=plan)
    with pytest.raises(ganworks.CheckpointError):
        open_generator(path)
