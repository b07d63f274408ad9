"""What makes an upscaler crisp: a judge that learns to tell its pictures from true ones, and what the judge wishes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils import parametrize

from ganworks.networks.judge import MULTIPLE_PX, UpscalerJudge

NORM_DECAY = 0.95
LEAST_SIDE_PX = 2 * MULTIPLE_PX - 1
"""Pictures must be so large that a part of them can be judged wherever it begins."""


@dataclass(frozen=True)
class Verdict:
    """`wish` [N, 3, H, W]: the gradient by which the judged pictures would look truer, of about the length 1. The others
    are losses: how well it was fooled, how unlike its maps of the pictures are, and how well it told them apart."""

    wish: Tensor
    fooling: float
    unlikeness: float
    judging: float


class Judge:
    """A discriminator with its optimiser, which learns as it judges.

    Found and true picture come in pairs, and each pixel is judged by how much truer the true one looks (relativistic:
    Jolicoeur-Martineau 2018, arXiv 1807.00734), so that what the picture shows does not matter. The maps stand in for
    those of a network that was trained on photographs (feature matching: Salimans et al. 2016, arXiv 1606.03498).
    """

    def __init__(self, channels: int, learning_rate: float, likeness: float) -> None:
        self.network = UpscalerJudge(channels)
        self.likeness = likeness
        self.optimiser = torch.optim.Adam(
            self.network.parameters(), lr=learning_rate, betas=(0.9, 0.99), fused=True
        )
        self._norm = 0.0  # running mean of the wish's length; 0 before the first

    def judge(self, found: Tensor, truth: Tensor, beginning: tuple[int, int] = (0, 0)) -> Verdict:
        """Judge pairs of [N, 3, H, W] in [-1, 1], and learn from them. No gradient flows into `found`.

        Both are looked at from `beginning` on (y, x; less than MULTIPLE_PX). Let it vary: else the strides of the judge
        lie in step with the pixels that come from one small pixel, and what it sees in them becomes a grid.
        """
        y, x = beginning
        height, width = ((side - MULTIPLE_PX + 1) // MULTIPLE_PX * MULTIPLE_PX for side in found.shape[2:])
        leaf = found.detach().requires_grad_()
        with parametrize.cached():
            scores, maps = self.network(leaf[:, :, y : y + height, x : x + width])
            true_scores, true_maps = self.network(truth[:, :, y : y + height, x : x + width])
            fooling = F.softplus(true_scores.detach() - scores).mean()
            unlikeness = _unlikeness(maps, true_maps)
            (wish,) = torch.autograd.grad(fooling + self.likeness * unlikeness, leaf, retain_graph=True)
            judging = F.softplus(scores - true_scores).mean()
            self.optimiser.zero_grad()
            judging.backward(inputs=list(self.network.parameters()))  # type: ignore[no-untyped-call]
        self.optimiser.step()
        norm = float(wish.norm())
        self._norm = NORM_DECAY * self._norm + (1 - NORM_DECAY) * norm if self._norm else norm
        return Verdict(
            wish=wish / max(self._norm, 1e-12),
            fooling=float(fooling.detach()),
            unlikeness=float(unlikeness.detach()),
            judging=float(judging.detach()),
        )

    def state(self) -> dict[str, Any]:
        """All that it is, for a file."""
        return {
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "norm": self._norm,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Become what `state` told."""
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self._norm = float(state["norm"])


def _unlikeness(maps: list[Tensor], true_maps: list[Tensor]) -> Tensor:
    """The mean over maps of their absolute difference, in units of the true maps' own size."""
    each = [
        (one - other.detach()).abs().mean() / (other.detach().abs().mean() + 1e-6)
        for one, other in zip(maps, true_maps, strict=True)
    ]
    return torch.stack(each).mean()
