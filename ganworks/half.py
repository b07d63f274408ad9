"""
Drafts in half precision, where the processor multiplies such numbers quickly.

A picture drawn in bfloat16 differs from the exact one less than a JPEG does: by 49 dB with the portraits starter, and with
random weights at 1024 px, of the range of the picture. So it shows more than an exact picture of fewer pixels, in the
same time.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ganworks import effort
from ganworks.devices import has_quick_bfloat16
from ganworks.networks import stylegan2

TIMES_QUICKER = 1.6


class HalfPrecision:
    """A frozen StyleGAN2 network, copied to bfloat16 when it first draws."""

    def __init__(self, network: stylegan2.Generator) -> None:
        self.network = network
        most = int(effort.MAX_DRAFT_MULTIPLICATIONS * TIMES_QUICKER)
        self.resolution = effort.draft_resolution(network, most)
        self._synthesis: stylegan2.SynthesisNetwork | None = None
        self._lock = threading.Lock()

    @classmethod
    def of(cls, network: nn.Module, device: torch.device) -> HalfPrecision | None:
        """None if the whole picture is quick anyway, or half precision is not. StyleGAN3 and ALIS need sines to be exact."""
        if not isinstance(network, stylegan2.Generator) or not has_quick_bfloat16(device):
            return None
        slow = effort.multiplications(network) > effort.MAX_DRAFT_MULTIPLICATIONS
        return cls(network) if slow else None

    def draw(
        self,
        ws: Tensor,
        noise_mode: str = "const",
        noise: Mapping[str, Tensor] | None = None,
        random: torch.Generator | None = None,
        transform: Tensor | None = None,
        resolution: int | None = None,
    ) -> Tensor:
        """As `stylegan2.Generator.draw`."""
        with self._lock:
            if self._synthesis is None:
                self._synthesis = copy.deepcopy(self.network.synthesis).bfloat16()
        pictures: Tensor = self._synthesis(ws.bfloat16(), noise_mode, noise, random, resolution)
        return pictures.float()
