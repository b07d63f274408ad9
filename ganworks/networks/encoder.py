"""A compact convolutional encoder: one pass from a picture to a row of latent coordinates for each layer.

Each stage halves the picture and widens the maps, and is followed by one residual convolution; group
normalisation keeps small batches stable. What is left, 4x4 places, is squeezed to a few channels and read by two
linear layers. The first gives what all rows share, and the second what each row adds: the same division into u
and v as in the search (see `projection`), and for the same reason, so that rows stay near each other.

Source of the idea to start a search from an encoder's guess: Zhu et al., "Generative Visual Manipulation on the
Natural Image Manifold" (arXiv 1609.03552), section 3.2; of one row for each layer: Richardson et al., "Encoding in
Style" (arXiv 2008.00951).

Shapes: N pictures of P pixels, L rows of W coordinates.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganworks.networks.layers import LEAKY_SLOPE

SMALLEST_MAP_PX = 4
SQUEEZED_CHANNELS = 32
NORM_GROUPS = 8


class Stage(nn.Module):
    """Halve the size with one convolution, then add what a second one finds."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.down = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1)
        self.norm = nn.GroupNorm(NORM_GROUPS, outputs)
        self.conv = nn.Conv2d(outputs, outputs, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:  # [N, I, r, r] -> [N, O, r/2, r/2]
        x = F.leaky_relu(self.norm(self.down(x)), LEAKY_SLOPE)
        result: Tensor = x + F.leaky_relu(self.conv(x), LEAKY_SLOPE)
        return result


class EncoderNetwork(nn.Module):
    """Pictures to coordinates in sigma along the principal axes of w; 0 is the mean of w."""

    mean: Tensor
    axes: Tensor

    def __init__(
        self,
        input_px: int,
        num_ws: int,
        w_dim: int,
        channels: int = 32,
        channel_max: int = 128,
        hidden: int = 256,
    ) -> None:
        """
        input_px: a power of two from 8 on. channels: of the maps at half that size, a multiple of 8; doubled from stage
        to stage up to channel_max. hidden: what the linear layers have in between.
        """
        super().__init__()
        if input_px < 2 * SMALLEST_MAP_PX or input_px & (input_px - 1):
            raise ValueError("the input of an encoder must be a power of two of at least 8 pixels")
        if channels % NORM_GROUPS or channel_max % NORM_GROUPS:
            raise ValueError("the channels of an encoder must be multiples of 8")
        self.input_px, self.num_ws, self.w_dim = input_px, num_ws, w_dim
        self.channels, self.channel_max, self.hidden = channels, channel_max, hidden
        self.stem = nn.Conv2d(3, channels, 4, stride=2, padding=1)
        self.stages = nn.ModuleList()
        width, size = channels, input_px // 2
        while size > SMALLEST_MAP_PX:
            self.stages.append(Stage(width, min(2 * width, channel_max)))
            width, size = min(2 * width, channel_max), size // 2
        self.squeeze = nn.Conv2d(width, SQUEEZED_CHANNELS, 1)
        self.read = nn.Linear(SQUEEZED_CHANNELS * SMALLEST_MAP_PX**2, hidden)
        self.shared = nn.Linear(hidden, w_dim)
        self.rows = nn.Linear(hidden, num_ws * w_dim)
        self.register_buffer("mean", torch.zeros(w_dim))
        self.register_buffer("axes", torch.eye(w_dim))
        for layer in (self.shared, self.rows):  # the first guess is the mean
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def coordinates(self, pictures: Tensor) -> Tensor:
        """[N, 3, P, P] in [-1, 1] -> [N, L, W] in sigma."""
        x = F.leaky_relu(self.stem(pictures), LEAKY_SLOPE)
        for stage in self.stages:
            x = stage(x)
        x = self.squeeze(x).flatten(1)
        x = F.leaky_relu(self.read(x), LEAKY_SLOPE)
        rows: Tensor = self.rows(x).unflatten(1, (self.num_ws, self.w_dim))
        shared: Tensor = self.shared(x)
        return shared[:, None] + rows

    def forward(self, pictures: Tensor) -> Tensor:
        """[N, 3, P, P] in [-1, 1] -> ws [N, L, W]."""
        return self.mean + self.coordinates(pictures) @ self.axes
