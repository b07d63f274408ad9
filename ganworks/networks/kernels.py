"""
The heavy layers of frozen generators, computed in pieces that fit the processor's cache.

What a layer is, the networks' own files say. Here the same numbers come from less memory traffic: a large feature map is
worked on in bands of rows or groups of channels, each taken through all steps of the layer before the next, in place; and
gradients are written by hand, for everything but weights. Such gradients cannot be differentiated again: training uses
the plain definitions.

Shapes: N pictures, I and O channels before and after a layer, H x W pixels before it. Channels lie last in memory.
"""

import math
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from ganworks.networks.layers import LEAKY_SLOPE, SQRT_2, filter_after_transpose

PIECE_BYTES = 4 * 2**20  # of a feature map at once: a few of them fit the cache that cores share


def bands(y: Tensor, height: int) -> Iterator[tuple[int, int, int, int]]:
    """
    Rows (first, last) of a layer's input, whose results fill a piece of y, and (start, stop) of what a 3x3 kernel needs
    for them, a row more at each side. A GPU takes all rows at once.
    """
    step = height if y.is_cuda else max(4, PIECE_BYTES * height // max(1, y.numel() * y.element_size()))
    for first in range(0, height, step):
        last = min(first + step, height)
        yield first, last, max(first - 1, 0), min(last + 1, height)


def modulated_layer(
    x: Tensor,
    style: Tensor,
    gain: Tensor,
    weight: Tensor,
    bias: Tensor,
    noise: Tensor | None,
    taps: Tensor | None,
    clamp: float | None,
) -> Tensor:
    """
    A modulated 3x3 convolution, noise, bias, a leaky rectifier with gain sqrt(2), and a clamp.

    x [N, I, H, W]; style [N, I, 1, 1], or [N, I, 1, W] for styles that change along a row; gain (demodulation)
    [N, O, 1, 1] or [1, O, 1, 1]; weight [O, I, 3, 3]; noise [..., H, W] of the result's size. With the low-pass filter
    `taps` [4, 4] the layer doubles the size. -> [N, O, H, W] or [N, O, 2H, 2W]. Gradients reach x, style, gain and noise.
    """
    apply: Any = _ModulatedLayer.apply  # torch gives it no types
    result: Tensor = apply(x, style, gain, noise, weight, bias, taps, clamp)
    return result


def laid_out(weight: Tensor, *, up: bool) -> Tensor:
    """Weights [O, I, 3, 3] in the order of memory in which a layer reads them fastest."""
    if not up:
        return weight.contiguous(memory_format=torch.channels_last)
    return weight.transpose(0, 1).contiguous(memory_format=torch.channels_last).transpose(0, 1)


class _ModulatedLayer(torch.autograd.Function):
    """Keeps its input and its output; the output tells which way the rectifier and the clamp went."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        style: Tensor,
        gain: Tensor,
        noise: Tensor | None,
        weight: Tensor,
        bias: Tensor,
        taps: Tensor | None,
        clamp: float | None,
    ) -> Tensor:
        N, _, H, W = x.shape
        up = 1 if taps is None else 2
        shape = (N, len(weight), up * H, up * W)
        y = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
        limit = math.inf if clamp is None else clamp
        gain, bias = gain * SQRT_2, bias[:, None, None] * SQRT_2  # the rectifier's gain may come before it
        for first, last, start, stop in bands(y, H):
            piece = x[:, :, start:stop] * style
            piece = _convolve(piece, weight, taps)[:, :, up * (first - start) : up * (last - start)]
            piece.mul_(gain).add_(bias)
            if noise is not None:
                piece.add_(noise[..., up * first : up * last, :], alpha=SQRT_2)
            F.leaky_relu(piece, LEAKY_SLOPE, inplace=True)
            torch.clamp(piece, -limit, limit, out=y[:, :, up * first : up * last])
        ctx.save_for_backward(x, style, gain, noise, weight, bias, taps, y)
        ctx.clamp = clamp
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        """
        `slope` is that of the result. With z what is rectified (times sqrt(2)) and c what the convolution gave,
        z = c gain + noise + bias, and slope_z z = slope_y y: so no c is kept to know the slope of the gain.
        """
        x, style, gain, noise, weight, bias, taps, y = ctx.saved_tensors
        up = 1 if taps is None else 2
        dx = torch.empty_like(x, memory_format=torch.channels_last)
        dstyle, dgain = torch.zeros_like(style), torch.zeros_like(gain)
        dnoise = torch.zeros_like(noise) if ctx.needs_input_grad[3] else None
        for first, last, start, stop in bands(y, x.shape[2]):
            rows = slice(up * start, up * stop)
            dz = unrectified(slope[:, :, rows], y[:, :, rows], ctx.clamp)
            own = slice(up * (first - start), up * (last - start))  # the other rows are a neighbor's
            here = slice(up * first, up * last)
            if ctx.needs_input_grad[2]:
                z = _linear(y[:, :, here]).sub_(bias)
                if noise is not None:
                    z.sub_(noise[..., here, :], alpha=SQRT_2)
                dgain += z.mul_(dz[:, :, own]).sum(dim=(2, 3), keepdim=True).sum_to_size(gain.shape)
            if dnoise is not None:
                dnoise[..., here, :] += (dz[:, :, own] * SQRT_2).sum_to_size(dnoise[..., here, :].shape)
            piece = _convolve_back(dz.mul_(gain), weight, taps)[:, :, first - start : last - start]
            dstyle += (piece * x[:, :, first:last]).sum_to_size(style.shape)
            torch.mul(piece, style, out=dx[:, :, first:last])
        return dx, dstyle, dgain.mul_(SQRT_2).div_(gain), dnoise, None, None, None, None


def _convolve(x: Tensor, weight: Tensor, taps: Tensor | None) -> Tensor:
    if taps is None:
        return F.conv2d(x, weight, padding=1)
    return filter_after_transpose(F.conv_transpose2d(x, weight.transpose(0, 1), stride=2), taps)


def _convolve_back(slope: Tensor, weight: Tensor, taps: Tensor | None) -> Tensor:
    """The slope of what `_convolve` was given, from that of its result."""
    if taps is None:
        return F.conv_transpose2d(slope, weight, padding=1)
    kernel = (taps * 4).flip((0, 1)).to(slope.dtype).repeat(slope.shape[1], 1, 1, 1)
    slope = F.conv2d(slope, kernel, padding=2, groups=slope.shape[1])
    return F.conv2d(slope, weight.transpose(0, 1), stride=2)


def unrectified(slope: Tensor, y: Tensor, clamp: float | None) -> Tensor:
    """The slope of what was rectified and clamped to y."""
    if clamp is not None:
        slope = torch.ops.aten.hardtanh_backward(slope, y, -clamp, clamp)
    result: Tensor = torch.ops.aten.leaky_relu_backward(slope, y, LEAKY_SLOPE, True)
    return result


def _linear(y: Tensor) -> Tensor:
    """What a leaky rectifier made y of."""
    return F.leaky_relu(y, 1 / LEAKY_SLOPE)
