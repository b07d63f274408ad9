"""The StyleGAN2 generator in its three architectures (skip, orig, resnet), in plain PyTorch.

Source: Karras et al., "Analyzing and Improving the Image Quality of StyleGAN" (arXiv 1912.04958), with the
mapping network of "A Style-Based Generator Architecture" (arXiv 1812.04948). State-dict keys are those of the
public StyleGAN2-ADA checkpoints, so their tensors load unchanged.

Shapes: N pictures, Z = z_dim, W = w_dim, L = num_ws, C channels at resolution r. Each modulated convolution
is computed as `conv(x * style) * demodulation` with one weight shared by the batch, which is an ordinary
convolution and differentiable twice (path-length and R1 penalties need that).

The architectures (arXiv 1912.04958, section 4.1) differ in how blocks are joined: "skip" adds up the colours
of all blocks, "orig" takes colours from the last block alone, and "resnet" too, with a shortcut around each
block.
"""

import math
from collections.abc import Mapping

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
    normalize,
    upsample_image,
)

NOISE_MODES = ("const", "random", "none")
ARCHITECTURES = ("skip", "orig", "resnet")


class MappingNetwork(nn.Module):
    """z (and a class) to w: normalise, then `num_layers` leaky layers that learn slowly."""

    w_avg: Tensor

    def __init__(
        self,
        z_dim: int,
        c_dim: int,
        w_dim: int,
        num_ws: int,
        num_layers: int = 8,
        lr_multiplier: float = 0.01,
    ) -> None:
        super().__init__()
        self.z_dim, self.c_dim, self.w_dim = z_dim, c_dim, w_dim
        self.num_ws, self.num_layers, self.lr_multiplier = num_ws, num_layers, lr_multiplier
        if c_dim:
            self.embed = FullyConnected(c_dim, w_dim)
        width = z_dim + (w_dim if c_dim else 0)
        for index in range(num_layers):
            setattr(self, f"fc{index}", FullyConnected(width, w_dim, lr_multiplier=lr_multiplier))
            width = w_dim
        self.register_buffer("w_avg", torch.zeros(w_dim))

    def map_to_w(self, z: Tensor, c: Tensor | None = None) -> Tensor:
        """[N, Z] and, for a conditional generator, [N, c_dim] -> [N, W], not truncated."""
        x = normalize(z)
        if self.c_dim:
            if c is None:
                raise ValueError("This generator needs a class for each latent.")
            x = torch.cat([x, normalize(self.embed(c))], dim=1)
        for index in range(self.num_layers):
            x = F.leaky_relu(getattr(self, f"fc{index}")(x), LEAKY_SLOPE) * SQRT_2
        return x

    def forward(
        self,
        z: Tensor,
        c: Tensor | None = None,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
    ) -> Tensor:
        """[N, Z] -> [N, L, W]; the first `truncation_cutoff` rows (all if None) move toward the mean."""
        ws = self.map_to_w(z, c).unsqueeze(1).repeat(1, self.num_ws, 1)
        if truncation_psi == 1:
            return ws
        cutoff = self.num_ws if truncation_cutoff is None else truncation_cutoff
        return torch.cat([self.w_avg.lerp(ws[:, :cutoff], truncation_psi), ws[:, cutoff:]], dim=1)


