"""Small networks with random weights, of spandrel's own classes, and the files that trainers would make of them."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ganworks.upscalers.vision import spandrel

spandrel()  # first, because it makes torchvision loadable

from spandrel.architectures.Compact import Compact  # noqa: E402
from spandrel.architectures.DnCNN import DnCNN  # noqa: E402
from spandrel.architectures.ESRGAN import ESRGAN  # noqa: E402
from spandrel.architectures.RCAN import RCAN  # noqa: E402
from spandrel.architectures.SwinIR import SwinIR  # noqa: E402


def compact() -> nn.Module:
    torch.manual_seed(0)
    return _stronger(Compact(num_feat=16, num_conv=6, upscale=2), 1.6)


def esrgan(scale: int = 4) -> nn.Module:
    torch.manual_seed(0)
    return _stronger(ESRGAN(num_filters=8, num_blocks=2, scale=scale), 1.6)


def swinir() -> nn.Module:
    torch.manual_seed(0)
    network = SwinIR(
        img_size=16,
        depths=[2, 2],
        num_heads=[2, 2],
        embed_dim=16,
        window_size=8,
        upscale=2,
        upsampler="pixelshuffledirect",
    )
    return _stronger(network, 1.3)


def with_a_view_of_the_whole() -> nn.Module:
    """RCAN weighs its channels by their mean over the whole picture."""
    torch.manual_seed(0)
    network: nn.Module = RCAN(scale=2, n_resgroups=1, n_resblocks=1, n_feats=16, reduction=4)
    for parameter in network.parameters():
        if parameter.ndim == 4:
            nn.init.normal_(parameter, std=0.3)
    return network.eval().requires_grad_(False)


def of_grey_pictures() -> nn.Module:
    network: nn.Module = DnCNN(in_nc=1, out_nc=1, nc=8, nb=5)
    return network


NETWORKS: dict[str, Callable[[], nn.Module]] = {"Compact": compact, "ESRGAN": esrgan, "SwinIR": swinir}
SCALES = {"Compact": 2, "ESRGAN": 4, "SwinIR": 2}


def state(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.contiguous() for name, value in network.state_dict().items()}


def _stronger(network: Any, factor: float) -> nn.Module:
    """A fresh network hardly looks beyond its middle pixel; with larger weights it does."""
    for parameter in network.parameters():
        if parameter.ndim > 1:
            fan = parameter[0].numel()
            nn.init.normal_(parameter, std=factor / fan**0.5)
    ready: nn.Module = network.eval().requires_grad_(False)
    return ready
