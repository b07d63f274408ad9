"""Muon for the kernels of convolutions, Adam for everything else, behind the face of one optimizer.

Muon (Jordan et al., 2024, https://kellerjordan.github.io/posts/muon/) replaces each matrix-shaped update by the
nearest matrix whose singular values are all about 1, so that directions that gradients seldom show are learned as
fast as the others. A kernel [out, in, k, k] counts as a matrix [out, in k k]. On the paired regression of the
starters one step of it brings as much as one and a half of Adam, for 7 % more time (docs/training.md).

torch has an optimizer of this name too, which takes matrices only.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

MOMENTUM = 0.95
ITERATIONS = 5
# The odd polynomial a x + b x^3 + c x^5, whose iterates bring singular values in (0, 1] into about (0.7, 1.2).
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ADAM_LIKE = 0.2  # the root mean square of a usual Adam update, of which this keeps the scale


class Muon(torch.optim.Optimizer):
    """Stochastic gradient descent with Nesterov's momentum and orthogonalised updates.

    Takes parameters of at least two dimensions; the first one counts rows. Learning rates mean what they mean to
    Adam: an update's root mean square is 0.2 times the rate.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float) -> None:
        super().__init__(list(parameters), {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # torch allows it to give back a loss
        """Change every parameter that has a gradient. There is no closure to call."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["momentum"] = torch.zeros_like(parameter)
                momentum = state["momentum"].lerp_(parameter.grad, 1 - MOMENTUM)
                update = orthogonalised(parameter.grad.lerp(momentum, MOMENTUM).flatten(1))
                scale = ADAM_LIKE * math.sqrt(max(update.shape))
                parameter.add_(update.view(parameter.shape), alpha=-group["lr"] * scale)


def orthogonalised(matrix: Tensor) -> Tensor:
    """A matrix [M, N] with the same singular vectors and singular values of about 1 (0 stays 0).

    Newton and Schulz's iteration with the coefficients of Muon's authors.
    """
    a, b, c = COEFFICIENTS
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.t() if tall else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.t()
        x = a * x + (b * gram + c * gram @ gram) @ x
    result: Tensor = x.t() if tall else x
    return result


def is_kernel(parameter: Tensor) -> bool:
    """Whether a parameter is the kernel of a hidden convolution: those to and from colors are left to Adam."""
    return parameter.dim() == 4 and parameter.shape[-1] > 1 and min(parameter.shape[:2]) > 3
