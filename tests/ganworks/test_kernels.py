"""The kernels of frozen generators against the plain definitions, whole and in small pieces."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from bench import plain
from ganworks.networks import kernels, stylegan2, stylegan3
from ganworks.networks.layers import blur_filter, filter_after_transpose
from ganworks.networks.stylegan3 import standard_description

from .conftest import small_network

Arguments = tuple[Tensor, ...]


@pytest.fixture(params=[False, True], ids=["whole", "in pieces"])
def pieces(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param:
        monkeypatch.setattr(kernels, "PIECE_BYTES", 1)


def plain_layer(
    x: Tensor,
    style: Tensor,
    gain: Tensor,
    noise: Tensor,
    weight: Tensor,
    bias: Tensor,
    *,
    up: bool,
    clamp: float | None,
) -> Tensor:
    """`modulated_layer` by its definition."""
    x = x * style
    if up:
        x = filter_after_transpose(F.conv_transpose2d(x, weight.transpose(0, 1), stride=2), blur_filter())
    else:
        x = F.conv2d(x, weight, padding=1)
    x = F.leaky_relu(x * gain + noise + bias[:, None, None], 0.2) * 2**0.5
    return x if clamp is None else x.clamp(-clamp, clamp)


def arguments(up: bool, *, per_column: bool = False, per_picture: bool = False) -> Arguments:
    """x, style, gain and noise of two pictures, which take gradients, and weight and bias, in double precision."""
    torch.manual_seed(0)
    size = (22, 18) if up else (11, 9)
    x, style = torch.randn(2, 4, 11, 9), torch.randn(2, 4, 1, 9 if per_column else 1)
    gain, noise = torch.rand(2, 5, 1, 1) + 0.5, torch.randn(2, 1, *size) if per_picture else torch.randn(size)
    given = [value.double().requires_grad_() for value in (x, style, gain, noise)]
    return (*given, torch.randn(5, 4, 3, 3).double(), torch.randn(5).double())


def fast_layer(up: bool, clamp: float | None) -> Callable[..., Tensor]:
    def layer(x: Tensor, style: Tensor, gain: Tensor, noise: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        taps = blur_filter() if up else None
        return kernels.modulated_layer(x, style, gain, weight, bias, noise, taps, clamp)

    return layer


@pytest.mark.usefixtures("pieces")
@pytest.mark.parametrize("up", [False, True])
@pytest.mark.parametrize("clamp", [None, 2.0])
@pytest.mark.parametrize("per_column", [False, True])
@pytest.mark.parametrize("per_picture", [False, True])
def test_a_layer_and_its_gradients_are_those_of_the_definition(
    up: bool, clamp: float | None, per_column: bool, per_picture: bool
) -> None:
    given = arguments(up, per_column=per_column, per_picture=per_picture)
    fast, slow = fast_layer(up, clamp)(*given), plain_layer(*given, up=up, clamp=clamp)
    torch.testing.assert_close(fast, slow, rtol=1e-10, atol=1e-10)
    slope = torch.randn_like(slow)
    for found, wanted in zip(
        torch.autograd.grad(fast, given[:4], slope), torch.autograd.grad(slow, given[:4], slope), strict=True
    ):
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)


def test_a_layer_without_noise_takes_none() -> None:
    x, style, gain, noise, weight, bias = arguments(False)
    found = kernels.modulated_layer(x, style, gain, weight, bias, None, None, None)
    torch.testing.assert_close(
        found, plain_layer(x, style, gain, noise * 0, weight, bias, up=False, clamp=None)
    )


def test_a_gradient_of_a_frozen_generator_cannot_be_differentiated_again() -> None:
    network = small_network().freeze()
    ws = network.mapping(torch.randn(1, 16)).requires_grad_()
    (gradient,) = torch.autograd.grad(network.synthesis(ws).square().sum(), ws, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.square().sum().backward()


def test_the_gradient_of_a_frozen_generator_is_that_of_one_in_training() -> None:
    network = small_network(conv_clamp=2)
    ws = network.mapping(torch.randn(2, 16)).detach().requires_grad_()
    noise = {
        key: torch.randn_like(value).requires_grad_()
        for key, value in network.synthesis.noise_buffers().items()
    }
    wanted = torch.autograd.grad(network.synthesis(ws, noise=noise).square().sum(), [ws, *noise.values()])
    found = torch.autograd.grad(
        network.freeze().synthesis(ws, noise=noise).square().sum(), [ws, *noise.values()]
    )
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("family", ["stylegan2", "stylegan3-t", "stylegan3-r"])
def test_the_plain_form_that_times_are_compared_with_draws_the_same(family: str) -> None:
    network: stylegan2.Generator | stylegan3.Generator = small_network(conv_clamp=2)
    if family != "stylegan2":
        plan = standard_description(32, radial=family.endswith("r"), channel_base=256, channel_max=24)
        network = stylegan3.Generator(16, 24, plan)
    ws = network.freeze().mapping(torch.randn(2, 16))
    found, wanted = network.draw(ws), plain.draw(network, ws)
    assert (found - wanted).abs().max() <= 1e-4 * wanted.abs().max()
