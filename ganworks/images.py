"""Pictures in and out: PIL images and tensors [N, 3, H, W] in [-1, 1]."""

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from ganworks.errors import InvalidInput

_SIXTEEN_BIT_MODES = ("I", "I;16", "I;16L", "I;16B")


def to_image(tensor: Tensor) -> Image.Image:
    """
    [3, H, W] or [1, 3, H, W] in [-1, 1] to an RGB picture; values outside are clamped (as in the public
    tools).
    """
    if tensor.ndim == 4 and tensor.shape[0] == 1:
        tensor = tensor[0]
    if tensor.ndim != 3 or tensor.shape[0] != 3:
        raise InvalidInput(f"A picture must have the shape [3, height, width], not {list(tensor.shape)}.")
    pixels = (tensor.detach().float() * 127.5 + 128).clamp(0, 255).to(torch.uint8)
    return Image.fromarray(pixels.permute(1, 2, 0).contiguous().cpu().numpy(), mode="RGB")


def to_tensor(image: Image.Image, size: int | None = None) -> Tensor:
    """
    A picture to [1, 3, H, W] float32 in [-1, 1]. `size` first crops to the square in the middle and resizes
    to size x size. Transparency is laid on white, and 16-bit grey is scaled. `to_image` gives the same pixels
    back.
    """
    image = _as_rgb(image)
    if size is not None and image.size != (size, size):
        image = ImageOps.fit(image, (size, size), method=Image.Resampling.LANCZOS)
    pixels = torch.from_numpy(np.array(image, dtype=np.uint8))
    return (pixels.permute(2, 0, 1).unsqueeze(0).to(torch.float32) / 127.5 - 1).contiguous()


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode in _SIXTEEN_BIT_MODES:
        grey = np.asarray(image).astype(np.float64) / 257
        image = Image.fromarray(grey.clip(0, 255).round().astype(np.uint8))
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return image.convert("RGB")
