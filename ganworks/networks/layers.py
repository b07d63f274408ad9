"""What the StyleGAN2 generator and discriminator share: the linear layer, and the low-pass filter that
resizes.

Source: Karras et al., "A Style-Based Generator Architecture" (arXiv 1812.04948), and "Progressive Growing of
GANs" (arXiv 1710.10196), section 4.1, for the equalised learning rate.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEAKY_SLOPE = 0.2
SQRT_2 = math.sqrt(2)


def channels_at(resolution: int, channel_base: int, channel_max: int) -> int:
    """The width of the feature maps at a resolution."""
    return min(channel_base // resolution, channel_max)


def blur_filter() -> Tensor:
    """The 4x4 binomial low-pass filter, of sum 1."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    return torch.outer(taps, taps) / 64


def normalize(x: Tensor) -> Tensor:
    """Scale each row of [N, D] to a mean square of 1."""
    return x * (x.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()


def filter_after_transpose(x: Tensor, taps: Tensor) -> Tensor:
    """Low-pass [N, C, 2H+1, 2W+1] to [N, C, 2H, 2W], with gain 4 for the zeros that the stride put in."""
    kernel = (taps * 4).to(x.dtype).repeat(x.shape[1], 1, 1, 1)
    return F.conv2d(x, kernel, padding=1, groups=x.shape[1])


def upsample_image(x: Tensor, taps: Tensor) -> Tensor:
    """Double the size of [N, C, H, W] with zero insertion and the low-pass filter."""
    kernel = (taps * 4).to(x.dtype).repeat(x.shape[1], 1, 1, 1)
    return F.conv_transpose2d(x, kernel, stride=2, padding=1, groups=x.shape[1])


class FullyConnected(nn.Module):
    """A linear layer with equalised learning rate: weights are drawn from N(0, 1) and scaled when used."""

    def __init__(self, inputs: int, outputs: int, *, lr_multiplier: float = 1.0, bias: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / lr_multiplier)
        self.bias = nn.Parameter(torch.full((outputs,), float(bias)))
        self.weight_gain = lr_multiplier / math.sqrt(inputs)
        self.bias_gain = lr_multiplier

    def forward(self, x: Tensor) -> Tensor:  # [N, inputs] -> [N, outputs]
        return F.linear(x, self.weight * self.weight_gain, self.bias * self.bias_gain)
