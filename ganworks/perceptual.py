"""How far two pictures look apart, without downloaded weights.

Three views are added up: differences of a Laplacian pyramid (Burt and Adelson 1983), so that all sizes of
detail count alike; SSIM (Wang et al., "Image Quality Assessment", 2004); and, where a generator came with
one, the features of its discriminator (Pan et al., "Exploiting Deep Generative Prior", arXiv 2003.13659,
section 3.2).
"""

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ganworks import checkpoint
from ganworks.devices import choose_device
from ganworks.errors import InvalidInput
from ganworks.info import CRITIC_FILE, MAX_DIM, MAX_RESOLUTION_PX, locate
from ganworks.networks.discriminator import Discriminator

SMALLEST_LEVEL_PX = 8
SSIM_WINDOW_PX = 11
SSIM_SIGMA_PX = 1.5
PEAK_TO_PEAK = 2.0  # pictures are in [-1, 1]


@dataclass(frozen=True)
class Weights:
    """How much each view counts in `Distance`. The defaults were measured: see docs/engine.md."""

    pyramid: float = 1.0
    square: float = 1.0
    ssim: float = 1.0
    critic: float = 0.25


class Critic:
    """
    The feature layers of a discriminator, frozen. `resolution` is the size of the pictures that it looks at.
    """

    def __init__(self, network: Discriminator, device: torch.device) -> None:
        self.network = network.to(device).eval().requires_grad_(False)
        self.resolution, self.device = network.resolution, device

    def features(self, images: Tensor) -> list[Tensor]:
        """[N, 3, resolution, resolution] in [-1, 1] to its feature maps, large to small; gradients flow."""
        if images.ndim != 4 or images.shape[-1] != self.resolution:
            raise InvalidInput(f"The critic looks at pictures of {self.resolution} pixels.")
        return self.network.features(images)


def load_critic(path: Path, device: torch.device) -> Critic:
    """Read critic.safetensors; CheckpointError if it is damaged or something else."""
    header = checkpoint.read_header(path, "critic")
    resolution = header.integer("resolution", 8, MAX_RESOLUTION_PX)
    if resolution & (resolution - 1) or header.integer("img_channels", 1, 64, 3) != 3:
        raise checkpoint.damaged(header.name, "it does not look at square pictures of three colours")
    with torch.device("meta"):
        network = Discriminator(
            resolution,
            channel_base=header.integer("channel_base", 1, 2**24),
            channel_max=header.integer("channel_max", 1, MAX_DIM),
        )
    del network.b4  # the layers that only give the score are not in the file
    checkpoint.check_shapes(header, {key: tuple(value.shape) for key, value in network.state_dict().items()})
    network.load_state_dict(checkpoint.read_tensors(path, header), assign=True)
    return Critic(network, device)


def open_critic(path_or_name: str | Path, device: str = "cpu") -> Critic:
    """A critic from its file, its generator's folder, or a starter's name."""
    return load_critic(locate(path_or_name, CRITIC_FILE), choose_device(device))


class Distance:
    """Distances from one target. What depends on the target alone is computed once."""

    def __init__(self, target: Tensor, critic: Critic | None = None, weights: Weights | None = None) -> None:
        """target: [1, 3, H, W] in [-1, 1]. critic: used only if it looks at pictures of this size."""
        self.target, self.weights = target, weights or Weights()
        self.critic = critic if critic is not None and critic.resolution == target.shape[-1] else None
        with torch.no_grad():
            self.pyramid = laplacian_pyramid(target)
            self.features = self.critic.features(target) if self.critic and self.weights.critic else []

    def __call__(self, images: Tensor) -> Tensor:
        """[N, 3, H, W] to [N]: 0 for the target itself; about 0.1 is close, and 1 is another picture."""
        weights = self.weights
        total = weights.pyramid * self._pyramid_distance(images)
        if weights.square:
            total = total + weights.square * (images - self.target).square().mean(dim=(1, 2, 3))
        if weights.ssim:
            total = total + weights.ssim * (1 - ssim(images, self.target))
        if self.features:
            total = total + weights.critic * self._critic_distance(images)
        return total

    def _pyramid_distance(self, images: Tensor) -> Tensor:
        levels = zip(laplacian_pyramid(images), self.pyramid, strict=True)
        return torch.stack([(a - b).abs().mean(dim=(1, 2, 3)) for a, b in levels]).sum(dim=0)

    def _critic_distance(self, images: Tensor) -> Tensor:
        if self.critic is None:
            raise InvalidInput("This distance has no critic.")
        pairs = zip(self.critic.features(images), self.features, strict=True)
        return torch.stack(
            [(a - b).abs().mean(dim=(1, 2, 3)) / b.abs().mean().clamp(min=1e-6) for a, b in pairs]
        ).mean(dim=0)


def laplacian_pyramid(images: Tensor) -> list[Tensor]:
    """
    [N, 3, H, W] to the detail of each size (what the next smaller level lacks), then the smallest picture.
    """
    levels = []
    while min(images.shape[-2:]) > SMALLEST_LEVEL_PX:
        small = F.avg_pool2d(images, 2)
        levels.append(
            images - F.interpolate(small, size=images.shape[-2:], mode="bilinear", align_corners=False)
        )
        images = small
    return [*levels, images]


def ssim(images: Tensor, target: Tensor) -> Tensor:
    """Structural similarity [N] of [N, 3, H, W] with [1 or N, 3, H, W], both in [-1, 1]; 1 means the same."""
    images, target = images + 1, target.expand_as(images) + 1  # the formula is for values from 0 up
    both = _blur(torch.cat([images, target, images * images, target * target, images * target]))
    mean_a, mean_b, square_a, square_b, product = both.chunk(5)
    variance_a, variance_b = square_a - mean_a**2, square_b - mean_b**2
    covariance = product - mean_a * mean_b
    c1, c2 = (0.01 * PEAK_TO_PEAK) ** 2, (0.03 * PEAK_TO_PEAK) ** 2
    likeness = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    structure = (2 * covariance + c2) / (variance_a + variance_b + c2)
    return (likeness * structure).mean(dim=(1, 2, 3))


def psnr(images: Tensor, target: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB [N] of pictures in [-1, 1], clamped to that range first."""
    error = (images.clamp(-1, 1) - target).square().mean(dim=(1, 2, 3))
    return 10 * torch.log10(PEAK_TO_PEAK**2 / error.clamp(min=1e-10))


def _blur(images: Tensor) -> Tensor:
    """A Gaussian window over each channel, without padding (a smaller one where the picture is smaller)."""
    window = min(SSIM_WINDOW_PX, *images.shape[-2:])
    offsets = torch.arange(window, device=images.device) - (window - 1) / 2
    taps = torch.exp(-(offsets**2) / (2 * SSIM_SIGMA_PX**2))
    taps = (taps / taps.sum()).to(images.dtype)
    channels = images.shape[1]
    across = taps.view(1, 1, 1, -1).repeat(channels, 1, 1, 1)
    return F.conv2d(F.conv2d(images, across, groups=channels), across.transpose(2, 3), groups=channels)
