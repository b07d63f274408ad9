"""The network against numbers that the reference implementation computed, and its gradients."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ganworks.networks.stylegan2 import ARCHITECTURES, Generator

from .conftest import small_network

VECTORS = Path(__file__).parent / "vectors"
NAMES = ("skip", "cond", "orig", "resnet")


def state_dict(tree: Any, arrays: Any) -> dict[str, Tensor]:
    """The tensors of a stored module, named by the path of its submodules."""
    found: dict[str, Tensor] = {}

    def collect(module: Any, prefix: str) -> None:
        state = module["state"]["$dict"]
        for kind in ("_parameters", "_buffers"):
            for key, value in entries(state[kind]):
                if value is not None:
                    found[prefix + key] = torch.from_numpy(arrays[value["$tensor"]])
        for key, child in entries(state["_modules"]):
            if child is not None:
                collect(child, f"{prefix}{key}.")

    collect(tree, "")
    return found


def entries(mapping: Any) -> list[tuple[str, Any]]:
    """The pairs of a stored dict or ordered dict."""
    return (
        list(mapping["$dict"].items()) if "$dict" in mapping else [tuple(pair) for pair in mapping["$odict"]]
    )


@cache
def reference(name: str) -> tuple[Generator, dict[str, Tensor]]:
    """A generator with the stored weights, and what the reference computed from them."""
    arrays = np.load(VECTORS / f"{name}.npz")
    weights = state_dict(json.loads((VECTORS / f"{name}.json").read_text())["G_ema"], arrays)
    expected = {key[4:]: torch.from_numpy(arrays[key]) for key in arrays.files if key.startswith("ref/")}
    network = Generator(
        z_dim=expected["z"].shape[1],
        w_dim=weights["mapping.w_avg"].shape[0],
        resolution=32,
        c_dim=expected["c"].shape[1],
        num_layers=2,
        channel_base=weights["synthesis.b32.conv1.weight"].shape[0] * 32,
        channel_max=weights["synthesis.b4.const"].shape[0],
        conv_clamp=256 if name == "cond" else None,
        architecture=name if name in ARCHITECTURES else "skip",
    )
    network.load_state_dict(weights)
    return network.freeze(), expected


def classes_of(network: Generator, expected: dict[str, Tensor]) -> Tensor | None:
    return expected["c"] if network.c_dim else None


@pytest.mark.parametrize("name", NAMES)
def test_mapping_agrees_with_the_reference_within_a_hundred_thousandth(name: str) -> None:
    network, expected = reference(name)
    z, c = expected["z"], classes_of(network, expected)
    for key, psi, cutoff in (("psi10", 1.0, None), ("psi07", 0.7, None), ("psi07_cut4", 0.7, 4)):
        torch.testing.assert_close(
            network.mapping(z, c, psi, cutoff), expected[f"ws_{key}"], rtol=0, atol=1e-5
        )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("picture", "ws", "mode"),
    [
        ("img_const_psi10", "ws_psi10", "const"),
        ("img_const_psi07", "ws_psi07", "const"),
        ("img_none_psi07", "ws_psi07", "none"),
        ("img_const_mixed", "ws_mixed", "const"),
    ],
)
def test_pictures_agree_with_the_reference_within_a_ten_thousandth(
    name: str, picture: str, ws: str, mode: str
) -> None:
    network, expected = reference(name)
    drawn = network.synthesis(expected[ws], mode)
    assert (drawn - expected[picture]).abs().max() <= 1e-4 * expected[picture].abs().max()


@pytest.mark.parametrize("name", NAMES)
def test_gradients_agree_with_the_reference_within_a_ten_thousandth(name: str) -> None:
    network, expected = reference(name)
    w = expected["ws_psi10"][:1, :1].clone().requires_grad_()
    network.synthesis(w.repeat(1, network.num_ws, 1)).square().mean().backward()
    assert w.grad is not None
    assert (w.grad - expected["grad_w"]).abs().max() <= 1e-4 * expected["grad_w"].abs().max()


def test_the_whole_generator_is_mapping_and_then_synthesis() -> None:
    network, expected = reference("skip")
    picture = network(expected["z"], truncation_psi=0.7)
    assert (picture - expected["img_const_psi07"]).abs().max() < 1e-3


def test_gradients_of_gradients_flow_as_path_length_needs() -> None:
    network = small_network()
    ws = network.mapping(torch.randn(2, 16)).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(network.synthesis(ws).square().sum(), ws, create_graph=True)
    gradient.square().sum().backward()
    assert all(p.grad is not None for key, p in network.named_parameters() if key.endswith("conv1.weight"))


def test_freezing_changes_no_picture() -> None:
    network = small_network()
    ws = network.mapping(torch.randn(2, 16)).detach()
    before = network.synthesis(ws)
    torch.testing.assert_close(network.freeze().synthesis(ws), before, rtol=1e-5, atol=1e-5)
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_freezing_adds_nothing_to_the_weights_that_are_saved() -> None:
    network = small_network()
    assert set(network.state_dict()) == set(small_network().freeze().state_dict())


@pytest.mark.parametrize("resolution", [2, 12, 100])
def test_a_resolution_that_is_no_power_of_two_is_refused(resolution: int) -> None:
    with pytest.raises(ValueError, match="power of two"):
        small_network(resolution=resolution)


def test_an_unknown_architecture_is_refused() -> None:
    with pytest.raises(ValueError, match="skip, orig, resnet"):
        Generator(z_dim=8, w_dim=8, resolution=8, architecture="dense")


def test_an_unknown_noise_mode_is_refused() -> None:
    with pytest.raises(ValueError, match="const, random, none"):
        small_network().synthesis(torch.zeros(1, 8, 24), "loud")


def test_a_conditional_generator_without_a_class_is_refused() -> None:
    with pytest.raises(ValueError, match="class"):
        small_network(c_dim=3).mapping(torch.randn(1, 16))


def test_only_layers_with_a_strength_use_noise() -> None:
    network = small_network()
    network.synthesis.blocks()[0].conv1.noise_strength.data.zero_()
    used = network.synthesis.noise_in_use()
    assert "b4.conv1.noise_const" not in used
    assert used.keys() | {"b4.conv1.noise_const"} == network.synthesis.noise_buffers().keys()
