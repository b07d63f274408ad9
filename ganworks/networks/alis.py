"""The ALIS generator, which draws landscapes without end, in plain PyTorch.

Source: Skorokhodov et al., "Aligning Latent and Image Spaces to Connect the Unconnectable" (arXiv 2104.06954).
State-dict keys are those of the public checkpoints, less those that end in one of `IGNORED`.

Anchors, which are ordinary ws, stand two square frames apart on a line. A picture is made of patches half a frame
wide, of which none sees its neighbors: what makes them fit is that styles change from column to column, from the
anchor on the left to the anchor on the right, and that sines of the place are fed in. So any window of a panorama
is drawn from its own patches alone, and the same wherever one cuts.

Shapes: N patches, W = w_dim, L = num_ws, C channels, H rows and V = H / 2 columns of a patch.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganworks.networks.kernels import laid_out, modulated_layer
from ganworks.networks.layers import (
    LEAKY_SLOPE,
    SQRT_2,
    FullyConnected,
    blur_filter,
    channels_at,
    filter_after_transpose,
    upsample_image,
)
from ganworks.networks.stylegan2 import MappingNetwork

# Noise maps belong to a frame, and would show where patches meet; the strength of shifts is 1 after training.
IGNORED = ("noise_const", "noise_strength", "max_shift_strength")
FRAME_PATCHES = 2  # a frame is so many patches wide
STEP_FRAMES = 2  # from anchor to anchor
PATCHES_AT_ONCE = 4


@dataclass(frozen=True)
class Patches:
    """
    Where patches lie: `left` and `right` [N, L, W] are the anchors beside each, `index` [N] counts patches from
    the panorama's left end, where the first anchor is.
    """

    left: Tensor
    right: Tensor
    index: Tensor

    def columns(self, height: int) -> Tensor:
        """The numbers of the patches' columns, from the panorama's left end, at a height: [N, V]."""
        width = height // FRAME_PATCHES
        return self.index[:, None] * width + torch.arange(width, device=self.index.device)

    def styles(self, affine: FullyConnected, row: int, height: int) -> Tensor:
        """The styles of each column, which go from the anchor on the left to that on the right: [N, C, 1, V]."""
        step = STEP_FRAMES * height  # columns from anchor to anchor
        share = (self.columns(height) % step + 0.5) / step  # [N, V]
        left, right = (affine(anchor[:, row])[:, :, None, None] for anchor in (self.left, self.right))
        return torch.lerp(left, right, share[:, None, None, :])


class Coordinates(nn.Module):
    """Sines and cosines of a patch's place, of log2(resolution) - 1 octaves in four directions."""

    basis: Tensor

    def __init__(self, resolution: int) -> None:
        super().__init__()
        octaves = math.pi * 2.0 ** torch.arange(int(math.log2(resolution)) - 1)
        directions = torch.tensor([[0, 1], [1, 0], [-0.5, 0.5], [0.5, 0.5]])
        self.register_buffer("basis", (directions[:, None] * octaves[:, None]).flatten(0, 1))  # [K, 2]

    def encode(self, patches: Patches, height: int) -> Tensor:
        """[N, 2K, H, V]; a frame is 2 wide and high, and y points up."""
        period = 2 * STEP_FRAMES  # in frames: the sines repeat, and small numbers keep them exact
        x = 2 * (patches.columns(height) / height % period) - period  # [N, V]
        y = 1 - 2 * torch.arange(1, height + 1, device=x.device) / height  # [H]
        phase = self.basis[:, 0, None, None] * x[:, None, None, :] + (self.basis[:, 1:] * y)[:, :, None]
        return torch.cat([phase.sin(), phase.cos()], dim=1)


