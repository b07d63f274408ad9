"""StyleGAN3 T and R against numbers that the reference implementation computed, and against plain zeros."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ganworks.networks import kernels, stylegan3
from ganworks.networks.rectifier import filtered_rectifier
from ganworks.networks.stylegan3 import (
    Generator,
    LayerDescription,
    SynthesisDescription,
    standard_description,
    user_transform,
)

from .test_stylegan2 import VECTORS, entries, state_dict

NAMES = ("sg3t", "sg3r")


def plain(value: Any, arrays: Any) -> Any:
    """An attribute of a stored module, as plain Python."""
    if not isinstance(value, dict):
        return value
    if "$npscalar" in value:
        return value["$npscalar"]
    if "$array" in value:
        return tuple(int(item) for item in arrays[value["$array"]])
    return tuple(plain(item, arrays) for item in value.get("$list", value.get("$tuple")))


def child(module: Any, name: str) -> Any:
    return dict(entries(module["state"]["$dict"]["_modules"]))[name]


def attributes(module: Any, arrays: Any) -> dict[str, Any]:
    """The plain attributes of a stored module."""
    pairs = module["state"]["$dict"].items()
    return {key: plain(value, arrays) for key, value in pairs if not key.startswith("_")}


def stored_layer(name: str, stored: dict[str, Any], weights: dict[str, Tensor]) -> LayerDescription:
    up, down = (weights.get(f"synthesis.{name}.{kind}_filter") for kind in ("up", "down"))
    return LayerDescription(
        name=name,
        inputs=stored["in_channels"],
        outputs=stored["out_channels"],
        kernel=stored["conv_kernel"],
        in_size=stored["in_size"],
        out_size=stored["out_size"],
        up=stored["up_factor"],
        down=stored["down_factor"],
        up_taps=0 if up is None else len(up),
        down_taps=0 if down is None else len(down),
        down_radial=down is not None and down.ndim == 2,
        padding=stored["padding"],
        conv_clamp=stored["conv_clamp"],
        is_torgb=stored["is_torgb"],
    )


def stored_plan(tree: Any, arrays: Any, weights: dict[str, Tensor]) -> SynthesisDescription:
    synthesis = child(tree, "synthesis")
    whole, first = attributes(synthesis, arrays), attributes(child(synthesis, "input"), arrays)
    layers = (
        stored_layer(name, attributes(child(synthesis, name), arrays), weights)
        for name in whole["layer_names"]
    )
    return SynthesisDescription(
        first["channels"],
        first["size"],
        first["sampling_rate"],
        first["bandwidth"],
        tuple(layers),
        whole["output_scale"],
    )


@cache
def reference(name: str) -> tuple[Generator, dict[str, Tensor]]:
    """A generator with the stored weights, and what the reference computed from them."""
    arrays = np.load(Path(VECTORS) / f"{name}.npz")
    tree = json.loads((VECTORS / f"{name}.json").read_text())["G_ema"]
    weights = state_dict(tree, arrays)
    expected = {key[4:]: torch.from_numpy(arrays[key]) for key in arrays.files if key.startswith("ref/")}
    network = Generator(
        z_dim=expected["z"].shape[1],
        w_dim=weights["mapping.w_avg"].shape[0],
        plan=stored_plan(tree, arrays, weights),
    )
    network.load_state_dict(weights)
    return network.freeze(), expected


def filtered_with_zeros(
    x: Tensor,
    up_filter: Tensor,
    down_filter: Tensor,
    up: int,
    down: int,
    padding: tuple[int, ...],
    clamp: float | None,
    gain: Tensor | None = None,
    bias: Tensor | None = None,
) -> Tensor:
    """The same as `filtered_rectifier` by its definition: insert zeros, filter, rectify, filter, drop."""
    x = x if gain is None else x * gain[:, :, None, None]
    x = x if bias is None else x + bias[:, None, None]
    spread = x.new_zeros(*x.shape[:2], x.shape[2] * up, x.shape[3] * up)
    spread[:, :, ::up, ::up] = x
    spread = correlate(F.pad(spread, padding), up_filter * up if up_filter.ndim == 1 else up_filter * up**2)
    spread = F.leaky_relu(spread, 0.2) * 2**0.5
    if clamp is not None:
        spread = spread.clamp(-clamp, clamp)
    return correlate(spread, down_filter)[:, :, ::down, ::down]


def correlate(x: Tensor, taps: Tensor) -> Tensor:
    """Convolve every channel of x with a filter, along both axes when it is separable."""
    taps = taps.to(x.dtype)
    for kernel in [taps] if taps.ndim == 2 else [taps[:, None], taps[None]]:
        x = F.conv2d(x, kernel.flip((0, 1)).expand(x.shape[1], 1, *kernel.shape), groups=x.shape[1])
    return x


@pytest.mark.parametrize("name", NAMES)
def test_mapping_agrees_with_the_reference_within_a_hundred_thousandth(name: str) -> None:
    network, expected = reference(name)
    for key, psi in (("psi10", 1.0), ("psi07", 0.7)):
        found = network.mapping(expected["z"], truncation_psi=psi)
        torch.testing.assert_close(found, expected[f"ws_{key}"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("key", ["psi10", "psi07"])
def test_pictures_agree_with_the_reference_within_a_ten_thousandth(name: str, key: str) -> None:
    network, expected = reference(name)
    drawn = network.synthesis(expected[f"ws_{key}"])
    assert (drawn - expected[f"img_{key}"]).abs().max() <= 1e-4 * expected[f"img_{key}"].abs().max()


@pytest.mark.parametrize("name", NAMES)
def test_a_moved_and_turned_picture_agrees_with_the_reference(name: str) -> None:
    network, expected = reference(name)
    matrix = user_transform((0.1, -0.2), 30)
    torch.testing.assert_close(matrix, expected["user_matrix"].float())
    wanted = expected["img_psi10_transformed"]
    drawn = network.synthesis(expected["ws_psi10"], transform=matrix)
    assert (drawn - wanted).abs().max() <= 1e-4 * wanted.abs().max()


@pytest.mark.parametrize("name", NAMES)
def test_a_transform_stored_with_the_weights_moves_the_picture_too(name: str) -> None:
    network, expected = reference(name)
    kept = network.synthesis.input.transform.clone()
    network.synthesis.input.transform.copy_(torch.linalg.inv(expected["user_matrix"]))
    drawn = network.synthesis(expected["ws_psi10"])
    network.synthesis.input.transform.copy_(kept)
    wanted = expected["img_psi10_transformed"]
    assert (drawn - wanted).abs().max() <= 1e-4 * wanted.abs().max()


@pytest.mark.parametrize("name", NAMES)
def test_the_gradient_agrees_with_that_of_the_definition(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network, expected = reference(name)

    def gradient() -> Tensor:
        w = expected["ws_psi10"][:1, :1].clone().requires_grad_()
        network.synthesis(w.repeat(1, network.num_ws, 1)).square().mean().backward()
        assert w.grad is not None
        return w.grad

    found = gradient()
    monkeypatch.setattr(stylegan3, "filtered_rectifier", filtered_with_zeros)
    wanted = gradient()
    assert (found - wanted).abs().max() <= 1e-4 * wanted.abs().max()


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_does_not_depend_on_its_batch(name: str) -> None:
    network, expected = reference(name)
    together, alone = (network.synthesis(expected["ws_psi10"][:count])[0] for count in (2, 1))
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "radial", "base", "most"), [("sg3t", False, 512, 16), ("sg3r", True, 512, 16)]
)
def test_the_published_plan_is_that_of_the_reference(name: str, radial: bool, base: int, most: int) -> None:
    network, _ = reference(name)
    plan = standard_description(32, radial=radial, channel_base=base, channel_max=most)
    assert plan == network.synthesis.plan


def test_the_published_plan_has_the_published_names_at_1024_pixels() -> None:
    names = [layer.name for layer in standard_description(1024).layers]
    assert names == [
        "L0_36_512",
        "L1_36_512",
        "L2_52_512",
        "L3_52_512",
        "L4_84_512",
        "L5_148_512",
        "L6_148_512",
        "L7_276_323",
        "L8_276_203",
        "L9_532_128",
        "L10_1044_81",
        "L11_1044_51",
        "L12_1044_32",
        "L13_1024_32",
        "L14_1024_3",
    ]


@pytest.mark.parametrize("radial", [False, True])
@pytest.mark.parametrize("up", [2, 4])
@pytest.mark.parametrize("padding", [(9, 8, 9, 8), (-6, -9, 5, -3), (0, 1, 7, 2), (-3, 3, 12, -11)])
def test_phases_compute_what_inserted_zeros_would(
    radial: bool, up: int, padding: tuple[int, int, int, int]
) -> None:
    torch.manual_seed(0)
    x, rise = torch.randn(2, 3, 19, 24).double(), torch.randn(6 * up).double()
    fall = torch.randn((12, 12) if radial else (12,)).double()
    arguments = (x, rise, fall, up, 2, padding, 30.0)
    torch.testing.assert_close(
        filtered_rectifier(*arguments), filtered_with_zeros(*arguments), rtol=1e-10, atol=1e-10
    )


@pytest.mark.parametrize("radial", [False, True])
@pytest.mark.parametrize("up", [2, 4])
@pytest.mark.parametrize("piece_bytes", [1, 2**30])
def test_gradients_of_phases_are_those_of_inserted_zeros(
    radial: bool, up: int, piece_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "PIECE_BYTES", piece_bytes)
    torch.manual_seed(0)
    given = [torch.randn(2, 20, 9, 11), torch.rand(2, 20) + 0.5, torch.randn(20)]
    x, gain, bias = (value.double().requires_grad_() for value in given)
    rise, fall = torch.randn(6 * up).double(), torch.randn((12, 12) if radial else (12,)).double()
    arguments = (x, rise, fall, up, 2, (9, 8, -3, 12), 3.0, gain, bias)
    fast, plain = filtered_rectifier(*arguments), filtered_with_zeros(*arguments)
    torch.testing.assert_close(fast, plain, rtol=1e-10, atol=1e-10)
    slope = torch.randn_like(plain)
    for found, wanted in zip(
        *(torch.autograd.grad(result, (x, gain, bias), slope) for result in (fast, plain)), strict=True
    ):
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_freezing_changes_no_picture(name: str) -> None:
    network, expected = reference(name)
    fresh = Generator(network.z_dim, network.w_dim, network.synthesis.plan)
    fresh.load_state_dict(network.state_dict())
    drawn = fresh.synthesis(expected["ws_psi10"]).detach()
    torch.testing.assert_close(network.synthesis(expected["ws_psi10"]), drawn, rtol=1e-5, atol=1e-5)


def test_factors_that_do_not_divide_are_refused() -> None:
    with pytest.raises(ValueError, match="multiple"):
        filtered_rectifier(torch.zeros(1, 1, 9, 9), torch.ones(6), torch.ones(12), 3, 2, (0, 0, 0, 0), None)


def test_the_whole_generator_is_mapping_and_then_synthesis() -> None:
    network, expected = reference("sg3t")
    picture = network(expected["z"], truncation_psi=0.7)
    assert (picture - expected["img_psi07"]).abs().max() < 1e-4
