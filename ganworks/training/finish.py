"""Turn a run into a starter folder: generator, components, critic, contact sheet and measured figures."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ganworks import checkpoint
from ganworks.components import closed_form_factors, principal_components
from ganworks.generator import open_generator, save_generator
from ganworks.networks.discriminator import Discriminator
from ganworks.sheets import save_sheet

from . import metrics
from .data import PictureSet
from .folders import PictureFolder
from .train import Trainer

LICENSE = "Same licence as PixelLift"
UNKNOWN_LICENSE = "That of the pictures it was trained on"
W_AVERAGE_SAMPLES = 50_000
COMPONENT_COUNT = 48
FACTOR_COUNT = 32
SHEET_SEEDS = range(32)  # the first ones, not chosen
SHEET_TRUNCATION_PSI = 1.0
MEASURED_PICTURES = 1024


@dataclass(frozen=True)
class About:
    """What a generator's file says to people."""

    label: str
    license: str
    description: str


def about(trainer: Trainer, folder: Path) -> About:
    """What can be said of a run: of a domain all; of pictures of the operator's own only where they came from."""
    label, license, _ = trainer.config.origin
    if trainer.domain is not None:
        return About(trainer.domain.LABEL, LICENSE, trainer.domain.DESCRIPTION)
    learned = f"Trained here on {len(trainer.data):,} pictures"
    if label:
        return About(folder.name, license or UNKNOWN_LICENSE, f"{learned}, from the weights of {label}.")
    return About(folder.name, UNKNOWN_LICENSE, f"{learned}.")


def finish(
    trainer: Trainer,
    folder: Path,
    component_names: dict[int, str] | None = None,
    label: str | None = None,
    license: str | None = None,
    description: str | None = None,
    half: bool = False,
) -> dict[str, Any]:
    """Write a generator, its components, critic and sheet, and return the measured figures.

    component_names: what the components of these numbers (from 0) were seen to change; others keep
    "Component N". label, license and description take the place of those of `about`. half: store the generator in 16 bits.
    """
    known = about(trainer, folder)
    said = About(label or known.label, license or known.license, description or known.description)
    folder.mkdir(parents=True, exist_ok=True)
    network = trainer.ema
    network.mapping.w_avg.copy_(mean_w(trainer))
    path = folder / "generator.safetensors"
    save_generator(
        network,
        path,
        label=said.label,
        license=said.license,
        description=said.description,
        source_format="pixellift-training",
        half=half,
    )
    generator = open_generator(path)
    basis = principal_components(
        generator, samples=100_000, seed=0, count=min(COMPONENT_COUNT, generator.w_dim)
    )
    basis.rename(component_names or {})
    basis.save(folder / "components.safetensors")
    closed_form_factors(generator, FACTOR_COUNT).save(folder / "factors.safetensors")
    if has_learned(trainer.discriminator):
        save_critic(trainer.discriminator, folder / "critic.safetensors", said.label, said.license)
    with torch.no_grad():
        ws = generator.mapping(generator.latents(list(SHEET_SEEDS)), truncation_psi=SHEET_TRUNCATION_PSI)
        save_sheet(generator.synthesis(ws), folder / "sheet.webp", columns=8)
    figures = measure(trainer)
    (trainer.work / "figures.json").write_text(json.dumps(figures, indent=2))
    return figures


@torch.no_grad()
def mean_w(trainer: Trainer) -> Tensor:
    """The mean of w over many latents: [w_dim]."""
    random = torch.Generator().manual_seed(0)
    z = torch.randn(W_AVERAGE_SAMPLES, trainer.ema.z_dim, generator=random).to(trainer.device)
    mean: Tensor = trainer.ema.mapping.map_to_w(z).mean(dim=0)
    return mean


def has_learned(discriminator: Discriminator) -> bool:
    """Whether a discriminator was ever trained: a new one's biases are all zero. Without training it is no critic."""
    biases = [value for name, value in discriminator.named_parameters() if name.endswith("bias")]
    return any(bool(bias.any()) for bias in biases)


def save_critic(discriminator: Discriminator, path: Path, label: str, license: str = LICENSE) -> None:
    """Write the discriminator's feature layers in half precision, without the last ones, which only score.

    The ways in for pictures of lower resolutions are left out too.
    """
    unused = tuple(f"b{r}.fromrgb." for r in discriminator.entries if r != discriminator.resolution)
    tensors = {
        key: value.half() if value.is_floating_point() else value
        for key, value in discriminator.state_dict().items()
        if not key.startswith(("b4.", *unused))
    }
    meta = {
        "architecture": "stylegan2",
        "resolution": discriminator.resolution,
        "img_channels": discriminator.img_channels,
        "channel_base": discriminator.channel_base,
        "channel_max": discriminator.channel_max,
        "label": label,
        "license": license,
    }
    checkpoint.write(path, "critic", meta, tensors)


@torch.no_grad()
def measure(trainer: Trainer, count: int = MEASURED_PICTURES) -> dict[str, Any]:
    """Paired PSNR on held-out renders, and sliced Wasserstein distances beside those of real pictures to real ones.

    Pictures without latents have no PSNR.
    """
    data, size = trainer.data, trainer.config.resolution
    pairs = []
    for batch in data.held_out_batches(16, size):
        if batch.latents is not None:
            pairs.append(metrics.psnr(_draw(trainer, batch.latents), batch.pictures))
    kind = "renders" if trainer.config.paired else "pictures"
    count = min(count, len(data) // 2)
    first = torch.cat([data.batch(rows, size).pictures for rows in _split(data, 0, count)])
    second = torch.cat([data.batch(rows, size).pictures for rows in _split(data, count, count)])
    random = torch.Generator().manual_seed(99)
    z = torch.randn(count, trainer.ema.z_dim, generator=random)
    fakes = torch.cat([_draw(trainer, part) for part in torch.split(z, 16)])
    return {
        "pictures_shown": trainer.pictures,
        "held_out_pictures": len(data.held_rows),
        "psnr_db_mean": float(torch.cat(pairs).mean()) if pairs else None,
        "swd_pictures": count,
        f"swd_generated_to_{kind}": metrics.sliced_wasserstein(fakes, first),
        f"swd_{kind}_to_{kind}": metrics.sliced_wasserstein(second, first),
    }


def _draw(trainer: Trainer, z: Tensor) -> Tensor:
    generator = trainer.ema
    pictures: Tensor = generator.synthesis(generator.mapping(z.to(trainer.device)), noise_mode="const")
    return pictures.float().cpu().clamp(-1, 1)


def _split(data: PictureSet | PictureFolder, start: int, count: int) -> list[Any]:
    return [data.rows[i : min(i + 64, start + count)] for i in range(start, start + count, 64)]
