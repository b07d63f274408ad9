"""Files that describe generators which no machine could draw with are refused before anything is allocated."""

import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import ganworks
from ganworks import checkpoint
from ganworks.effort import check_effort, draft_resolution
from ganworks.generator import open_generator, save_generator
from ganworks.networks import alis, stylegan2, stylegan3

from .conftest import small_network


@pytest.mark.parametrize("side", [256, 1024])
def test_all_published_sizes_are_within_the_limits(side: int) -> None:
    with torch.device("meta"):
        for radial in (False, True):
            check_effort(stylegan3.Generator(512, 512, stylegan3.standard_description(side, radial=radial)))
        for architecture in stylegan2.ARCHITECTURES:
            check_effort(stylegan2.Generator(512, 512, side, architecture=architecture))
        check_effort(alis.Generator(512, 512, side))


@pytest.mark.parametrize(
    ("side", "base", "draft"), [(256, 16384, 256), (512, 32768, 256), (1024, 32768, 256)]
)
def test_a_draft_of_a_large_picture_stops_early(side: int, base: int, draft: int) -> None:
    with torch.device("meta"):
        assert draft_resolution(stylegan2.Generator(512, 512, side, channel_base=base)) == draft


def test_networks_without_colours_on_the_way_draft_the_whole_picture() -> None:
    with torch.device("meta"):
        for architecture in ("orig", "resnet"):
            assert draft_resolution(stylegan2.Generator(512, 512, 1024, architecture=architecture)) == 1024
        assert draft_resolution(stylegan3.Generator(512, 512, stylegan3.standard_description(1024))) == 1024


def test_a_draft_of_a_panorama_is_cheaper_since_several_frames_are_seen_at_once() -> None:
    with torch.device("meta"):
        assert draft_resolution(alis.Generator(512, 512, 1024)) == 256


def plan_of(width: int, side: int, **change: int) -> stylegan3.SynthesisDescription:
    """A plan of 1x1 convolutions on a large plane: as few weights as one likes."""
    plan = stylegan3.standard_description(16, radial=True, channel_base=1, channel_max=1)
    layer = replace(plan.layers[0], name="L0_0_0", inputs=width, outputs=width, **change)
    total = (side - 1) * layer.down + 1 - side * layer.up + layer.up_taps - 1 + layer.down_taps - 1
    padding = (total // 2, total - total // 2) * 2
    layer = replace(layer, in_size=(side, side), out_size=(side, side), padding=padding)
    colors = replace(
        plan.layers[-1], name="L1_0_3", inputs=width, in_size=(side, side), out_size=(side, side)
    )
    return stylegan3.SynthesisDescription(width, (side, side), 16.0, 2.0, (layer, colors))


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        (plan_of(64, 4096), "numbers"),
        (plan_of(600, 1024), "numbers"),
        (plan_of(30, 4096, up=8, down=8, up_taps=64, down_taps=64), "multiplications"),
    ],
)
def test_a_plan_of_few_weights_and_huge_planes_is_refused(
    tmp_path: Path, plan: stylegan3.SynthesisDescription, words: str
) -> None:
    network = stylegan3.Generator(4, 4, plan)
    save_generator(network, tmp_path / "g.safetensors")
    assert (tmp_path / "g.safetensors").stat().st_size < 2**23
    with pytest.raises(ganworks.CheckpointError, match=words):
        open_generator(tmp_path / "g.safetensors")


def test_many_channels_at_a_high_resolution_are_refused(tmp_path: Path) -> None:
    widths = {2**power: 1 for power in range(2, 11)} | {2048: 192}
    network = stylegan2.Generator(4, 4, 2048, num_layers=1, widths=widths)
    save_generator(network, tmp_path / "g.safetensors")
    with pytest.raises(ganworks.CheckpointError, match="numbers"):
        open_generator(tmp_path / "g.safetensors")


def test_a_network_without_channels_is_refused_in_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "g.safetensors"
    save_generator(small_network(), path)
    header = checkpoint.read_header(path)
    tensors = checkpoint.read_tensors(path, header)
    tensors["synthesis.b8.conv1.weight"] = torch.zeros(0, 0, 3, 3)
    meta = {key: value for key, value in header.meta.items() if not key.startswith("channel_")}
    checkpoint.write(path, "generator", {**meta}, tensors)
    with pytest.raises(ganworks.CheckpointError, match="has the shape"):
        open_generator(path)


def strange_layer(dice: random.Random, width: int, size: tuple[int, int]) -> stylegan3.LayerDescription:
    """A layer of any factors, taps and padding, which may or may not fit together."""
    up, down = dice.choice([(1, 1), (2, 1), (2, 2), (4, 2), (4, 4), (8, 4), (6, 3)])
    layer = stylegan3.LayerDescription(
        name="L0_1_1",
        inputs=width,
        outputs=dice.randrange(1, 4),
        kernel=dice.choice((1, 2, 3, 7)),
        in_size=size,
        out_size=size,
        up=up,
        down=down,
        up_taps=dice.choice((1, up, 6 * up, dice.randrange(1, 65))),
        down_taps=dice.choice((1, down, 6 * down, dice.randrange(1, 65))),
        down_radial=dice.random() < 0.3,
        padding=tuple(dice.randrange(-60, 60) for _ in range(4)),
        conv_clamp=256.0,
        is_torgb=False,
    )
    return replace(layer, out_size=layer.reached_size())


def test_a_plan_that_is_not_refused_can_be_drawn() -> None:
    dice, drawn = random.Random(0), 0
    while drawn < 60:
        size = dice.randrange(1, 30), dice.randrange(1, 30)
        try:
            layer = strange_layer(dice, 2, size)
            side = layer.out_size[0]
            colors = replace(
                layer, name="L1_1_3", inputs=layer.outputs, outputs=3, kernel=1, in_size=layer.out_size, up=1, down=1,
                out_size=layer.out_size, up_taps=0, down_taps=0, padding=(0, 0, 0, 0), is_torgb=True,
            )  # fmt: skip
            plan = stylegan3.SynthesisDescription(2, size, 16.0, 2.0, (layer, colors))
            plan.check(side)
        except ValueError:
            continue
        if side <= 100:
            network = stylegan3.Generator(4, 4, plan).freeze()
            assert network.draw(torch.randn(1, network.num_ws, 4)).shape == (1, 3, side, side)
            drawn += 1
