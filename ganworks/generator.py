"""
A generator that is ready to use: loaded from its file, frozen, on a device, safe to use from several threads.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ganworks import checkpoint
from ganworks.checkpoint import Header
from ganworks.devices import choose_device, plain_memory_errors
from ganworks.errors import InvalidInput
from ganworks.info import GENERATOR_FILE, MAX_DIM, GeneratorInfo, locate, read_generator_info
from ganworks.networks import stylegan2

MAX_SEED = 2**32 - 1
PICTURES_AT_ONCE = 8


class Generator:
    """
    `network` is the frozen torch module, for those who need gradients; the methods here compute without them
    and return ordinary tensors on `device`.
    """

    def __init__(self, network: stylegan2.Generator, info: GeneratorInfo, device: torch.device) -> None:
        self.network, self.info, self.device = network, info, device
        self.z_dim, self.w_dim, self.c_dim = network.z_dim, network.w_dim, network.c_dim
        self.num_ws, self.resolution = network.num_ws, network.resolution
        self.sha256 = info.sha256

    @property
    def w_avg(self) -> Tensor:
        """The average of w that truncation moves toward: [w_dim]."""
        return self.network.mapping.w_avg

    @property
    def num_parameters(self) -> int:
        """How many numbers were learned."""
        return sum(parameter.numel() for parameter in self.network.parameters())

    def latents(self, seeds: Sequence[int]) -> Tensor:
        """
        Seeds (0 to 2**32 - 1) to z [N, z_dim], the same as the public StyleGAN tools make of these seeds.
        """
        if not all(0 <= seed <= MAX_SEED for seed in seeds):
            raise InvalidInput(f"A seed must be a whole number from 0 to {MAX_SEED}.")
        rows = [np.random.RandomState(seed).randn(self.z_dim) for seed in seeds]
        return torch.from_numpy(np.array(rows, dtype=np.float32).reshape(-1, self.z_dim)).to(self.device)

    @torch.no_grad()
    def mapping(
        self,
        z: Tensor,
        c: Tensor | None = None,
        truncation_psi: float = 1,
        truncation_cutoff: int | None = None,
    ) -> Tensor:
        """
        z [N, z_dim] (and, for a conditional generator, c [N, c_dim], one-hot) to ws [N, num_ws, w_dim].
        Truncation moves the first `truncation_cutoff` rows (all if None) to w_avg + psi * (w - w_avg).
        """
        if z.ndim != 2 or z.shape[1] != self.z_dim:
            raise InvalidInput(f"A latent must have the shape [N, {self.z_dim}], not {list(z.shape)}.")
        if self.c_dim and (c is None or c.shape != (z.shape[0], self.c_dim)):
            raise InvalidInput(
                f"This generator needs a class for each picture, of the shape [N, {self.c_dim}]."
            )
        if truncation_cutoff is not None and truncation_cutoff < 0:
            raise InvalidInput("The cutoff of truncation must not be negative.")
        classes = c.to(self.device) if self.c_dim and c is not None else None
        ws: Tensor = self.network.mapping(z.to(self.device), classes, truncation_psi, truncation_cutoff)
        return ws

    @torch.no_grad()
    def sample_w(self, count: int, random: torch.Generator) -> Tensor:
        """
        Draw w [count, w_dim] from normal latents (and even classes); `random` is a generator on the CPU.
        """
        z = torch.randn(count, self.z_dim, generator=random).to(self.device)
        c = None
        if self.c_dim:
            labels = torch.randint(self.c_dim, (count,), generator=random)
            c = torch.nn.functional.one_hot(labels, self.c_dim).float().to(self.device)
        return self.network.mapping.map_to_w(z, c)

    def synthesis(
        self,
        ws: Tensor,
        noise_mode: str = "const",
        noise: Mapping[str, Tensor] | None = None,
        noise_seed: int | None = None,
    ) -> Tensor:
        """
        ws [N, num_ws, w_dim] to pictures [N, 3, resolution, resolution] float32, about [-1, 1].

        noise_mode: "const" uses the generator's own noise maps, or those in `noise` (as a Projection holds
        them), "random" draws new ones (the same for the same `noise_seed`), "none" leaves noise out.
        """
        if ws.ndim != 3 or ws.shape[1:] != (self.num_ws, self.w_dim):
            raise InvalidInput(
                f"ws must have the shape [N, {self.num_ws}, {self.w_dim}], not {list(ws.shape)}."
            )
        if noise_mode not in stylegan2.NOISE_MODES:
            raise InvalidInput(f"The noise mode must be one of {', '.join(stylegan2.NOISE_MODES)}.")
        maps = self._check_noise(noise or {})
        random = None
        if noise_mode == "random" and noise_seed is not None:
            random = torch.Generator(self.device).manual_seed(noise_seed)
        with plain_memory_errors(), torch.inference_mode():
            parts = [
                self.network.synthesis(part, noise_mode, maps, random)
                for part in torch.split(ws.to(self.device, torch.float32), PICTURES_AT_ONCE)
            ]
            pictures = torch.cat(parts) if parts else ws.new_zeros(0, 3, self.resolution, self.resolution)
        return pictures.clone(
            memory_format=torch.contiguous_format
        )  # outside inference mode: an ordinary tensor

    def _check_noise(self, noise: Mapping[str, Tensor]) -> dict[str, Tensor]:
        own = self.network.synthesis.noise_buffers()
        for key, value in noise.items():
            if key not in own or value.shape[-2:] != own[key].shape or value.numel() != own[key].numel():
                raise InvalidInput("The noise maps belong to another generator.")
        return {key: value.to(self.device, torch.float32) for key, value in noise.items()}


def open_generator(path_or_name: str | Path, device: str = "cpu") -> Generator:
    """
    Load a generator from its file, its folder, or a starter's name. GeneratorNotFound if there is none,
    CheckpointError if the file is damaged or lies about itself.
    """
    return load_generator(read_generator_info(locate(path_or_name, GENERATOR_FILE)), choose_device(device))


def load_generator(info: GeneratorInfo, device: torch.device) -> Generator:
    """Load the generator that `info` describes."""
    header = checkpoint.read_header(info.path, "generator")
    with torch.device("meta"):
        network = stylegan2.Generator(**_arguments(header, info))
    checkpoint.check_shapes(header, {key: tuple(value.shape) for key, value in network.state_dict().items()})
    with plain_memory_errors():
        network.load_state_dict(checkpoint.read_tensors(info.path, header), assign=True)
        network = network.to(device).freeze()
    return Generator(network, info, device)


def save_generator(network: stylegan2.Generator, path: str | Path, **meta: Any) -> None:
    """
    Write a network as generator.safetensors. The sizes go into the header by themselves; `meta` adds label,
    license, description, source_format and the like.
    """
    sizes = {
        "architecture": "stylegan2",
        "synthesis_architecture": network.architecture,
        "resolution": network.resolution,
        "img_channels": network.img_channels,
        "z_dim": network.z_dim,
        "w_dim": network.w_dim,
        "c_dim": network.c_dim,
        "num_ws": network.num_ws,
        "num_layers": network.mapping.num_layers,
        "channel_base": network.channel_base,
        "channel_max": network.channel_max,
        "lr_multiplier": network.lr_multiplier,
        "conv_clamp": network.conv_clamp,
        "classes": [],
        "crop": None,
        "source_sha256": None,
    }
    checkpoint.write(path, "generator", {**sizes, **meta}, network.state_dict())


def _arguments(header: Header, info: GeneratorInfo) -> dict[str, Any]:
    """
    What the network's constructor needs; what an imported file does not say is read off its tensors' shapes.
    """
    if header.integer("img_channels", 1, 64, 3) != 3:
        raise checkpoint.damaged(header.name, "it does not make pictures of three colours")
    architecture = header.text("synthesis_architecture", "skip")
    if architecture not in stylegan2.ARCHITECTURES:
        known = ", ".join(stylegan2.ARCHITECTURES)
        raise checkpoint.damaged(
            header.name, f"its header must give 'synthesis_architecture' as one of {known}"
        )
    mapping_layers = sum(key.startswith("mapping.fc") and key.endswith(".weight") for key in header.shapes)
    widths = {r: _width(header, r) for r in (4, info.resolution)}
    return {
        "z_dim": info.z_dim,
        "w_dim": info.w_dim,
        "resolution": info.resolution,
        "c_dim": info.c_dim,
        "num_layers": header.integer("num_layers", 1, 64, mapping_layers),
        "channel_base": header.integer("channel_base", 1, 2**24, widths[info.resolution] * info.resolution),
        "channel_max": header.integer("channel_max", 1, MAX_DIM, widths[4]),
        "lr_multiplier": header.number("lr_multiplier", 1e-9, 1e9, 0.01),
        "conv_clamp": None
        if header.meta.get("conv_clamp") is None
        else header.number("conv_clamp", 1e-9, 1e9),
        "architecture": architecture,
    }


def _width(header: Header, resolution: int) -> int:
    shape = header.shapes.get(f"synthesis.b{resolution}.conv1.weight", ())
    return shape[0] if len(shape) == 4 else 1