class SynthesisLayer(nn.Module):
    """
    A modulated and demodulated 3x3 convolution, noise, bias and a leaky rectifier; `up` doubles the size.
    """

    noise_const: Tensor
    resample_filter: Tensor
    frozen_energy: Tensor | None

    def __init__(
        self, inputs: int, outputs: int, w_dim: int, resolution: int, *, up: bool, conv_clamp: float | None
    ) -> None:
        super().__init__()
        self.resolution, self.up, self.conv_clamp = resolution, up, conv_clamp
        self.affine = FullyConnected(w_dim, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.noise_strength = nn.Parameter(torch.zeros([]))
        self.register_buffer("noise_const", torch.randn(resolution, resolution))
        self.register_buffer("resample_filter", blur_filter())
        self.register_buffer("frozen_energy", None, persistent=False)

    def energy(self) -> Tensor:
        """The sum of squares of each kernel: [O, I]."""
        return self.weight.square().sum(dim=(2, 3)) if self.frozen_energy is None else self.frozen_energy

    def forward(self, x: Tensor, w: Tensor, noise: Tensor | None) -> Tensor:
        """x [N, I, H, H], w [N, W], noise [r, r] or [N, 1, r, r] or None -> [N, O, r, r]."""
        style: Tensor = self.affine(w)  # [N, I]
        demodulation: Tensor = (style.square() @ self.energy().t() + 1e-8).rsqrt()  # [N, O]
        style, demodulation = (value[:, :, None, None].to(x.dtype) for value in (style, demodulation))
        noise = None if noise is None else (noise * self.noise_strength).to(x.dtype)
        if self.frozen_energy is not None:  # the same again, in pieces that fit the cache
            taps = self.resample_filter if self.up else None
            return modulated_layer(
                x, style, demodulation, self.weight, self.bias, noise, taps, self.conv_clamp
            )
        x = self.convolve(x * style) * demodulation
        if noise is not None:
            x = x + noise
        x = F.leaky_relu(x + self.bias[:, None, None].to(x.dtype), LEAKY_SLOPE) * SQRT_2
        return x if self.conv_clamp is None else x.clamp(-self.conv_clamp, self.conv_clamp)

    def noise(
        self, mode: str, given: Tensor | None, ws: Tensor, random: torch.Generator | None
    ) -> Tensor | None:
        if mode == "random":
            size = (ws.shape[0], 1, self.resolution, self.resolution)
            return torch.randn(size, generator=random, device=ws.device)
        stored = self.noise_const if given is None else given
        return stored if mode == "const" else None

    def convolve(self, x: Tensor) -> Tensor:
        if not self.up:
            return F.conv2d(x, self.weight, padding=1)
        x = F.conv_transpose2d(x, self.weight.transpose(0, 1), stride=2)  # [N, O, 2H+1, 2H+1]
        return filter_after_transpose(x, self.resample_filter)

    def freeze(self) -> None:
        """Keep what depends on the weights alone, and lay these out as the convolution reads them fastest."""
        self.frozen_energy = self.energy().detach()
        self.weight.data = laid_out(self.weight.data, up=self.up)


class ToRGB(nn.Module):
    """A modulated 1x1 convolution to colours: no demodulation, no noise, linear."""

    def __init__(self, inputs: int, img_channels: int, w_dim: int, *, conv_clamp: float | None) -> None:
        super().__init__()
        self.conv_clamp = conv_clamp
        self.affine = FullyConnected(w_dim, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(img_channels, inputs, 1, 1))
        self.bias = nn.Parameter(torch.zeros(img_channels))
        self.weight_gain = 1 / math.sqrt(inputs)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """x [N, I, r, r], w [N, W] -> [N, img_channels, r, r]."""
        style = self.affine(w) * self.weight_gain  # [N, I]
        weight = self.weight[:, :, 0, 0] * style[:, None, :]  # [N, img_channels, I]
        colors = torch.bmm(x.flatten(2).transpose(1, 2), weight.transpose(1, 2).to(x.dtype))
        x = colors.transpose(1, 2).view(-1, len(self.bias), *x.shape[2:])  # channels stay last in memory
        x = x + self.bias[:, None, None].to(x.dtype)
        return x if self.conv_clamp is None else x.clamp(-self.conv_clamp, self.conv_clamp)


class Shortcut(nn.Module):
    """The way around a block of the resnet architecture: a 1x1 convolution, then twice the size."""

    resample_filter: Tensor

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 1, 1))
        self.weight_gain = 1 / math.sqrt(inputs)
        self.register_buffer("resample_filter", blur_filter())

    def forward(self, x: Tensor) -> Tensor:
        """[N, I, H, H] -> [N, O, 2H, 2H]. Mixing channels first is the same picture, at a quarter the cost."""
        return upsample_image(F.conv2d(x, (self.weight * self.weight_gain).to(x.dtype)), self.resample_filter)


