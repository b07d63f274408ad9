"""The StyleGAN3 generators T and R, in plain PyTorch.

Source: Karras et al., "Alias-Free Generative Adversarial Networks" (arXiv 2106.12423). State-dict keys are
those of the public StyleGAN3 checkpoints, so their tensors load unchanged; the low-pass filters are among
them, and the sizes come from a plain description (`SynthesisDescription`).

Shapes: N pictures, W = w_dim, L = num_ws (one row for the input and one for each layer), C channels, I and O
those before and after a layer.

A layer raises the sampling rate, applies the leaky rectifier and lowers the rate again, which `rectifier.py` does.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganworks.networks.layers import FullyConnected
from ganworks.networks.rectifier import Axis, filtered_rectifier
from ganworks.networks.stylegan2 import MappingNetwork

FILTER_SIZE = 6  # taps per unit of the rate
MARGIN_PX = 10  # around each feature map, so that its border does not reach the picture
NUM_LAYERS, NUM_CRITICAL = 14, 2


@dataclass(frozen=True)
class LayerDescription:
    """What the tensors of a layer do not tell. Sizes are (width, height) in pixels; taps 0 means no filter."""

    name: str  # as in the state dict: "L5_148_512"
    inputs: int
    outputs: int
    kernel: int
    in_size: tuple[int, int]
    out_size: tuple[int, int]
    up: int
    down: int
    up_taps: int
    down_taps: int
    down_radial: bool
    padding: tuple[int, int, int, int]  # left, right, top, bottom at the raised rate; negative crops
    conv_clamp: float | None
    is_torgb: bool

    def reached_size(self) -> tuple[int, int]:
        """The (width, height) that in_size becomes. ValueError if the filters do not fit it."""
        if (self.up_taps > 0) != (self.down_taps > 0) or self.is_torgb != (self.up_taps == 0):
            raise ValueError(f"{self.name} needs two filters, or none and colours")
        grown = [side + self.kernel - 1 for side in self.in_size]
        if self.is_torgb:
            return grown[0], grown[1]
        if self.up % self.down:
            raise ValueError(f"{self.name} raises the rate by no multiple of what it lowers it by")
        if min(self.up_taps, self.down_taps) < self.up:
            raise ValueError(f"{self.name} has filters shorter than its factor")
        factors, taps = (self.up, self.down), (self.up_taps, self.down_taps)
        across, along = (
            Axis(grown[i], *factors, self.padding[2 * i], self.padding[2 * i + 1], *taps) for i in (0, 1)
        )
        if min(across.pad) <= -grown[0] or min(along.pad) <= -grown[1]:
            raise ValueError(f"{self.name} crops all that there is")
        if min(across.count, along.count) < across.steps:
            raise ValueError(f"{self.name} gives next to nothing")
        return across.count, along.count


@dataclass(frozen=True)
class SynthesisDescription:
    """The plan of a synthesis network: its input, its layers in order, and the gain of its output."""

    channels: int
    size: tuple[int, int]  # of the input's feature map: width, height
    sampling_rate: float
    bandwidth: float
    layers: tuple[LayerDescription, ...]
    output_scale: float = 0.25

    def check(self, resolution: int) -> None:
        """ValueError with the first disagreement between layers, filters and sizes, if there is one."""
        names, width, size = set(), self.channels, self.size
        for layer in self.layers:
            if not re.fullmatch(r"L[0-9]{1,2}(_[0-9]{1,5}){2}", layer.name) or layer.name in names:
                raise ValueError(f"a layer is named {layer.name[:40]!r}")
            if layer.inputs != width or layer.in_size != size:
                raise ValueError(f"{layer.name} does not take what the layer before gives")
            if layer.reached_size() != layer.out_size:
                raise ValueError(f"{layer.name} does not reach the size that it names")
            names.add(layer.name)
            width, size = layer.outputs, layer.out_size
        if width != 3 or size != (resolution, resolution) or not self.layers[-1].is_torgb:
            raise ValueError("the last layer does not give the picture")


def plan_as_data(plan: SynthesisDescription) -> dict[str, Any]:
    """A plan as JSON."""
    return asdict(plan)


def standard_description(
    resolution: int,
    *,
    radial: bool = False,
    channel_base: int = 32768,
    channel_max: int = 512,
    img_channels: int = 3,
    conv_clamp: float | None = 256,
) -> SynthesisDescription:
    """The published plan: T, or R when `radial`, which doubles both limits of the channels."""
    base, most = (2 * channel_base, 2 * channel_max) if radial else (channel_base, channel_max)
    steps = [min(i / (NUM_LAYERS - NUM_CRITICAL), 1.0) for i in range(NUM_LAYERS + 1)]
    cutoffs = [2 * (resolution / 4) ** step for step in steps]
    stops = [2**2.1 * (resolution / 2 * 2**0.3 / 2**2.1) ** step for step in steps]
    rates = [2 ** math.ceil(math.log2(min(2 * stop, resolution))) for stop in stops]
    sizes = [rate + 2 * MARGIN_PX for rate in rates[:-2]] + [resolution] * 2
    widths = [round(min(base / 2 / cutoff, most)) for cutoff in cutoffs[:-1]] + [img_channels]
    layers = []
    for i in range(NUM_LAYERS + 1):
        before, colors = max(i - 1, 0), i == NUM_LAYERS
        raised = max(rates[before], rates[i]) * (1 if colors else 2)
        up, down = raised // rates[before], raised // rates[i]
        up_taps, down_taps = (0, 0) if colors else (FILTER_SIZE * up, FILTER_SIZE * down)
        kernel = 1 if colors or radial else 3
        total = (sizes[i] - 1) * down + 1 - (sizes[before] + kernel - 1) * up
        total += max(up_taps - 1, 0) + max(down_taps - 1, 0)
        first = (total + up) // 2 if not colors else 0
        layers.append(
            LayerDescription(
                name=f"L{i}_{sizes[i]}_{widths[i]}",
                inputs=widths[before],
                outputs=widths[i],
                kernel=kernel,
                in_size=(sizes[before], sizes[before]),
                out_size=(sizes[i], sizes[i]),
                up=up,
                down=down,
                up_taps=up_taps,
                down_taps=down_taps,
                down_radial=radial and not colors and cutoffs[i] * 2 < rates[i],
                padding=(first, total - first, first, total - first),
                conv_clamp=conv_clamp,
                is_torgb=colors,
            )
        )
    return SynthesisDescription(widths[0], (sizes[0], sizes[0]), rates[0], cutoffs[0], tuple(layers))


def user_transform(translate: tuple[float, float] = (0.0, 0.0), degrees: float = 0.0) -> Tensor:
    """
    A matrix [3, 3] that moves the picture: right and down as fractions of its side, and a rotation.
    """
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return torch.tensor([[cos, sin, translate[0]], [-sin, cos, translate[1]], [0.0, 0.0, 1.0]])


class SynthesisInput(nn.Module):
    """Sine waves over the plane that w moves and turns, mixed: the feature map that the layers start from."""

    transform: Tensor
    freqs: Tensor
    phases: Tensor

    def __init__(
        self, w_dim: int, channels: int, size: tuple[int, int], sampling_rate: float, bandwidth: float
    ) -> None:
        super().__init__()
        self.size, self.sampling_rate, self.bandwidth = size, sampling_rate, bandwidth
        self.affine = FullyConnected(w_dim, 4)
        self.affine.weight.data.zero_()
        self.affine.bias.data.copy_(torch.tensor([1.0, 0.0, 0.0, 0.0]))
        self.weight = nn.Parameter(torch.randn(channels, channels))
        directions = F.normalize(torch.randn(channels, 2), dim=1)
        self.register_buffer("transform", torch.eye(3))
        self.register_buffer("freqs", directions * torch.rand(channels, 1).sqrt() * bandwidth)
        self.register_buffer("phases", torch.rand(channels) - 0.5)

    def forward(self, w: Tensor, transform: Tensor | None = None) -> Tensor:
        """w [N, W] -> [N, C, height, width]. transform [3, 3] replaces the one that is stored."""
        user = self.transform if transform is None else torch.linalg.inv(transform.double()).to(w)
        t = self.affine(w)
        t = t / t[:, :2].norm(dim=1, keepdim=True)
        cos, sin, x, y = t.unbind(1)
        zero, one = torch.zeros_like(x), torch.ones_like(x)
        turn = torch.stack([cos, -sin, zero, sin, cos, zero, zero, zero, one], dim=1).view(-1, 3, 3)
        move = torch.stack([one, zero, -x, zero, one, -y, zero, zero, one], dim=1).view(-1, 3, 3)
        matrix = turn @ move @ user  # [N, 3, 3]
        phases = self.phases + (self.freqs @ matrix[:, :2, 2:]).squeeze(2)  # [N, C]
        freqs = self.freqs @ matrix[:, :2, :2]  # [N, C, 2]
        beyond = (freqs.norm(dim=2) - self.bandwidth) / (self.sampling_rate / 2 - self.bandwidth)
        waves = self.grid(w) @ freqs.transpose(1, 2)[:, None] + phases[:, None, None]  # [N, height, width, C]
        waves = (waves * (2 * math.pi)).sin() * (1 - beyond).clamp(0, 1)[:, None, None]
        return F.linear(waves, self.weight / math.sqrt(len(self.weight))).permute(0, 3, 1, 2)

    def grid(self, like: Tensor) -> Tensor:
        """The centres of the pixels: [height, width, (x, y)]."""
        x, y = (
            (torch.arange(size, device=like.device, dtype=like.dtype) + 0.5 - size / 2) / self.sampling_rate
            for size in self.size
        )
        return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=2)


class SynthesisLayer(nn.Module):
    """A modulated convolution, and a rectifier between filters; or, for colours, neither filter nor it."""

    magnitude_ema: Tensor
    up_filter: Tensor | None
    down_filter: Tensor | None
    frozen_scale: Tensor | None
    frozen_energy: Tensor | None

    def __init__(self, w_dim: int, plan: LayerDescription) -> None:
        super().__init__()
        self.plan = plan
        self.affine = FullyConnected(w_dim, plan.inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(plan.outputs, plan.inputs, plan.kernel, plan.kernel))
        self.bias = nn.Parameter(torch.zeros(plan.outputs))
        self.register_buffer("magnitude_ema", torch.ones([]))
        self.register_buffer("frozen_scale", None, persistent=False)
        self.register_buffer("frozen_energy", None, persistent=False)
        down_shape = (plan.down_taps,) * (2 if plan.down_radial else 1)
        up, down = torch.ones(plan.up_taps), torch.ones(down_shape)
        self.register_buffer("up_filter", up / up.numel() if plan.up_taps else None)
        self.register_buffer("down_filter", down / down.numel() if plan.down_taps else None)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """x [N, I, H, W] of in_size, w [N, W] -> [N, O, H, W] of out_size."""
        plan, style = self.plan, self.affine(w)
        gain = self.magnitude_ema.rsqrt()
        if self.up_filter is None or self.down_filter is None:
            x = F.conv2d(x * (style * (gain / math.sqrt(plan.inputs)))[:, :, None, None], self.weight)
            x = x + self.bias[:, None, None]
            return x if plan.conv_clamp is None else x.clamp(-plan.conv_clamp, plan.conv_clamp)
        style = style * style.square().mean(dim=1, keepdim=True).rsqrt()
        scale, energy = self.strengths()
        demodulation = scale * (style.square() @ energy.t() + 1e-8).rsqrt()  # [N, O]
        style = style[:, :, None, None]
        x = x * style if torch.is_grad_enabled() else x.mul_(style)  # nobody else looks at x
        x = F.conv2d(x, self.weight, padding=plan.kernel - 1)
        return filtered_rectifier(
            x,
            self.up_filter,
            self.down_filter,
            plan.up,
            plan.down,
            plan.padding,
            plan.conv_clamp,
            gain=demodulation * gain,
            bias=self.bias,
        )

    def strengths(self) -> tuple[Tensor, Tensor]:
        """
        What brings each output's weights to a mean square of 1, [O]; and the sums of squares of its kernels, so scaled,
        [O, I].
        """
        if self.frozen_scale is not None and self.frozen_energy is not None:
            return self.frozen_scale, self.frozen_energy
        squares = self.weight.square()
        scale = squares.mean(dim=(1, 2, 3)).rsqrt()
        return scale, squares.sum(dim=(2, 3)) * scale.square()[:, None]

    def freeze(self) -> None:
        """Keep what depends on the weights alone, and lay these out as the convolution reads them fastest."""
        scale, energy = self.strengths()
        self.frozen_scale, self.frozen_energy = scale.detach(), energy.detach()
        self.weight.data = self.weight.data.contiguous(memory_format=torch.channels_last)


class SynthesisNetwork(nn.Module):
    """ws [N, L, W] to a picture [N, img_channels, height, width], about [-1, 1]."""

    def __init__(self, w_dim: int, plan: SynthesisDescription) -> None:
        super().__init__()
        self.w_dim, self.plan, self.num_ws = w_dim, plan, len(plan.layers) + 1
        self.input = SynthesisInput(w_dim, plan.channels, plan.size, plan.sampling_rate, plan.bandwidth)
        for layer in plan.layers:
            setattr(self, layer.name, SynthesisLayer(w_dim, layer))

    def forward(self, ws: Tensor, transform: Tensor | None = None) -> Tensor:
        """ws [N, L, W]; transform [3, 3], as from `user_transform`, moves the picture."""
        x = self.input(ws[:, 0], transform)
        for row, layer in enumerate(self.plan.layers, start=1):
            x = getattr(self, layer.name)(x, ws[:, row])
        picture: Tensor = x * self.plan.output_scale
        return picture


class Generator(nn.Module):
    """The whole generator: `mapping` (z to w) and `synthesis` (w to a picture)."""

    def __init__(
        self,
        z_dim: int,
        w_dim: int,
        plan: SynthesisDescription,
        c_dim: int = 0,
        num_layers: int = 2,
        lr_multiplier: float = 0.01,
    ) -> None:
        super().__init__()
        self.z_dim, self.w_dim, self.c_dim = z_dim, w_dim, c_dim
        self.resolution, self.img_channels = plan.layers[-1].out_size[0], plan.layers[-1].outputs
        self.synthesis = SynthesisNetwork(w_dim, plan)
        self.num_ws = self.synthesis.num_ws
        self.mapping = MappingNetwork(z_dim, c_dim, w_dim, self.num_ws, num_layers, lr_multiplier)

    def forward(
        self,
        z: Tensor,
        c: Tensor | None = None,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
        transform: Tensor | None = None,
    ) -> Tensor:
        """[N, Z] -> [N, img_channels, height, width]."""
        pictures: Tensor = self.synthesis(self.mapping(z, c, truncation_psi, truncation_cutoff), transform)
        return pictures

    def draw(
        self,
        ws: Tensor,
        noise_mode: str = "const",
        noise: Mapping[str, Tensor] | None = None,
        random: torch.Generator | None = None,
        transform: Tensor | None = None,
    ) -> Tensor:
        """As `architectures.Network.draw`; there is no noise, and `transform` [3, 3] moves the picture."""
        pictures: Tensor = self.synthesis(ws, transform)
        return pictures

    def noise_buffers(self) -> dict[str, Tensor]:
        return {}

    def noise_in_use(self) -> dict[str, Tensor]:
        return {}

    def affines(self) -> list[tuple[int, nn.Module]]:
        """The layers that turn w into styles, each with the row of ws that it reads."""
        layers = enumerate(self.synthesis.plan.layers, start=1)
        return [(row, getattr(self.synthesis, layer.name).affine) for row, layer in layers]

    def freeze(self) -> "Generator":
        """
        Make this a generator that is only used: no gradients for weights, and what depends on them alone kept.
        """
        for layer in self.synthesis.plan.layers:
            getattr(self.synthesis, layer.name).freeze()
        return self.eval().requires_grad_(False)
