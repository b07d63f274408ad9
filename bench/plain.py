"""
The same networks by their definition, as a yardstick: kernels made for each picture, zeros put in and filtered, nothing
done in place. It takes the weights of a network of `ganworks.networks` and computes the same pictures.

Source: the papers that `ganworks/networks/stylegan2.py` and `stylegan3.py` name. No code but theirs is followed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from ganworks.networks import stylegan2, stylegan3


def draw(network: stylegan2.Generator | stylegan3.Generator, ws: Tensor) -> Tensor:
    """ws [N, L, W] -> pictures [N, 3, H, W]."""
    if isinstance(network, stylegan3.Generator):
        return _draw_stylegan3(network.synthesis, ws)
    return _draw_stylegan2(network.synthesis, ws)


def _draw_stylegan2(synthesis: stylegan2.SynthesisNetwork, ws: Tensor) -> Tensor:
    x = synthesis.blocks()[0].const.repeat(len(ws), 1, 1, 1)
    picture = x.new_zeros(len(ws), synthesis.img_channels, 2, 2)
    row = 0
    for block in synthesis.blocks():
        for _, layer in block.layers():
            weight = _demodulated(layer.weight, layer.affine(ws[:, row]))
            if layer.up:
                x = _convolve_transposed(x, weight)
                x = correlate(F.pad(x, (1, 1, 1, 1)), layer.resample_filter * 4)
            else:
                x = _convolve(x, weight, padding=1)
            x = x + layer.noise_const * layer.noise_strength
            x = _clamped(_rectified(x + layer.bias[:, None, None]), layer.conv_clamp)
            row += 1
        colors = block.torgb
        style = colors.affine(ws[:, row]) * colors.weight_gain
        drawn = _convolve(x, colors.weight * style[:, None, :, None, None]) + colors.bias[:, None, None]
        picture = correlate(F.pad(zeros_inserted(picture, 2), (2, 1, 2, 1)), block.resample_filter * 4)
        picture = picture + _clamped(drawn, colors.conv_clamp)
    return picture


def _draw_stylegan3(synthesis: stylegan3.SynthesisNetwork, ws: Tensor) -> Tensor:
    x: Tensor = synthesis.input(ws[:, 0])
    for row, plan in enumerate(synthesis.plan.layers, start=1):
        x = _stylegan3_layer(getattr(synthesis, plan.name), x, ws[:, row])
    return x * synthesis.plan.output_scale


def _stylegan3_layer(layer: stylegan3.SynthesisLayer, x: Tensor, w: Tensor) -> Tensor:
    plan, style = layer.plan, layer.affine(w)
    weight: Tensor = layer.weight
    x = x * layer.magnitude_ema.rsqrt()
    if plan.is_torgb:
        weight = weight * (style / math.sqrt(plan.inputs))[:, None, :, None, None]
    else:
        weight = weight * weight.square().mean(dim=(1, 2, 3), keepdim=True).rsqrt()
        weight = _demodulated(weight, style * style.square().mean(dim=1, keepdim=True).rsqrt())
    x = _convolve(x, weight, padding=plan.kernel - 1) + layer.bias[:, None, None]
    if layer.up_filter is None or layer.down_filter is None:
        return _clamped(x, plan.conv_clamp)
    return filtered_rectifier(
        x, layer.up_filter, layer.down_filter, plan.up, plan.down, plan.padding, plan.conv_clamp
    )


def filtered_rectifier(
    x: Tensor,
    up_filter: Tensor,
    down_filter: Tensor,
    up: int,
    down: int,
    padding: Sequence[int],
    clamp: float | None,
) -> Tensor:
    """The definition of `ganworks.networks.rectifier.filtered_rectifier`: zeros, filter, rectify, filter, drop."""
    gain = up if up_filter.ndim == 1 else up**2
    x = correlate(F.pad(zeros_inserted(x, up), tuple(padding)), up_filter * gain)
    return correlate(_clamped(_rectified(x), clamp), down_filter)[:, :, ::down, ::down]


def zeros_inserted(x: Tensor, up: int) -> Tensor:
    """Each value followed by `up - 1` zeros, along both axes."""
    spread = x.new_zeros(*x.shape[:2], x.shape[2] * up, x.shape[3] * up)
    spread[:, :, ::up, ::up] = x
    return spread


def correlate(x: Tensor, taps: Tensor) -> Tensor:
    """Convolve every channel of x with a filter, along both axes when it is separable."""
    for kernel in [taps] if taps.ndim == 2 else [taps[:, None], taps[None]]:
        square = kernel.to(x.dtype).flip((0, 1)).expand(x.shape[1], 1, *kernel.shape)
        x = F.conv2d(x, square, groups=x.shape[1])
    return x


def _demodulated(weight: Tensor, style: Tensor) -> Tensor:
    """weight [O, I, k, k], style [N, I] -> [N, O, I, k, k] of unit length for each output."""
    modulated = weight * style[:, None, :, None, None]
    return modulated * (modulated.square().sum(dim=(2, 3, 4), keepdim=True) + 1e-8).rsqrt()


def _convolve(x: Tensor, weight: Tensor, padding: int = 0) -> Tensor:
    """x [N, I, H, W] with a kernel of its own for each picture, [N, O, I, k, k]: groups of one convolution."""
    joined = x.reshape(1, -1, *x.shape[2:])
    drawn = F.conv2d(joined, weight.flatten(0, 1), padding=padding, groups=len(x))
    return drawn.reshape(len(x), -1, *drawn.shape[2:])


def _convolve_transposed(x: Tensor, weight: Tensor) -> Tensor:
    """As `_convolve`, with stride 2 the other way: [N, O, 2H+1, 2W+1]."""
    joined = x.reshape(1, -1, *x.shape[2:])
    drawn = F.conv_transpose2d(joined, weight.transpose(1, 2).flatten(0, 1), stride=2, groups=len(x))
    return drawn.reshape(len(x), -1, *drawn.shape[2:])


def _rectified(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.2) * math.sqrt(2)


def _clamped(x: Tensor, limit: float | None) -> Tensor:
    return x if limit is None else x.clamp(-limit, limit)