class SynthesisBlock(nn.Module):
    """What belongs to one resolution: (conv0 up), conv1, and if asked for, `torgb` and the shortcut `skip`."""

    resample_filter: Tensor

    def __init__(
        self,
        inputs: int,
        outputs: int,
        w_dim: int,
        resolution: int,
        img_channels: int,
        conv_clamp: float | None,
        *,
        colors: bool = True,
        shortcut: bool = False,
    ) -> None:
        super().__init__()
        self.resolution, self.shortcut = resolution, shortcut
        self.register_buffer("resample_filter", blur_filter())
        if resolution == 4:
            self.const = nn.Parameter(torch.randn(outputs, 4, 4))
        else:
            self.conv0 = SynthesisLayer(inputs, outputs, w_dim, resolution, up=True, conv_clamp=conv_clamp)
        self.conv1 = SynthesisLayer(outputs, outputs, w_dim, resolution, up=False, conv_clamp=conv_clamp)
        if colors:
            self.torgb = ToRGB(outputs, img_channels, w_dim, conv_clamp=conv_clamp)
        if shortcut:
            self.skip = Shortcut(inputs, outputs)

    def layers(self) -> list[tuple[str, SynthesisLayer]]:
        """The convolutions that take noise, in order, by the names of their noise maps."""
        names = ("conv1",) if self.resolution == 4 else ("conv0", "conv1")
        return [(f"b{self.resolution}.{name}.noise_const", getattr(self, name)) for name in names]


class SynthesisNetwork(nn.Module):
    """ws [N, L, W] to a picture [N, img_channels, resolution, resolution], about [-1, 1]."""

    def __init__(
        self,
        w_dim: int,
        resolution: int,
        img_channels: int = 3,
        channel_base: int = 32768,
        channel_max: int = 512,
        conv_clamp: float | None = None,
        architecture: str = "skip",
        widths: Mapping[int, int] | None = None,
    ) -> None:
        """widths: channels by resolution, for networks that do not follow `channels_at`."""
        super().__init__()
        if resolution < 4 or resolution & (resolution - 1):
            raise ValueError("The resolution must be a power of two of at least 4.")
        if architecture not in ARCHITECTURES:
            raise ValueError(f"The architecture must be one of {', '.join(ARCHITECTURES)}.")
        self.w_dim, self.resolution, self.img_channels = w_dim, resolution, img_channels
        self.architecture = architecture
        self.block_resolutions = [2**power for power in range(2, int(math.log2(resolution)) + 1)]
        self.num_ws = 2 * len(self.block_resolutions)
        inputs = 0
        for r in self.block_resolutions:
            outputs = widths[r] if widths else channels_at(r, channel_base, channel_max)
            colors = architecture == "skip" or r == resolution
            shortcut = architecture == "resnet" and r > 4
            block = SynthesisBlock(
                inputs, outputs, w_dim, r, img_channels, conv_clamp, colors=colors, shortcut=shortcut
            )
            setattr(self, f"b{r}", block)
            inputs = outputs

    def blocks(self) -> list[SynthesisBlock]:
        return [getattr(self, f"b{r}") for r in self.block_resolutions]

    def noise_buffers(self) -> dict[str, Tensor]:
        """The stored noise maps: "b8.conv0.noise_const" -> [8, 8], and so on."""
        return {key: layer.noise_const for block in self.blocks() for key, layer in block.layers()}

    def noise_in_use(self) -> dict[str, Tensor]:
        """Those of the stored noise maps that change the picture: the others have the strength 0."""
        layers = [pair for block in self.blocks() for pair in block.layers()]
        return {key: layer.noise_const for key, layer in layers if layer.noise_strength.item()}

    def forward(
        self,
        ws: Tensor,
        noise_mode: str = "const",
        noise: Mapping[str, Tensor] | None = None,
        random: torch.Generator | None = None,
        resolution: int | None = None,
    ) -> Tensor:
        """
        ws: [N, L, W]. noise_mode: "const" uses the stored maps, "random" draws new ones (from `random`),
        "none" none. noise: maps that replace stored ones in mode "const", by name as in `noise_buffers()`,
        each [r, r] or [N, 1, r, r]. resolution: stop at this block, and give what the colours of all blocks so far
        add up to; only the "skip" architecture has them.
        """
        if noise_mode not in NOISE_MODES:
            raise ValueError(f"The noise mode must be one of {', '.join(NOISE_MODES)}.")
        noise = noise or {}
        blocks = self.blocks()
        x = blocks[0].const.expand(ws.shape[0], -1, -1, -1)  # [N, C, 4, 4]
        picture = x.new_zeros(ws.shape[0], self.img_channels, 2, 2)
        row = 0  # a block's colours and the next block's conv0 share a row of ws
        for block in blocks:
            if resolution is not None and block.resolution > resolution:
                break
            before = x if block.shortcut else None
            for key, layer in block.layers():
                x = layer(x, ws[:, row], layer.noise(noise_mode, noise.get(key), ws, random))
                row += 1
            if before is not None:
                x = (x + block.skip(before)) / SQRT_2
            if self.architecture == "skip":
                colors = block.torgb(x, ws[:, row])
                picture = upsample_image(picture, block.resample_filter) + colors
        return picture if self.architecture == "skip" else blocks[-1].torgb(x, ws[:, row])


