"""The StyleGAN2 discriminator with residual blocks, in plain PyTorch.

Source: Karras et al., "Analyzing and Improving the Image Quality of StyleGAN" (arXiv 1912.04958), section 4
and appendix B. State-dict keys are those of the public StyleGAN2-ADA discriminators. Every operation is
differentiable twice, as the R1 penalty needs.

Shapes: N pictures, C channels at resolution r.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganworks.networks.layers import LEAKY_SLOPE, SQRT_2, FullyConnected, blur_filter, channels_at

SQRT_HALF = math.sqrt(0.5)


def low_pass(x: Tensor, taps: Tensor, padding: int) -> Tensor:
    """Filter each channel of [N, C, H, W] with the 4x4 low-pass; padding 2 gives H + 1."""
    return F.conv2d(x, taps.to(x.dtype).repeat(x.shape[1], 1, 1, 1), padding=padding, groups=x.shape[1])


class Convolution(nn.Module):
    """A convolution with equalised learning rate, optional halving of the size, and a leaky rectifier."""

    resample_filter: Tensor

    def __init__(
        self,
        inputs: int,
        outputs: int,
        size: int,
        *,
        down: bool = False,
        linear: bool = False,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.down, self.linear, self.size = down, linear, size
        self.weight = nn.Parameter(torch.randn(outputs, inputs, size, size))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        self.weight_gain = 1 / math.sqrt(inputs * size * size)
        self.register_buffer("resample_filter", blur_filter())

    def forward(self, x: Tensor, gain: float = 1.0) -> Tensor:
        """[N, I, H, H] -> [N, O, H, H], or [N, O, H/2, H/2] with `down`."""
        weight = self.weight * self.weight_gain
        if not self.down:
            x = F.conv2d(x, weight, padding=self.size // 2)
        elif self.size == 1:  # filter, drop every second pixel, then mix channels
            x = F.conv2d(low_pass(x, self.resample_filter, 1)[:, :, ::2, ::2], weight)
        else:
            x = F.conv2d(low_pass(x, self.resample_filter, 2), weight, stride=2)
        if self.bias is not None:
            x = x + self.bias[:, None, None].to(x.dtype)
        return x * gain if self.linear else F.leaky_relu(x, LEAKY_SLOPE) * (SQRT_2 * gain)


class DiscriminatorBlock(nn.Module):
    """Two convolutions, the second of which halves the size, beside a linear short cut."""

    def __init__(self, inputs: int, outputs: int, img_channels: int | None) -> None:
        super().__init__()
        if img_channels is not None:
            self.fromrgb = Convolution(img_channels, inputs, 1)
        self.conv0 = Convolution(inputs, inputs, 3)
        self.conv1 = Convolution(inputs, outputs, 3, down=True)
        self.skip = Convolution(inputs, outputs, 1, down=True, linear=True, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[N, I, r, r] -> [N, O, r/2, r/2]."""
        short_cut = self.skip(x, gain=SQRT_HALF)
        result: Tensor = short_cut + self.conv1(self.conv0(x), gain=SQRT_HALF)
        return result


class DiscriminatorEpilogue(nn.Module):
    """The 4x4 maps, with how much the batch varies as one more channel, to one number a picture."""

    def __init__(self, channels: int, group_size: int = 4) -> None:
        super().__init__()
        self.group_size = group_size
        self.conv = Convolution(channels + 1, channels, 3)
        self.fc = FullyConnected(channels * 16, channels)
        self.out = FullyConnected(channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, 4, 4] -> [N, 1]."""
        x = self.conv(torch.cat([x, self._batch_spread(x)], dim=1))
        x = F.leaky_relu(self.fc(x.flatten(1)), LEAKY_SLOPE) * SQRT_2
        result: Tensor = self.out(x)
        return result

    def _batch_spread(self, x: Tensor) -> Tensor:
        """The mean deviation over groups of the batch: [N, 1, 4, 4]. Section 3 of arXiv 1710.10196."""
        count = x.shape[0]
        group = math.gcd(count, self.group_size)
        y = x.float().reshape(group, count // group, *x.shape[1:])
        deviation: Tensor = (y.var(dim=0, unbiased=False) + 1e-8).sqrt().mean(dim=(1, 2, 3))  # [N / group]
        spread = deviation.repeat(group)[:, None, None, None].to(x.dtype)
        return spread.expand(count, 1, *x.shape[2:])


class Discriminator(nn.Module):
    """Pictures to realness: positive means "from the data".

    Pictures of a lower resolution enter at the block of that resolution, if it has a way in (`entries`).
    """

    def __init__(
        self,
        resolution: int,
        img_channels: int = 3,
        channel_base: int = 32768,
        channel_max: int = 512,
        entries: Sequence[int] = (),
    ) -> None:
        """entries: lower resolutions at which pictures may enter, for training that grows."""
        super().__init__()
        if resolution < 8 or resolution & (resolution - 1):
            raise ValueError("The resolution must be a power of two of at least 8.")
        self.resolution, self.img_channels = resolution, img_channels
        self.channel_base, self.channel_max = channel_base, channel_max
        self.block_resolutions = [2**power for power in range(int(math.log2(resolution)), 2, -1)]
        self.entries = sorted({resolution, *entries})
        if not set(self.entries) <= set(self.block_resolutions):
            raise ValueError("Pictures can only enter at a power of two from 8 to the resolution.")
        for r in self.block_resolutions:
            inputs, outputs = (channels_at(s, channel_base, channel_max) for s in (r, r // 2))
            first = img_channels if r in self.entries else None
            setattr(self, f"b{r}", DiscriminatorBlock(inputs, outputs, first))
        self.b4 = DiscriminatorEpilogue(channels_at(4, channel_base, channel_max))

    def features(self, pictures: Tensor, fade: Tensor | None = None) -> list[Tensor]:
        """
        [N, img_channels, r, r] in [-1, 1] -> the maps after each block, [N, C, r/2, r/2] to [N, C, 4, 4].

        fade: how much the first block counts (0 to 1); the rest comes from the picture at half the size through
        the next way in, as in section 2 of arXiv 1710.10196.
        """
        r = pictures.shape[-1]
        if r not in self.entries:
            known = ", ".join(str(entry) for entry in self.entries)
            raise ValueError(f"This discriminator judges pictures of {known} pixels, not of {r}.")
        x, maps = getattr(self, f"b{r}").fromrgb(pictures), list[Tensor]()
        while r > 4:
            x = getattr(self, f"b{r}")(x)
            r //= 2
            if fade is not None and not maps and r in self.entries:
                small = getattr(self, f"b{r}").fromrgb(F.avg_pool2d(pictures, 2))
                x = small + (x - small) * fade.to(x.dtype)
            maps.append(x)
        return maps

    def forward(self, pictures: Tensor, fade: Tensor | None = None) -> Tensor:
        """[N, img_channels, r, r] in [-1, 1] -> [N, 1]; `fade` as in `features`."""
        result: Tensor = self.b4(self.features(pictures, fade)[-1])
        return result
