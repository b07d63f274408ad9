"""What training minimises. All functions take pictures [N, 3, r, r] in [-1, 1] and return a scalar."""

import math
from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from ganworks.networks.stylegan2 import MappingNetwork

PYRAMID_LEVELS = 3
GRADIENT_WEIGHT = 1.0
PATCH = 7
PATCHES = 96  # of each picture and level
DIRECTIONS = 48


def reconstruction(
    pictures: Tensor, targets: Tensor, masks: Tensor, mask_weights: tuple[float, float]
) -> Tensor:
    """Absolute differences over three scales, and of slopes at the finest; what the masks cover counts more.

    masks: [N, 2, r, r] in [0, 1], each with its weight.
    """
    weight = 1 + mask_weights[0] * masks[:, :1] + mask_weights[1] * masks[:, 1:]
    weight = weight / weight.mean()
    total = GRADIENT_WEIGHT * _slopes(pictures, targets, weight)
    for level in range(PYRAMID_LEVELS):
        if level:
            pictures, targets, weight = (F.avg_pool2d(x, 2) for x in (pictures, targets, weight))
        total = total + ((pictures - targets).abs() * weight).mean()
    return total


def _slopes(pictures: Tensor, targets: Tensor, weight: Tensor) -> Tensor:
    """Absolute differences of neighboring pixels' differences: edges in the right place, and as sharp."""
    difference = pictures - targets
    across = (difference[:, :, :, 1:] - difference[:, :, :, :-1]).abs() * weight[:, :, :, 1:]
    down = (difference[:, :, 1:] - difference[:, :, :-1]).abs() * weight[:, :, 1:]
    return across.mean() + down.mean()


def texture(pictures: Tensor, targets: Tensor, random: torch.Generator) -> Tensor:
    """How much the details of pictures differ from those of their targets, wherever in the picture they are.

    Regression answers doubt about an edge's place with blur. This asks only that a batch has the same edges:
    7x7 patches of each level of a Laplacian pyramid, in units of the targets' spread, are compared along random
    directions, sorted (a sliced Wasserstein distance of order 1, as in Heitz et al., arXiv 2006.07229, but of pixels).
    The patches come from the same places of both, so that the two have the same content.
    """
    total = pictures.new_zeros([])
    for drawn, real in zip(laplacian_levels(pictures), laplacian_levels(targets), strict=True):
        count, channels, side, _ = real.shape
        rows, columns = torch.randint(0, side - PATCH + 1, (2, count, PATCHES), generator=random)
        places = (torch.arange(count)[:, None], rows, columns)
        x, y = (_patches_at(level, places) for level in (drawn, real))
        spread = real.std(dim=(0, 2, 3)).repeat_interleave(PATCH**2) + 1e-4
        directions = torch.randn(channels * PATCH**2, DIRECTIONS, generator=random)
        directions = (F.normalize(directions, dim=0)).to(real.device) / spread[:, None]
        difference = torch.sort(x @ directions, dim=0)[0] - torch.sort(y @ directions, dim=0)[0]
        total = total + difference.abs().mean()
    return total


def laplacian_levels(pictures: Tensor, smallest: int = 16) -> Iterable[Tensor]:
    """Each level is what its next smaller level lacks; the last is the small picture itself."""
    while pictures.shape[-1] > smallest:
        small = F.avg_pool2d(pictures, 2)
        yield pictures - F.interpolate(small, scale_factor=2, mode="bilinear", align_corners=False)
        pictures = small
    yield pictures


def _patches_at(level: Tensor, places: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """The patches whose upper left corners are at (picture, row, column): [N, 3 * 49].

    By the numbers of their values in memory: the slope of `unfold` would fill a copy of all patches that there are.
    """
    pictures, rows, columns = (index.expand_as(places[1]).flatten()[:, None, None, None] for index in places)
    channels, side = level.shape[1:3]
    channel = torch.arange(channels)[:, None, None]
    down, across = torch.arange(PATCH)[:, None], torch.arange(PATCH)
    numbers = ((pictures * channels + channel) * side + rows + down) * side + columns + across
    values = level.flatten().index_select(0, numbers.flatten().to(level.device))
    return values.view(len(numbers), -1)


def generator_adversarial(fake_scores: Tensor) -> Tensor:
    """The non-saturating loss of Goodfellow et al. (arXiv 1406.2661), section 3."""
    return F.softplus(-fake_scores).mean()


def discriminator_adversarial(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """The discriminator's side of the non-saturating loss."""
    return F.softplus(-real_scores).mean() + F.softplus(fake_scores).mean()


def r1_penalty(discriminator: Callable[[Tensor], Tensor], real: Tensor) -> Tensor:
    """The squared gradient of the scores at real pictures: Mescheder et al. (arXiv 1801.04406), equation 9."""
    real = real.detach().requires_grad_()
    scores = discriminator(real)
    (gradient,) = torch.autograd.grad(scores.sum(), real, create_graph=True)
    return gradient.square().sum(dim=(1, 2, 3)).mean()


def path_lengths(ws: Tensor, pictures: Tensor, noise: Tensor) -> Tensor:
    """How far a picture moves for a step in w: [N], to be kept near its running mean.

    Source: Karras et al., arXiv 1912.04958, section 3.2 and appendix B. ws: [N, L, W], which the pictures [N, 3, r, r]
    were drawn from; noise: normal, of the pictures' shape.
    """
    scaled = noise / math.sqrt(pictures.shape[2] * pictures.shape[3])
    (gradient,) = torch.autograd.grad((pictures * scaled).sum(), ws, create_graph=True)
    lengths: Tensor = gradient.square().sum(dim=2).mean(dim=1).sqrt()
    return lengths


def factor_alignment(mapping: MappingNetwork, z: Tensor, lengths: Tensor) -> Tensor:
    """How far the mapping is from giving each latent factor its own direction in w.

    The linear part of w(z), C = E[w z^T], should have orthogonal columns of the given `lengths` [z_dim].
    Principal components of w then follow single factors, those with the longest columns first.
    z: [N, z_dim], N >> z_dim.
    """
    z = z * (z.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()
    w = mapping.map_to_w(z)
    z = z - z.mean(dim=0)
    spread = z.t() @ z / len(z)
    columns = torch.linalg.solve(spread, z.t() @ (w - w.mean(dim=0)) / len(z))  # [z_dim, w_dim]
    gram = columns @ columns.t()
    scale = lengths[:, None] * lengths[None, :]
    relative: Tensor = (gram - torch.diag(lengths.square())) / scale
    return relative.square().mean()
