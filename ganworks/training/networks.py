"""The networks of a run: new ones, those of an imported generator, and drawing at a lower resolution."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ganworks import architectures, checkpoint
from ganworks.errors import InvalidInput
from ganworks.info import CRITIC_FILE, GENERATOR_FILE, locate, read_generator_info
from ganworks.networks.discriminator import Discriminator
from ganworks.networks.layers import SQRT_2, upsample_image
from ganworks.networks.stylegan2 import Generator, SynthesisNetwork

from .config import Config

HALF_PRECISION_BLOCKS = 4  # the finest ones; the others cost little, and their rounding would spread

Network = TypeVar("Network", bound=nn.Module)


def synthesize(
    network: SynthesisNetwork, ws: Tensor, resolution: int, noise: dict[str, Tensor] | None = None
) -> Tensor:
    """What the blocks up to a resolution draw from ws [N, L, W]: float32 [N, 3, resolution, resolution].

    noise: maps [N, 1, r, r] by name, as in `SynthesisNetwork.noise_buffers`; without them no noise is added. Within
    an autocast only the finest blocks are computed in half precision (as in arXiv 2006.06676), and colors
    are always added up in float32.
    """
    device, noise = ws.device.type, noise or {}
    full = torch.is_autocast_enabled(device)
    x = network.blocks()[0].const.expand(ws.shape[0], -1, -1, -1)
    picture = ws.new_zeros(ws.shape[0], network.img_channels, 2, 2)
    row = 0  # a block's colors and the next block's conv0 share a row of ws
    for block in network.blocks():
        if block.resolution > resolution:
            break
        with torch.autocast(
            device, torch.bfloat16, full and block.resolution << HALF_PRECISION_BLOCKS > resolution
        ):
            before = x if block.shortcut else None
            for key, layer in block.layers():
                x = layer(x, ws[:, row], noise.get(key))
                row += 1
            if before is not None:
                x = (x + block.skip(before)) / SQRT_2
            colors = block.torgb(x, ws[:, row]).float() if hasattr(block, "torgb") else None
        with torch.autocast(device, enabled=False):
            if colors is not None and network.architecture == "skip":
                picture = upsample_image(picture, block.resample_filter) + colors
            elif colors is not None:
                picture = colors
    return picture


def new_generator(config: Config) -> Generator:
    """A generator whose colors start faint, so that a new resolution does not disturb what is learned."""
    if config.network is not None:
        sizes = dict(config.network)
        sizes["widths"] = {int(r): width for r, width in sizes["widths"].items()}
        return Generator(**sizes)
    generator = Generator(
        config.latent_size,
        config.w_dim,
        config.resolution,
        num_layers=config.mapping_layers,
        channel_base=config.channel_base,
        channel_max=config.channel_max,
    )
    with torch.no_grad():
        for block in generator.synthesis.blocks():
            weight: nn.Parameter = block.torgb.weight
            weight.mul_(0.1)
    return generator


def new_discriminator(config: Config) -> Discriminator:
    """A discriminator that judges the pictures of all adversarial stages."""
    return Discriminator(
        config.resolution,
        3,
        config.discriminator_channel_base,
        config.discriminator_channel_max or config.channel_max,
        entries=config.judged_resolutions,
    )


def channels_last(network: Network) -> Network:
    """Lay convolution kernels out as CPUs and GPUs like them best: about a quarter faster, same numbers."""
    for parameter in network.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return network


def load_for_tuning(path_or_name: str) -> Generator:
    """A generator from its file, its folder or its name, as it is trained on. InvalidInput if it cannot be."""
    info = read_generator_info(locate(path_or_name, GENERATOR_FILE))
    if info.architecture != "stylegan2" or info.c_dim:
        raise InvalidInput(
            f"{info.label or info.name} cannot be trained further. Choose a StyleGAN2 generator without classes."
        )
    header = checkpoint.read_header(info.path, "generator")
    network = architectures.build(header, info)
    network.load_state_dict(checkpoint.read_tensors(info.path, header), assign=True)
    assert isinstance(network, Generator)  # noqa: S101  # the architecture was checked
    return network.train().requires_grad_(True)


def load_critic(path_or_name: str) -> dict[str, Tensor]:
    """What the file beside a generator keeps of its discriminator; nothing if there is none."""
    path = locate(path_or_name, GENERATOR_FILE).with_name(CRITIC_FILE)
    if not path.exists():
        return {}
    tensors = checkpoint.read_tensors(path, checkpoint.read_header(path, "critic"))
    return {key: value.float() if value.is_floating_point() else value for key, value in tensors.items()}


def config_for_tuning(path_or_name: str, **changes: Any) -> Config:
    """The settings for training a generator further on pictures alone, with a new discriminator of its widths.

    The discriminator learns alone first: what it says in the beginning would only do harm.
    """
    network, info = load_for_tuning(path_or_name), read_generator_info(locate(path_or_name, GENERATOR_FILE))
    mapping, synthesis = network.mapping, network.synthesis
    widths = {block.resolution: len(block.conv1.bias) for block in synthesis.blocks()}
    config = Config.for_images(network.resolution, **changes)
    return replace(
        config,
        z_dim=network.z_dim,
        w_dim=network.w_dim,
        mapping_layers=mapping.num_layers,
        network={
            "z_dim": network.z_dim,
            "w_dim": network.w_dim,
            "resolution": network.resolution,
            "num_layers": mapping.num_layers,
            "lr_multiplier": mapping.lr_multiplier,
            "conv_clamp": network.conv_clamp,
            "architecture": network.architecture,
            "widths": {str(r): width for r, width in widths.items()},
        },
        discriminator_channel_base=max(r * width for r, width in widths.items()),
        discriminator_channel_max=max(widths.values()),
        head_start_pictures=min(2_000, config.total_pictures // 50),
        augment_speed_pictures=100_000,
        origin=(info.label or info.name, info.license, info.sha256),
    )
