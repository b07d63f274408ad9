"""A foreign network: what spandrel recognises, in the form that `superresolution` enlarges with, and how far it sees."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganworks.importing.refusal import Refused
from ganworks.upscalers.findings import MAX_SCALE, PURPOSES, Findings
from ganworks.upscalers.vision import spandrel

OVERLAPS_PX = (8, 16, 24, 32, 48, 64)
INVISIBLE_LEVELS = 0.5  # of 255: rounding hides it
TOLERABLE_LEVELS = 2.0  # of 255, where the largest overlap does no better
MAX_ALIGN_PX = 64
TILE_PX, MAX_WINDOW_PX = 128, 1024  # of the small picture, and of the large one
STRIP_HEIGHT_PX = 48
CHOOSE = "Choose a network that enlarges or restores pictures, such as Real-ESRGAN's or SwinIR's."


class ForeignNetwork(nn.Module):
    """[N, 3, H, W] in [-1, 1] -> [N, 3, scale*H, scale*W] in [-1, 1], of any height and width."""

    def __init__(self, descriptor: Any, findings: Findings) -> None:
        super().__init__()
        self.findings = findings
        self.scale = findings.scale
        self.reach = findings.overlap_px
        self.supports_half: bool = descriptor.supports_half
        self.model: nn.Module = descriptor.model
        self._descriptor = descriptor
        self._lock = threading.Lock()  # some keep what they computed for the size of the last picture

    @property
    def tile_px(self) -> int:
        """Side of a tile in pixels of the small picture, so that windows stay within `MAX_WINDOW_PX`."""
        align = self.findings.align_px
        most = min(TILE_PX, MAX_WINDOW_PX // self.scale - 2 * self.reach)
        return max(most // align, 1) * align

    def forward(self, x: Tensor) -> Tensor:
        with self._lock:
            found: Tensor = self._descriptor(
                (x + 1) / 2
            )  # pads what is too small, and cuts the padding off again
        return found * 2 - 1


def stored(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors as our files hold them, in floating point. Refused if that would change a number."""
    found: dict[str, Tensor] = {}
    for name, tensor in state.items():
        value = tensor.detach()
        if not value.is_floating_point():
            if value.is_complex() or value.is_quantized or (value.numel() and int(value.abs().max()) > 2**24):
                raise Refused(f"the tensor {name[:80]!r} is of a type that is not known here")
            value = value.to(torch.float32)
        elif value.dtype not in (torch.float16, torch.bfloat16, torch.float32):
            value = value.to(torch.float32)
        if not bool(torch.isfinite(value).all()):
            raise Refused(f"the tensor {name[:80]!r} holds numbers that are not finite")
        found[name] = value.contiguous()
    return found


def recognise(tensors: Mapping[str, Tensor]) -> Any:
    """spandrel's descriptor of the network that these tensors (of `stored`) belong to. Refused if there is none."""
    library = spandrel()
    state = {name: tensor.to(torch.float32) for name, tensor in tensors.items()}
    try:
        descriptor = library.ModelLoader().load_from_state_dict(state)
    except library.UnsupportedModelError as error:
        raise Refused("it holds no network that is known here", CHOOSE) from error
    except MemoryError:
        raise
    except Exception as error:
        raise Refused("its tensors do not fit the network that they seem to belong to") from error
    _check(library, descriptor)
    descriptor.model.eval().requires_grad_(False)
    return descriptor


def _check(library: Any, descriptor: Any) -> None:
    name = descriptor.architecture.name
    if not isinstance(descriptor, library.ImageModelDescriptor) or descriptor.purpose not in PURPOSES:
        raise Refused(f"it is a network of another purpose ({name}, {descriptor.purpose})", CHOOSE)
    if (descriptor.input_channels, descriptor.output_channels) != (3, 3):
        channels = f"{descriptor.input_channels} to {descriptor.output_channels}"
        raise Refused(f"its pictures have no three colours ({name}, {channels} channels)", CHOOSE)
    if not 1 <= descriptor.scale <= MAX_SCALE:
        raise Refused(f"it enlarges {descriptor.scale} times ({name})", "Choose one for 1 to 8 times.")


def findings_about(descriptor: Any) -> Findings:
    """Try the network out: does it work at all, and from how far can a pixel be seen? Takes seconds to a minute."""
    align = _alignment(descriptor)
    whole, overlap, levels = align > MAX_ALIGN_PX, 0, math.inf
    picture = _strip(descriptor, align)
    middle = picture.shape[3] // 2 // align * align
    large = _enlarged(descriptor, picture)
    if not whole:
        for overlap in sorted({-(-wanted // align) * align for wanted in OVERLAPS_PX}):
            levels = max(_seams(descriptor, picture, large, middle, overlap))
            if levels <= INVISIBLE_LEVELS:
                break
    whole = whole or levels > TOLERABLE_LEVELS
    return Findings(
        architecture=descriptor.architecture.id,
        purpose=descriptor.purpose,
        scale=descriptor.scale,
        parameters=sum(parameter.numel() for parameter in descriptor.model.parameters()),
        align_px=1 if whole else align,
        overlap_px=0 if whole else overlap,
        seam_levels=0.0 if whole else round(levels, 3),
        whole=whole,
    )


def _seams(descriptor: Any, picture: Tensor, large: Tensor, middle: int, overlap: int) -> Iterator[float]:
    """How much tiles to the right and to the left of `middle` differ from the whole picture, in levels of 255."""
    scale = descriptor.scale
    right = _enlarged(descriptor, picture[..., middle - overlap :])[..., scale * overlap :]
    yield 255 * float((right - large[..., scale * middle :]).abs().max())
    left = _enlarged(descriptor, picture[..., : middle + overlap])[..., : scale * middle]
    yield 255 * float((left - large[..., : scale * middle]).abs().max())


def _enlarged(descriptor: Any, picture: Tensor) -> Tensor:
    try:
        found: Tensor = descriptor(picture)
    except (RuntimeError, IndexError, ValueError, AssertionError, TypeError) as error:
        raise Refused("the network in it does not work") from error
    height, width = (descriptor.scale * side for side in picture.shape[2:])
    if tuple(found.shape) != (1, 3, height, width):
        raise Refused("the network in it gives pictures of another size than it should")
    if not bool(torch.isfinite(found).all()):
        raise Refused("the network in it gives numbers that are not finite")
    return found


def _alignment(descriptor: Any) -> int:
    """Windows that a network divides pictures into must lie at the same places in tiles and in the whole."""
    sides = {descriptor.size_requirements.multiple_of}
    for module in descriptor.model.modules():
        for name in ("window_size", "split_size"):
            value = getattr(module, name, 1)
            sides.update(value if isinstance(value, tuple | list) else [value])
    return math.lcm(*(side for side in sides if isinstance(side, int) and side > 0))


def _strip(descriptor: Any, align: int) -> Tensor:
    """A test picture in [0, 1], wide and low: clouds, edges and grain, always the same."""
    align = min(align, 2 * MAX_ALIGN_PX)
    least = max(STRIP_HEIGHT_PX, descriptor.size_requirements.minimum)
    height, width = (-(-side // align) * align for side in (least, 2 * (max(OVERLAPS_PX) + align + 32)))
    chance = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 3, 5, 21, generator=chance)
    clouds = F.interpolate(coarse, (height, width), mode="bicubic", align_corners=False)
    edges = ((torch.arange(width) // 7 + torch.arange(height)[:, None] // 5) % 3 == 0).float() * 0.4 - 0.2
    grain = torch.randn(1, 3, height, width, generator=chance) * 0.03
    return (clouds + edges + grain).clamp(0, 1)
