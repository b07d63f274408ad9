"""What the engine's tests share: small generators with random weights, and folders of them."""

from pathlib import Path

import pytest
import torch

from ganworks.components import principal_components
from ganworks.generator import Generator, open_generator, save_generator
from ganworks.networks import stylegan2
from ganworks.networks.discriminator import Discriminator
from ganworks.training.finish import save_critic

SIDE_PX = 32


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """The tests share the machine."""
    torch.set_num_threads(1)


def small_network(seed: int = 0, **changes: int) -> stylegan2.Generator:
    """A generator of 32 px with random weights, whose layers use noise."""
    torch.manual_seed(seed)
    sizes = {
        "z_dim": 16,
        "w_dim": 24,
        "resolution": SIDE_PX,
        "num_layers": 2,
        "channel_base": 256,
        "channel_max": 16,
    }
    network = stylegan2.Generator(**{**sizes, **changes})
    for block in network.synthesis.blocks():
        for _, layer in block.layers():
            layer.noise_strength.data.fill_(0.1)
    return network


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A library's folder with one generator, "small", its components and its critic."""
    path = tmp_path / "models" / "small" / "generator.safetensors"
    save_generator(small_network(), path, label="Small", license="CC0-1.0", description="Random weights.")
    principal_components(open_generator(path), samples=500).save(path.with_name("components.safetensors"))
    torch.manual_seed(1)
    save_critic(
        Discriminator(SIDE_PX, channel_base=256, channel_max=16),
        path.with_name("critic.safetensors"),
        "Small",
    )
    return tmp_path / "models"


@pytest.fixture
def generator(folder: Path) -> Generator:
    return open_generator(folder / "small")
