"""The x4 upscaler: a small residual convolution network that works at the low resolution.

All its work is done on the small picture and the last layer is unfolded into 4x4 pixels ("sub-pixel
convolution", Shi et al. 2016, arXiv 1609.05158). It learns only what bicubic enlargement misses, as in VDSR
(Kim et al. 2016, arXiv 1511.04587). Residual blocks have no normalisation (EDSR, Lim et al. 2017, arXiv
1707.02921). Every layer is local, so a picture can be cut into tiles without a seam: see `reach`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BICUBIC_REACH_PX = 2
"""How far bicubic interpolation looks, in pixels of the small picture."""


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a skip: [N, C, H, W] -> [N, C, H, W]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(channels, channels, 3, padding=1)
        self.act = nn.PReLU(channels, init=0.1)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.kaiming_normal_(self.conv0.weight, a=0.1)
        nn.init.kaiming_normal_(self.conv1.weight, a=0.1)
        self.conv1.weight.data.mul_(0.2)  # a block starts as nearly nothing, so that depth does no harm

    def forward(self, x: Tensor) -> Tensor:
        change: Tensor = self.conv1(self.act(self.conv0(x)))
        return x + change


class UpscalerNetwork(nn.Module):
    """[N, 3, H, W] in [-1, 1] -> [N, 3, scale*H, scale*W], nominally in [-1, 1] (not clamped).

    `channels` is the width, `blocks` the number of residual blocks. An untrained network is exactly bicubic
    enlargement, because its last layer starts at zero.
    """

    def __init__(self, channels: int = 64, blocks: int = 8, scale: int = 4) -> None:
        super().__init__()
        self.channels = channels
        self.num_blocks = blocks
        self.scale = scale
        self.head = nn.Conv2d(3, channels, 3, padding=1)
        self.blocks = nn.ModuleList(ResidualBlock(channels) for _ in range(blocks))
        self.merge = nn.Conv2d(channels, channels, 3, padding=1)
        self.tail = nn.Conv2d(channels, 3 * scale * scale, 3, padding=1)
        nn.init.zeros_(self.tail.weight)
        self.tail.bias = nn.Parameter(torch.zeros(3 * scale * scale))

    @property
    def reach(self) -> int:
        """How many pixels of the small picture around a pixel can change what is drawn for it."""
        convolutions = 3 + 2 * self.num_blocks
        return max(convolutions, BICUBIC_REACH_PX)

    def use_channels_last(self) -> None:
        """Arrange the weights so that a pixel's channels lie together: a third faster on a CPU."""
        for parameter in self.parameters():
            if parameter.ndim == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        first = self.head(x)  # [N, C, H, W]
        features = first
        for block in self.blocks:
            features = block(features)  # [N, C, H, W]
        features = first + self.merge(features)
        detail = F.pixel_shuffle(self.tail(features), self.scale)  # [N, 3, 4H, 4W]
        smooth = F.interpolate(x, scale_factor=float(self.scale), mode="bicubic", align_corners=False)
        return smooth + detail
