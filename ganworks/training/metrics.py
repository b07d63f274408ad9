"""How good a trained generator is: paired PSNR, and a distance between sets of pictures."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ganworks.perceptual import Critic

from .losses import PATCH, laplacian_levels

PATCHES_PER_PICTURE = 64
PROJECTIONS = 256


def psnr(pictures: Tensor, targets: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each pair in dB; [N, 3, H, W] in [-1, 1] -> [N]."""
    error = (pictures.clamp(-1, 1) - targets).square().mean(dim=(1, 2, 3))
    return 10 * torch.log10(4 / error.clamp(min=1e-10))


def sliced_wasserstein(first: Tensor, second: Tensor, seed: int = 0) -> dict[int, float]:
    """The sliced Wasserstein distance of Laplacian-pyramid patches by resolution, times 1000.

    Source: Karras et al., "Progressive Growing of GANs" (arXiv 1710.10196), section 5: 7x7 patches,
    normalised by channel, compared along random directions. Lower is better. Both sets are [N, 3, H, H]
    in [-1, 1] and of one size.
    """
    result = {}
    for a, b in zip(laplacian_levels(first), laplacian_levels(second), strict=True):
        random = torch.Generator().manual_seed(seed)
        x, y = _patches(a, random), _patches(b, random)
        directions = F.normalize(torch.randn(x.shape[1], PROJECTIONS, generator=random), dim=0)
        distance = (torch.sort(x @ directions, dim=0)[0] - torch.sort(y @ directions, dim=0)[0]).abs().mean()
        result[a.shape[-1]] = 1000 * distance.item()
    return result


def _patches(pictures: Tensor, random: torch.Generator) -> Tensor:
    """Random patches, normalised by channel: [N * patches, 3 * 49]."""
    count, channels, size, _ = pictures.shape
    corners = torch.randint(0, size - PATCH + 1, (2, count, PATCHES_PER_PICTURE), generator=random)
    offset = torch.arange(PATCH)
    rows = (corners[0][..., None] + offset)[..., :, None]  # [N, P, 7, 1]
    columns = (corners[1][..., None] + offset)[..., None, :]  # [N, P, 1, 7]
    picture = torch.arange(count)[:, None, None, None]
    patches = pictures.permute(0, 2, 3, 1)[picture, rows, columns]  # [N, P, 7, 7, 3]
    patches = patches.flatten(0, 1)
    patches = (patches - patches.mean(dim=(0, 1, 2))) / (patches.std(dim=(0, 1, 2)) + 1e-8)
    numbers = channels * PATCH * PATCH
    return patches.reshape(count * PATCHES_PER_PICTURE, numbers) / math.sqrt(numbers)


def precision_and_recall(drawn: Tensor, real: Tensor, neighbors: int = 3) -> tuple[float, float]:
    """How many drawn pictures look real, and how much of what is real is drawn: both 0 to 1.

    Source: Kynkäänniemi et al. (arXiv 1904.06991), section 3: a picture lies in a set if it is nearer to a member than
    that member's k-th neighbor of its own set is. drawn and real: features [N, D], of the same network.
    """
    return _inside(drawn, real, neighbors), _inside(real, drawn, neighbors)


def _inside(features: Tensor, members: Tensor, neighbors: int) -> float:
    """The share of features [N, D] that lie within the reach of some of the members [M, D]."""
    own = torch.cdist(members, members)
    reach = own.kthvalue(neighbors + 1, dim=1).values  # the nearest is the member itself
    return float((torch.cdist(features, members) <= reach[None, :]).any(dim=1).float().mean())


def critic_features(critic: Critic, pictures: Tensor) -> Tensor:
    """[N, 3, H, H] in [-1, 1] to [N, D]: the deepest features of a discriminator, averaged over quarters."""
    with torch.no_grad():
        parts = [critic.features(part)[-1] for part in torch.split(pictures, 32)]
    return F.adaptive_avg_pool2d(torch.cat(parts), 2).flatten(1)


def nearest_differences(pictures: Tensor, side_px: int = 32) -> Tensor:
    """How far each picture is from the one most like it: root mean squares [N] in [0, 2], at `side_px`."""
    flat = F.adaptive_avg_pool2d(pictures, side_px).flatten(1)
    distances = torch.cdist(flat, flat).fill_diagonal_(math.inf)
    return distances.min(dim=1).values / math.sqrt(flat.shape[1])
