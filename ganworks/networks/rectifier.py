"""
The filtered rectifier of StyleGAN3: raise the sampling rate, rectify, lower the rate again.

Source: Karras et al., "Alias-Free Generative Adversarial Networks" (arXiv 2106.12423), section 3.2.

Between the two filters every value has a phase along each axis, its position modulo the rate, and the rectifier acts on
each value alone. So the values of one phase are computed straight from the input with that phase's share of the taps
(6 of 12 when the rate doubles), rectified, and added to the output with its share of the other filter. No zero is
inserted, no value is computed and then dropped, and the enlarged feature map is never held as a whole. Filters that are
products of two lines of taps run along one axis and then along the other. Channels do not meet here, so a few of them
go through all steps before the next: so many that they stay in the processor's cache.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from ganworks.networks import kernels
from ganworks.networks.layers import LEAKY_SLOPE, SQRT_2

CHANNELS_TOGETHER = 16  # the processor's vectors hold so many


def filtered_rectifier(
    x: Tensor,
    up_filter: Tensor,
    down_filter: Tensor,
    up: int,
    down: int,
    padding: Sequence[int],
    clamp: float | None,
    gain: Tensor | None = None,
    bias: Tensor | None = None,
) -> Tensor:
    """
    [N, C, H, W]: times gain [N, C], plus bias [C]; raise the rate, leaky rectifier with gain sqrt(2), clamp, lower the
    rate. `padding` is (left, right, top, bottom) at the raised rate, and crops where it is negative.

    up_filter is [taps]; down_filter too, or [taps, taps]; `up` must be a multiple of `down`. Gradients reach x, gain and
    bias, and cannot be differentiated again.
    """
    if up % down:
        raise ValueError("The upsampling factor must be a multiple of the downsampling factor.")
    rise = up_filter.flip(0).to(x.dtype) * up
    fall = down_filter.flip(tuple(range(down_filter.ndim))).to(x.dtype)
    across = Axis(x.shape[3], up, down, padding[0], padding[1], len(rise), len(fall))
    along = Axis(x.shape[2], up, down, padding[2], padding[3], len(rise), len(fall))
    gain = x.new_ones(x.shape[:2]) if gain is None else gain
    bias = x.new_zeros(x.shape[1]) if bias is None else bias
    apply: Any = _FilteredRectifier.apply  # torch gives it no types
    result: Tensor = apply(x, gain, bias, Filters(along, across, rise, fall, clamp))
    return result


class Axis:
    """
    One axis of a filtered rectifier, by phases: a value at the raised rate has the index `up * q + phase`.

    With `size` values, the zero-inserted signal z[i * up] = x[i] is padded by `before` and `after` (cropped
    where these are negative), filtered with `up_taps` taps, and after the rectifier with `down_taps`, of whose
    results every `down`-th is kept.
    """

    def __init__(
        self, size: int, up: int, down: int, before: int, after: int, up_taps: int, down_taps: int
    ) -> None:
        self.up, self.down, self.before = up, down, before
        raised = size * up + before + after - up_taps + 1
        self.count = (raised - down_taps) // down + 1  # results
        self.steps = up // down  # phases of the results
        self.low = min(self.source(phase)[1] for phase in range(up))
        last = max(
            start + (raised - 1 - phase) // up + (up_taps - 1 - tap) // up
            for phase in range(up)
            for tap, start in [self.source(phase)]
        )
        self.pad = (-self.low, last - (size - 1))

    def source(self, phase: int) -> tuple[int, int]:
        """The first tap that meets a value of x rather than a zero, and for q = 0 that value's index."""
        tap = (self.before - phase) % self.up
        return tap, (phase + tap - self.before) // self.up

    def target(self, phase: int, step: int) -> tuple[int, slice]:
        """
        The first tap by which a phase enters results `steps * q + step`, and which of the values that this share of the
        filter makes of the phase are those results.
        """
        tap = (phase - self.down * step) % self.up
        shift = (self.down * step + tap - phase) // self.up + self.source(phase)[1] - self.low
        return tap, slice(shift, shift - (-(self.count - step) // self.steps))


@dataclass(frozen=True)
class Filters:
    """Both filters (as correlations), with what they mean along the two axes, for any number of channels."""

    along: Axis
    across: Axis
    rise: Tensor  # [taps]
    fall: Tensor  # [taps] or [taps, taps]
    clamp: float | None

    @property
    def padding(self) -> tuple[int, int, int, int]:
        return (*self.across.pad, *self.along.pad)

    @cached_property
    def steps(self) -> list[tuple[int, int]]:
        return [(a, b) for a in range(self.along.steps) for b in range(self.across.steps)]

    def raised_rows(self, x: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Each phase along the columns, with what the first filter makes of x there."""
        for i in range(self.along.up):
            yield i, correlate(x, self.rise_taps(self.along, i)[:, None])

    def phases(self, rows: Tensor) -> Iterator[tuple[int, Tensor]]:
        """Each phase along the rows, filtered and rectified."""
        for j in range(self.across.up):
            phase = correlate(
                rows, self.rise_taps(self.across, j)[None] * SQRT_2
            )  # the rectifier's gain comes first
            F.leaky_relu(phase, LEAKY_SLOPE, inplace=True)
            yield j, phase if self.clamp is None else phase.clamp_(-self.clamp, self.clamp)

    def rise_taps(self, axis: Axis, phase: int) -> Tensor:
        return self.rise[axis.source(phase)[0] :: axis.up]

    def fall_row(self, j: int, b: int) -> tuple[Tensor, slice]:
        """A separable second filter's share [1, taps] along the rows, and the results' columns."""
        tap, columns = self.across.target(j, b)
        return self.fall[None, tap :: self.across.up], columns

    def fall_column(self, i: int, a: int) -> tuple[Tensor, slice]:
        tap, rows = self.along.target(i, a)
        return self.fall[tap :: self.along.up, None], rows

    def fall_square(self, i: int, j: int, a: int, b: int) -> tuple[Tensor, slice, slice]:
        """The same of a second filter that is no product."""
        (row, rows), (column, columns) = self.along.target(i, a), self.across.target(j, b)
        return self.fall[row :: self.along.up, column :: self.across.up], rows, columns

    def apply(self, x: Tensor) -> dict[tuple[int, int], Tensor]:
        """Padded channels to results, by their steps along both axes."""
        results: dict[tuple[int, int], Tensor] = {}
        for i, rows in self.raised_rows(x):
            lowered: dict[int, Tensor] = {}
            for j, phase in self.phases(rows):
                if self.fall.ndim == 2:
                    for step in self.steps:
                        taps, high, wide = self.fall_square(i, j, *step)
                        add_to(results, step, correlate(phase, taps)[:, :, high, wide])
                    continue
                for b in range(self.across.steps):
                    taps, wide = self.fall_row(j, b)
                    add_to(lowered, b, correlate(phase, taps)[:, :, :, wide])
            for a, b in self.steps if lowered else []:
                taps, high = self.fall_column(i, a)
                add_to(results, (a, b), correlate(lowered[b], taps)[:, :, high])
        return results

    def apply_back(self, x: Tensor, slopes: dict[tuple[int, int], Tensor]) -> Tensor:
        """The slope of padded channels x, from those of the results: all steps in turn, backward."""
        total = torch.zeros_like(x)
        for i, rows in self.raised_rows(x):
            slope_rows = torch.zeros_like(rows)
            lowered = self._slopes_lowered(i, len(rows[0, 0]), slopes) if self.fall.ndim == 1 else {}
            for j, phase in self.phases(rows):
                slope: dict[int, Tensor] = {}
                for b, given in lowered.items():
                    taps, wide = self.fall_row(j, b)
                    add_to(slope, 0, correlate_back(given, taps, phase, slice(0, phase.shape[2]), wide))
                for step, given in slopes.items() if not lowered else []:
                    taps, high, wide = self.fall_square(i, j, *step)
                    add_to(slope, 0, correlate_back(given, taps, phase, high, wide))
                unrectified = kernels.unrectified(slope[0], phase, self.clamp)
                slope_rows += correlate_back(unrectified, self.rise_taps(self.across, j)[None] * SQRT_2, rows)
            total += correlate_back(slope_rows, self.rise_taps(self.along, i)[:, None], x)
        return total

    def _slopes_lowered(
        self, i: int, height: int, slopes: dict[tuple[int, int], Tensor]
    ) -> dict[int, Tensor]:
        lowered: dict[int, Tensor] = {}
        for (a, b), given in slopes.items():
            taps, high = self.fall_column(i, a)
            add_to(
                lowered, b, correlate_back(given, taps, given.new_empty(0, 0, height, given.shape[3]), high)
            )
        return lowered


class _FilteredRectifier(torch.autograd.Function):
    """Keeps its input alone: the gradient computes the phases again."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor, bias: Tensor, filters: Filters) -> Tensor:
        shape = (*x.shape[:2], filters.along.count, filters.across.count)
        y = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
        for picture, group in groups(x):
            piece = _padded(x[picture, group], gain[picture, group], bias[group], filters.padding)
            for (a, b), part in filters.apply(piece).items():
                y[picture, group, a :: filters.along.steps, b :: filters.across.steps] = part
        ctx.save_for_backward(x, gain, bias)
        ctx.filters = filters
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        x, gain, bias = ctx.saved_tensors
        filters: Filters = ctx.filters
        dx = torch.empty_like(x, memory_format=torch.channels_last)
        dgain, dbias = torch.zeros_like(gain), torch.zeros_like(bias)
        left, right, top, bottom = filters.padding
        for picture, group in groups(x):
            piece = _padded(x[picture, group], gain[picture, group], bias[group], filters.padding)
            slopes = {
                (a, b): slope[picture, group, a :: filters.along.steps, b :: filters.across.steps]
                for a, b in filters.steps
            }
            back = F.pad(filters.apply_back(piece, slopes), (-left, -right, -top, -bottom))
            dgain[picture, group] = (back * x[picture, group]).sum(dim=(2, 3))
            dbias[group] += back.sum(dim=(0, 2, 3))
            dx[picture, group] = back * gain[picture, group, None, None]
        return dx, dgain, dbias, None


def groups(x: Tensor) -> Iterator[tuple[slice, slice]]:
    """Pictures and channels of x that are worked on together; a GPU takes all at once."""
    N, C, H, W = x.shape
    if x.is_cuda:
        yield slice(0, N), slice(0, C)
        return
    count = kernels.PIECE_BYTES // (H * W * x.element_size()) // CHANNELS_TOGETHER * CHANNELS_TOGETHER
    for picture in range(N):
        for first in range(0, C, max(CHANNELS_TOGETHER, count)):
            yield slice(picture, picture + 1), slice(first, min(first + max(CHANNELS_TOGETHER, count), C))


def add_to(sums: dict[Any, Tensor], key: Any, part: Tensor) -> None:
    sums[key] = sums[key].add_(part) if key in sums else part


def correlate(x: Tensor, taps: Tensor) -> Tensor:
    """Correlate each channel of [N, C, H, W] with [h, w]: [N, C, H - h + 1, W - w + 1]."""
    return F.conv2d(x, taps.expand(x.shape[1], 1, *taps.shape), groups=x.shape[1])


def correlate_back(
    slope: Tensor, taps: Tensor, x: Tensor, rows: slice = slice(None), columns: slice = slice(None)
) -> Tensor:
    """The slope of x, of the same size, from that of rows and columns of `correlate(x, taps)`."""
    sizes = ((columns, taps.shape[1], x.shape[3]), (rows, taps.shape[0], x.shape[2]))
    padding = []
    for kept, count, size in sizes:
        start, stop, _ = kept.indices(size - count + 1)
        padding += [start + count - 1, size - stop]
    return correlate(F.pad(slope, padding), taps.flip((0, 1)))


def _padded(x: Tensor, gain: Tensor, bias: Tensor, padding: tuple[int, int, int, int]) -> Tensor:
    """x times gain plus bias, and zeros around it, or less of it where the padding is negative; channels last."""
    left, right, top, bottom = padding
    N, C, H, W = x.shape
    shape = (N, C, H + top + bottom, W + left + right)
    padded = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last).zero_()
    inner = padded[:, :, max(0, top) : max(0, top) + H, max(0, left) : max(0, left) + W]
    seen = x[
        :, :, max(0, -top) : max(0, -top) + inner.shape[2], max(0, -left) : max(0, -left) + inner.shape[3]
    ]
    inner = inner[:, :, : seen.shape[2], : seen.shape[3]]
    torch.mul(seen, gain[:, :, None, None], out=inner).add_(bias[:, None, None])
    return padded
