"""The discriminator of the crisp upscalers: it judges every pixel, and its maps tell how alike two pictures look.

A U-Net with spectral normalisation, as in Real-ESRGAN (Wang et al. 2021, arXiv 2107.10833, section 3.4; Schonfeld et
al. 2020, arXiv 2002.12655; Miyato et al. 2018, arXiv 1802.05957), made small: it begins at half the size, where each
2x2 pixels are one position, and adds instead of stacking what the way down kept.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from ganworks.networks.layers import LEAKY_SLOPE

MULTIPLE_PX = 8
"""Sides of pictures must be divisible by it."""


class UpscalerJudge(nn.Module):
    """[N, 3, H, W] in [-1, 1] -> the realness of each pixel, [N, 1, H, W], and the maps that it follows from."""

    def __init__(self, channels: int = 24) -> None:
        super().__init__()
        c = channels
        self.enter = spectral_norm(nn.Conv2d(12, c, 3, padding=1))
        self.down0 = spectral_norm(nn.Conv2d(c, 2 * c, 4, stride=2, padding=1, bias=False))
        self.down1 = spectral_norm(nn.Conv2d(2 * c, 4 * c, 4, stride=2, padding=1, bias=False))
        self.up1 = spectral_norm(nn.Conv2d(4 * c, 2 * c, 1, bias=False))
        self.mix1 = spectral_norm(nn.Conv2d(2 * c, 2 * c, 3, padding=1, bias=False))
        self.up0 = spectral_norm(nn.Conv2d(2 * c, c, 1, bias=False))
        self.mix0 = spectral_norm(nn.Conv2d(c, c, 3, padding=1, bias=False))
        self.leave = nn.Conv2d(c, 4, 3, padding=1)
        nn.init.zeros_(
            self.leave.weight
        )  # it begins without an opinion, or its whims would be painted as a grid

    def forward(self, pictures: Tensor) -> tuple[Tensor, list[Tensor]]:
        fine = _rectified(self.enter(F.pixel_unshuffle(pictures, 2)))  # [N, C, H/2, W/2]
        middle = _rectified(self.down0(fine))  # [N, 2C, H/4, W/4]
        coarse = _rectified(self.down1(middle))  # [N, 4C, H/8, W/8]
        back = _rectified(self.mix1(_doubled(self.up1(coarse)) + middle))
        whole = _rectified(self.mix0(_doubled(self.up0(back)) + fine))
        scores = F.pixel_shuffle(self.leave(whole), 2)  # [N, 1, H, W]
        return scores, [fine, middle, coarse, back, whole]


def _rectified(x: Tensor) -> Tensor:
    return F.leaky_relu(x, LEAKY_SLOPE)


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
