"""Edits: steps along principal components on a range of style rows.

Source: Härkönen et al., "GANSpace" (arXiv 2004.02546), section 2.2: w' = w + strength * sigma * component,
applied to the rows from `start` up to, and not including, `end`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from ganworks.components import Basis
from ganworks.errors import BasisMismatch, InvalidInput


@dataclass(frozen=True)
class Edit:
    """
    One slider: `component` of `basis` (0 is the strongest), `layers` half-open, `strength` in sigma: 0
    changes nothing. `layers` None means all rows.
    """

    basis: Basis
    component: int
    layers: tuple[int, int] | None = None
    strength: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.component < len(self.basis):
            raise InvalidInput(
                f"There is no component {self.component}: choose one from 0 to {len(self.basis) - 1}."
            )
        if not math.isfinite(self.strength):
            raise InvalidInput("The strength of an edit must be a finite number.")
        if self.layers is not None and not 0 <= self.layers[0] < self.layers[1]:
            raise InvalidInput("The layers of an edit must be a start and a later end.")


def apply_edits(ws: Tensor, edits: Sequence[Edit]) -> Tensor:
    """
    ws: [N, num_ws, w_dim], left as it is. Returns a new tensor of the same shape. The order of the edits does
    not matter, since they add up.
    """
    edited = ws.clone()
    for edit in edits:
        if edit.basis.mean.shape[0] != ws.shape[2]:
            raise BasisMismatch(
                "These directions belong to another generator. Choose directions of this one."
            )
        start, end = edit.layers or (0, ws.shape[1])
        if end > ws.shape[1]:
            raise InvalidInput(f"The layers of an edit must lie between 0 and {ws.shape[1]}.")
        edited[:, start:end] += edit.strength * edit.basis.step(edit.component).to(ws)
    return edited
