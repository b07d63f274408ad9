"""The landscape network against numbers that the reference implementation computed, and its panoramas."""

import json
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor

from ganworks.networks.alis import IGNORED, Coordinates, Generator

from .test_stylegan2 import VECTORS, state_dict

SIDE_PX = 32
STEP_PX = 64  # from anchor to anchor


@cache
def reference() -> tuple[Generator, dict[str, Tensor], dict[str, Tensor]]:
    """A generator with the stored weights, those weights, and what the reference computed from them."""
    arrays = np.load(VECTORS / "alis.npz")
    weights = state_dict(json.loads((VECTORS / "alis.json").read_text())["G_ema"], arrays)
    weights = {key: value for key, value in weights.items() if not key.endswith(IGNORED)}
    expected = {key[4:]: torch.from_numpy(arrays[key]) for key in arrays.files if key.startswith("ref/")}
    network = Generator(64, 64, SIDE_PX, num_layers=2, channel_base=512, channel_max=16)
    network.load_state_dict(weights)
    return network.freeze(), weights, expected


def test_mapping_agrees_with_the_reference_within_a_hundred_thousandth() -> None:
    network, _, expected = reference()
    torch.testing.assert_close(network.mapping(expected["zs"]), expected["ws"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("border", range(7))
def test_frames_agree_with_the_reference_within_a_ten_thousandth(border: int) -> None:
    network, _, expected = reference()
    row = expected["left_borders"].tolist().index(border)
    frame = expected["imgs_none"][row]
    drawn = network.panorama(expected["ws"][:3], SIDE_PX, left=border * SIDE_PX // 2)
    assert (drawn - frame).abs().max() <= 1e-4 * frame.abs().max()


def test_a_panorama_agrees_with_the_reference_within_a_ten_thousandth() -> None:
    network, _, expected = reference()
    drawn = network.panorama(expected["ws"], 4 * STEP_PX)
    assert drawn.shape == expected["panorama"].shape == (3, SIDE_PX, 256)
    assert (drawn - expected["panorama"]).abs().max() <= 1e-4 * expected["panorama"].abs().max()


@pytest.mark.parametrize("resolution", [4, 8, 16, 32])
def test_a_new_network_has_the_sines_that_public_ones_have(resolution: int) -> None:
    _, weights, _ = reference()
    name = "b4.input.input" if resolution == 4 else f"b{resolution}.coords_fuser0"
    torch.testing.assert_close(Coordinates(resolution).basis, weights[f"synthesis.{name}.basis"])


@pytest.mark.parametrize(("left", "width"), [(0, 1), (7, 50), (63, 2), (100, 156), (255, 1)])
def test_any_window_of_a_panorama_is_a_part_of_the_whole(left: int, width: int) -> None:
    network, _, expected = reference()
    whole = network.panorama(expected["ws"], 4 * STEP_PX)
    window = network.panorama(expected["ws"], width, left)
    torch.testing.assert_close(window, whole[:, :, left : left + width], rtol=1e-4, atol=1e-5)


def test_freezing_changes_no_panorama() -> None:
    network, weights, expected = reference()
    fresh = Generator(64, 64, SIDE_PX, num_layers=2, channel_base=512, channel_max=16)
    fresh.load_state_dict(weights)
    for columns in (network, fresh):
        assert set(columns.state_dict()) == set(weights)
    drawn = [columns.panorama(expected["ws"], 2 * STEP_PX).detach() for columns in (network, fresh)]
    torch.testing.assert_close(*drawn, rtol=1e-5, atol=1e-5)


def test_a_smaller_panorama_shows_the_same_columns() -> None:
    network, _, expected = reference()
    anchors = expected["ws"]
    small = network.panorama(anchors, 4 * STEP_PX, resolution=16)
    assert small.shape == (3, 16, 2 * STEP_PX)
    window = network.panorama(anchors, 32, 48, resolution=16)
    torch.testing.assert_close(window, small[:, :, 24:40], rtol=1e-4, atol=1e-5)
    frame = network.draw(anchors[:1], resolution=16)[0]
    torch.testing.assert_close(
        network.panorama(anchors[[0, 0]], SIDE_PX, resolution=16), frame, rtol=1e-4, atol=1e-5
    )


def test_a_panorama_does_not_depend_on_anchors_that_are_farther_than_the_next() -> None:
    network, _, expected = reference()
    changed = expected["ws"].clone()
    changed[3:] += 1
    before, after = (network.panorama(ws, 4 * STEP_PX) for ws in (expected["ws"], changed))
    torch.testing.assert_close(before[:, :, : 2 * STEP_PX], after[:, :, : 2 * STEP_PX], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(before[:, :, 2 * STEP_PX :], after[:, :, 2 * STEP_PX :], atol=1e-2)


def test_a_long_panorama_goes_on_as_it_began() -> None:
    network, _, expected = reference()
    ws = expected["ws"][[0, 1, 2, 3]].repeat(30, 1, 1)
    period = 4 * STEP_PX
    start, far = (network.panorama(ws, STEP_PX, left) for left in (0, 25 * period))
    torch.testing.assert_close(far, start, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("anchors", "left", "width"), [(2, 0, 65), (2, -1, 3), (2, 0, 0), (1, 0, 1), (3, 128, 1)]
)
def test_a_window_that_the_anchors_do_not_reach_is_refused(anchors: int, left: int, width: int) -> None:
    network, _, expected = reference()
    with pytest.raises(ValueError, match=f"make {(anchors - 1) * STEP_PX} columns"):
        network.panorama(expected["ws"][:anchors], width, left)


def test_gradients_reach_both_anchors_and_all_of_their_rows() -> None:
    network, _, expected = reference()
    ws = expected["ws"][:3].clone().requires_grad_()
    network.panorama(ws, STEP_PX).square().mean().backward()
    assert ws.grad is not None
    used = ws.grad.abs().amax(dim=2) > 0  # [3, L]
    assert used[:2].all()
    assert not used[2].any()


@pytest.mark.parametrize("resolution", [2, 12])
def test_a_resolution_that_is_no_power_of_two_is_refused(resolution: int) -> None:
    with pytest.raises(ValueError, match="power of two"):
        Generator(8, 8, resolution)