class GridInput(Coordinates):
    """What the first convolution sees, at 4 rows: a learned column, modulated, and coordinates."""

    def __init__(self, channels: int, w_dim: int) -> None:
        super().__init__(4)
        self.affine = FullyConnected(w_dim, channels)
        self.input_column = nn.Parameter(torch.randn(channels, 4))

    def forward(self, patches: Patches) -> Tensor:
        """[N, C + 2K, 4, V]."""
        x = self.input_column[:, :, None] * patches.styles(self.affine, 0, 4)
        return torch.cat([x, self.encode(patches, 4)], dim=1)


class SynthesisLayer(nn.Module):
    """A 3x3 convolution of modulated columns, bias and a leaky rectifier; `up` doubles the size."""

    resample_filter: Tensor
    frozen_demodulation: Tensor | None

    def __init__(
        self, inputs: int, outputs: int, w_dim: int, *, up: bool = False, conv_clamp: float | None
    ) -> None:
        super().__init__()
        self.up, self.conv_clamp = up, conv_clamp
        self.affine = FullyConnected(w_dim, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.register_buffer("resample_filter", blur_filter())
        self.register_buffer("frozen_demodulation", None, persistent=False)

    def demodulation(self) -> Tensor:
        """What brings each output's weights to a sum of squares of 1, whatever the styles: [1, O, 1, 1]."""
        if self.frozen_demodulation is not None:
            return self.frozen_demodulation
        return (self.weight.square().sum(dim=(1, 2, 3)) + 1e-8).rsqrt()[:, None, None, None].transpose(0, 1)

    def forward(self, x: Tensor, patches: Patches, row: int) -> Tensor:
        """[N, I, H, V] -> [N, O, H, V], or [N, O, 2H, 2V]."""
        styles, demodulation = patches.styles(self.affine, row, x.shape[2]), self.demodulation()
        if self.frozen_demodulation is not None:  # the same as below, in pieces that fit the cache
            taps = self.resample_filter if self.up else None
            return modulated_layer(
                x, styles, demodulation, self.weight, self.bias, None, taps, self.conv_clamp
            )
        if self.up:
            x = F.conv_transpose2d(x * styles, self.weight.transpose(0, 1), stride=2)
            x = filter_after_transpose(x, self.resample_filter)
        else:
            x = F.conv2d(x * styles, self.weight, padding=1)
        x = F.leaky_relu(x * demodulation + self.bias[:, None, None], LEAKY_SLOPE) * SQRT_2
        return x if self.conv_clamp is None else x.clamp(-self.conv_clamp, self.conv_clamp)

    def freeze(self) -> None:
        """Keep what depends on the weights alone, and lay these out as the convolution reads them fastest."""
        self.frozen_demodulation = self.demodulation().detach()
        self.weight.data = laid_out(self.weight.data, up=self.up)


class ToRGB(nn.Module):
    """A 1x1 convolution of modulated columns to colours: no demodulation, linear."""

    def __init__(self, inputs: int, img_channels: int, w_dim: int, *, conv_clamp: float | None) -> None:
        super().__init__()
        self.conv_clamp = conv_clamp
        self.affine = FullyConnected(w_dim, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(img_channels, inputs, 1, 1))
        self.bias = nn.Parameter(torch.zeros(img_channels))

    def forward(self, x: Tensor, patches: Patches, row: int) -> Tensor:
        """[N, I, H, V] -> [N, img_channels, H, V]."""
        styles = patches.styles(self.affine, row, x.shape[2]) / math.sqrt(x.shape[1])
        x = F.conv2d(x * styles, self.weight, self.bias)
        return x if self.conv_clamp is None else x.clamp(-self.conv_clamp, self.conv_clamp)


class SynthesisBlock(nn.Module):
    """What belongs to one resolution: (the input, or coordinates and conv0), conv1 and torgb."""

    resample_filter: Tensor

    def __init__(
        self,
        inputs: int,
        outputs: int,
        w_dim: int,
        resolution: int,
        img_channels: int,
        conv_clamp: float | None,
    ) -> None:
        super().__init__()
        self.first = resolution == 4
        self.register_buffer("resample_filter", blur_filter())
        inner = outputs
        if self.first:
            grid_input = GridInput(outputs, w_dim)
            self.input = nn.ModuleDict({"input": grid_input})
            inner += 2 * len(grid_input.basis)
        else:
            self.coords_fuser0 = Coordinates(resolution)
            inputs += 2 * len(self.coords_fuser0.basis)
            self.conv0 = SynthesisLayer(inputs, outputs, w_dim, up=True, conv_clamp=conv_clamp)
        self.conv1 = SynthesisLayer(inner, outputs, w_dim, conv_clamp=conv_clamp)
        self.torgb = ToRGB(outputs, img_channels, w_dim, conv_clamp=conv_clamp)

    def features(self, x: Tensor, patches: Patches, row: int) -> Tensor:
        """The features of the block before, or the input, to this block's; conv1 uses the `row` of ws."""
        if not self.first:
            x = torch.cat([x, self.coords_fuser0.encode(patches, x.shape[2])], dim=1)
            x = self.conv0(x, patches, row - 1)
        features: Tensor = self.conv1(x, patches, row)
        return features


class SynthesisNetwork(nn.Module):
    """Anchors to patches, frames and panoramas, about [-1, 1]."""

    def __init__(
        self,
        w_dim: int,
        resolution: int,
        img_channels: int = 3,
        channel_base: int = 16384,
        channel_max: int = 512,
        conv_clamp: float | None = 256,
        widths: Mapping[int, int] | None = None,
    ) -> None:
        """widths: channels by resolution, for networks that do not follow `channels_at`."""
        super().__init__()
        if resolution < 4 or resolution & (resolution - 1):
            raise ValueError("The resolution must be a power of two of at least 4.")
        self.w_dim, self.resolution, self.img_channels = w_dim, resolution, img_channels
        self.patch_width_px = resolution // FRAME_PATCHES
        self.step_px = resolution * STEP_FRAMES
        self.block_resolutions = [2**power for power in range(2, int(math.log2(resolution)) + 1)]
        self.num_ws = 2 * len(self.block_resolutions) + 1  # the first row is the input's
        inputs = 0
        for r in self.block_resolutions:
            outputs = widths[r] if widths else channels_at(r, channel_base, channel_max)
            setattr(self, f"b{r}", SynthesisBlock(inputs, outputs, w_dim, r, img_channels, conv_clamp))
            inputs = outputs

    def forward(self, left: Tensor, right: Tensor, index: Tensor, resolution: int | None = None) -> Tensor:
        """
        Draw patches [N, img_channels, resolution, patch_width_px]. left, right: [N, L, W], the anchors on both
        sides of each. index: [N], patches counted from the panorama's left end. resolution: stop at this block, and
        give what the colours of all blocks so far add up to.
        """
        patches = Patches(left, right, index)
        sizes = [r for r in self.block_resolutions if resolution is None or r <= resolution]
        blocks: list[SynthesisBlock] = [getattr(self, f"b{r}") for r in sizes]
        x: Tensor = blocks[0].input["input"](patches)
        picture = x.new_zeros(len(index), self.img_channels, 2, 2 // FRAME_PATCHES)
        row = 1  # the input has row 0; a block's colours and the next block's conv0 share a row
        for block in blocks:
            x = block.features(x, patches, row)
            colors = block.torgb(x, patches, row + 1)
            picture = upsample_image(picture, block.resample_filter) + colors
            row += 2
        return picture

    def reach_px(self, anchors: int) -> int:
        """How wide a panorama this many anchors make."""
        return max(anchors - 1, 0) * self.step_px

    def panorama(self, anchors: Tensor, width: int, left: int = 0, resolution: int | None = None) -> Tensor:
        """
        anchors [A, L, W] to the columns from `left` (in pixels, 0 at the first anchor) on:
        [img_channels, resolution, width]. Windows that touch fit without a seam. With a lower `resolution` the
        same columns are drawn smaller.
        """
        reach = self.reach_px(len(anchors))
        if left < 0 or width < 1 or left + width > reach:
            raise ValueError(f"{len(anchors)} anchors make {reach} columns. Choose a window within them.")
        first = left // self.patch_width_px
        last = math.ceil((left + width) / self.patch_width_px)
        index = torch.arange(first, last, device=anchors.device)
        drawn = []
        for part in torch.split(index, PATCHES_AT_ONCE):
            number = part * self.patch_width_px // self.step_px  # of the anchor on the left
            patches = self(anchors[number], anchors[number + 1], part, resolution)
            drawn.append(torch.cat([*patches], dim=2))
        whole = torch.cat(drawn, dim=2)
        shrunk = self.resolution // whole.shape[1]
        start = (left - first * self.patch_width_px) // shrunk
        return whole[:, :, start : start + max(1, width // shrunk)]


class Generator(nn.Module):
    """The whole generator: `mapping` (z to ws, which serve as anchors) and `synthesis`."""

    def __init__(
        self,
        z_dim: int,
        w_dim: int,
        resolution: int,
        c_dim: int = 0,
        img_channels: int = 3,
        num_layers: int = 2,
        channel_base: int = 16384,
        channel_max: int = 512,
        lr_multiplier: float = 0.01,
        conv_clamp: float | None = 256,
        widths: Mapping[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.z_dim, self.w_dim, self.c_dim = z_dim, w_dim, c_dim
        self.resolution, self.img_channels, self.conv_clamp = resolution, img_channels, conv_clamp
        self.synthesis = SynthesisNetwork(
            w_dim, resolution, img_channels, channel_base, channel_max, conv_clamp, widths
        )
        self.num_ws = self.synthesis.num_ws
        self.mapping = MappingNetwork(z_dim, c_dim, w_dim, self.num_ws, num_layers, lr_multiplier)

    def panorama(self, anchors: Tensor, width: int, left: int = 0, resolution: int | None = None) -> Tensor:
        """As `SynthesisNetwork.panorama`: anchors [A, L, W] -> [img_channels, resolution, width]."""
        return self.synthesis.panorama(anchors, width, left, resolution)

    def draw(
        self,
        ws: Tensor,
        noise_mode: str = "const",
        noise: Mapping[str, Tensor] | None = None,
        random: torch.Generator | None = None,
        transform: Tensor | None = None,
        resolution: int | None = None,
    ) -> Tensor:
        """
        ws [N, L, W] to square frames [N, img_channels, resolution, resolution]: the left end of a panorama whose
        first two anchors are the same. There is no noise, and no way to move a frame. A lower `resolution` is that
        of `SynthesisNetwork.forward`.
        """
        both = ws.repeat_interleave(FRAME_PATCHES, dim=0)
        index = torch.arange(FRAME_PATCHES, device=ws.device).repeat(len(ws))
        patches: Tensor = self.synthesis(both, both, index, resolution)  # [2N, img_channels, r, r / 2]
        return torch.cat([patches[part::FRAME_PATCHES] for part in range(FRAME_PATCHES)], dim=3)

    def noise_buffers(self) -> dict[str, Tensor]:
        return {}

    def noise_in_use(self) -> dict[str, Tensor]:
        return {}

    def affines(self) -> list[tuple[int, nn.Module]]:
        """The layers that turn w into styles, each with the row of ws that it reads."""
        found: list[tuple[int, nn.Module]] = []
        for number, r in enumerate(self.synthesis.block_resolutions):
            block = getattr(self.synthesis, f"b{r}")
            first = block.input["input"] if block.first else block.conv0
            found += [(2 * number, first.affine), (2 * number + 1, block.conv1.affine)]
            found.append((2 * number + 2, block.torgb.affine))
        return found

    def freeze(self) -> "Generator":
        """
        Make this a generator that is only used: no gradients for weights, and what depends on them alone kept.
        """
        for layer in self.synthesis.modules():
            if isinstance(layer, SynthesisLayer):
                layer.freeze()
        return self.eval().requires_grad_(False)