class Generator(nn.Module):
    """The whole generator: `mapping` (z to w) and `synthesis` (w to a picture)."""

    def __init__(
        self,
        z_dim: int,
        w_dim: int,
        resolution: int,
        c_dim: int = 0,
        img_channels: int = 3,
        num_layers: int = 8,
        channel_base: int = 32768,
        channel_max: int = 512,
        lr_multiplier: float = 0.01,
        conv_clamp: float | None = None,
        architecture: str = "skip",
        widths: Mapping[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.z_dim, self.w_dim, self.c_dim = z_dim, w_dim, c_dim
        self.resolution, self.img_channels = resolution, img_channels
        self.conv_clamp, self.architecture = conv_clamp, architecture
        self.synthesis = SynthesisNetwork(
            w_dim, resolution, img_channels, channel_base, channel_max, conv_clamp, architecture, widths
        )
        self.num_ws = self.synthesis.num_ws
        self.mapping = MappingNetwork(z_dim, c_dim, w_dim, self.num_ws, num_layers, lr_multiplier)

    def forward(
        self,
        z: Tensor,
        c: Tensor | None = None,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
        noise_mode: str = "const",
    ) -> Tensor:
        """[N, Z] -> [N, img_channels, resolution, resolution]."""
        pictures: Tensor = self.synthesis(self.mapping(z, c, truncation_psi, truncation_cutoff), noise_mode)
        return pictures

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
        As `architectures.Network.draw`; this network cannot move a picture, so `transform` means nothing. A lower
        `resolution` is that of `SynthesisNetwork.forward`.
        """
        pictures: Tensor = self.synthesis(ws, noise_mode, noise, random, resolution)
        return pictures

    def noise_buffers(self) -> dict[str, Tensor]:
        return self.synthesis.noise_buffers()

    def noise_in_use(self) -> dict[str, Tensor]:
        return self.synthesis.noise_in_use()

    def affines(self) -> list[tuple[int, nn.Module]]:
        """The layers that turn w into styles, each with the row of ws that it reads."""
        found: list[tuple[int, nn.Module]] = []
        row = 0
        for block in self.synthesis.blocks():
            for _, layer in block.layers():
                found.append((row, layer.affine))
                row += 1
            if hasattr(block, "torgb"):
                found.append((row, block.torgb.affine))
        return found

    def freeze(self) -> "Generator":
        """
        Make this a generator that is only used: no gradients for weights, and what depends on them alone
        kept.
        """
        for block in self.synthesis.blocks():
            for _, layer in block.layers():
                layer.freeze()
        return self.eval().requires_grad_(False)
