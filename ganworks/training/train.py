"""Train a StyleGAN2 generator on a rendered folder, from paired pictures to an adversarial finish.

Because every picture of a renderer comes with its latent, the generator first learns by regression (latent
in, picture out), at 32 pixels, then 64, then the full size; this is many times cheaper than a GAN from
scratch. Then a discriminator joins for crispness, while the paired loss stays on as an anchor, so that
latents keep their meaning.

A run is a folder: `config.json`, `log.csv`, `sheets/`, `checkpoint.pt`. Everything random is a function of
the seed and the step, so a stopped run goes on exactly where it was.
"""

from __future__ import annotations

import contextlib
import copy
import csv
import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ganworks.networks.discriminator import Discriminator
from ganworks.networks.layers import upsample_image
from ganworks.networks.stylegan2 import Generator, SynthesisNetwork
from ganworks.sheets import save_sheet

from . import losses
from .data import PictureSet
from .domains import Domain, by_name

CHECKPOINT = "checkpoint.pt"
ALIGNMENT_SAMPLES = 512
SHEET_SEED = 1234


@dataclass(frozen=True)
class Stage:
    """A stretch of training: `pictures` at `resolution`, by regression alone or with the discriminator.

    The learning rate goes from `rate_from` to `rate_to` times the configured one, along half a cosine.
    """

    resolution: int
    pictures: int
    adversarial: bool = False
    rate_from: float = 1.0
    rate_to: float = 1.0


@dataclass(frozen=True)
class Config:
    """All that determines a run. Learning rates are Adam's; the discriminator's applies to it alone."""

    stages: tuple[Stage, ...] = (
        Stage(32, 40_000),
        Stage(64, 45_000),
        Stage(128, 60_000, rate_to=0.35),
        Stage(128, 25_000, adversarial=True, rate_from=0.35, rate_to=0.1),
    )
    domain: str = "portraits"
    seed: int = 0
    batch: int = 16
    held_out: int = 256
    w_dim: int = 128
    mapping_layers: int = 2
    channel_base: int = 2048
    channel_max: int = 128
    discriminator_channel_base: int = 1024
    learning_rate: float = 0.004
    mapping_rate_factor: float = 40.0  # the mapping's own multiplier of 0.01 is too slow for regression
    discriminator_rate: float = 0.002
    warm_up_pictures: int = 1000
    adversarial_weight: float = 0.05
    r1_gamma: float = 0.5
    r1_every: int = 16
    alignment_weight: float = 0.3
    ema_half_life_pictures: float = 3000.0
    bf16: bool = False

    @property
    def resolution(self) -> int:
        """The size of the finished generator's pictures."""
        return self.stages[-1].resolution

    @property
    def total_pictures(self) -> int:
        return sum(stage.pictures for stage in self.stages)

    def stage_at(self, pictures: int) -> Stage:
        """The stage in which the picture of this number is shown."""
        return self.place(pictures)[0]

    def place(self, pictures: int) -> tuple[Stage, float]:
        """The stage in which the picture of this number is shown, and how much of the stage is over (0 to 1)."""
        for stage in self.stages:
            if pictures < stage.pictures:
                return stage, pictures / stage.pictures
            pictures -= stage.pictures
        return self.stages[-1], 1.0

    @classmethod
    def from_json(cls, text: str) -> Config:
        """Read what `json.dumps(asdict(config))` wrote."""
        content: dict[str, Any] = json.loads(text)
        content["stages"] = tuple(Stage(**stage) for stage in content["stages"])
        return cls(**content)


@dataclass
class Progress:
    """One line of the log."""

    pictures: int
    of: int
    resolution: int
    seconds_left: float
    pictures_per_second: float
    values: dict[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        values = "  ".join(f"{name} {value:.4f}" for name, value in self.values.items())
        return (
            f"{self.pictures}/{self.of} at {self.resolution} px  {self.pictures_per_second:.1f} pictures/s  "
            f"{self.seconds_left / 60:.0f} min left  {values}"
        )


def synthesize(network: SynthesisNetwork, w: Tensor, resolution: int) -> Tensor:
    """What the blocks up to a resolution draw from w [N, W], without noise: [N, 3, resolution, resolution]."""
    x = network.blocks()[0].const.expand(w.shape[0], -1, -1, -1)
    picture = x.new_zeros(w.shape[0], network.img_channels, 2, 2)
    for block in network.blocks():
        if block.resolution > resolution:
            break
        for _, layer in block.layers():
            x = layer(x, w, None)
        picture = upsample_image(picture, block.resample_filter) + block.torgb(x, w)
    return picture


def factor_lengths(domain: Domain, w_dim: int) -> Tensor:
    """How long each factor's direction in w should be: the more a factor changes the picture, the longer."""
    order = {name: place for place, name in enumerate(domain.BY_VISIBILITY)}
    places = torch.tensor([order[factor.name] for factor in domain.FACTORS], dtype=torch.float32)
    shares = torch.exp(-1.1 * places / (len(order) - 1))
    return shares * math.sqrt(0.7 * w_dim / float(shares.square().sum()))


class Trainer:
    """The networks, their optimisers and the step; `run` goes through the stages."""

    def __init__(
        self, config: Config, data: PictureSet, work: Path, device: str = "cpu", compiled: bool = False
    ) -> None:
        torch.manual_seed(config.seed)
        self.config, self.data, self.work, self.device = config, data, work, torch.device(device)
        self.generator = _channels_last(_new_generator(config)).to(self.device)
        judge = Discriminator(config.resolution, 3, config.discriminator_channel_base, config.channel_max)
        self.discriminator = _channels_last(judge).to(self.device)
        self.ema = copy.deepcopy(self.generator).eval().requires_grad_(False)
        self.domain = by_name(config.domain)
        self.lengths = factor_lengths(self.domain, config.w_dim).to(self.device)
        self.generator_optimizer = torch.optim.Adam(
            [
                {"params": list(self.generator.mapping.parameters()), "factor": config.mapping_rate_factor},
                {"params": list(self.generator.synthesis.parameters()), "factor": 1.0},
            ],
            lr=config.learning_rate,
        )
        self.discriminator_optimizer = torch.optim.Adam(
            self.discriminator.parameters(), lr=config.discriminator_rate, betas=(0.0, 0.99)
        )
        self.step = 0
        self.draw: Callable[[SynthesisNetwork, Tensor, int], Tensor] = synthesize
        self.judge: Callable[[Tensor], Tensor] = self.discriminator
        if compiled:
            self.draw = torch.compile(synthesize, dynamic=False)
            self.judge = torch.compile(self.discriminator, dynamic=False)

    @property
    def pictures(self) -> int:
        """How many pictures the generator has been shown."""
        return self.step * self.config.batch

    def run(
        self,
        steps: int | None = None,
        log_every: int = 25,
        save_every_seconds: float = 120.0,
        on_progress: Callable[[Progress], None] | None = None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """Train to the end, or for `steps`; saves a checkpoint and a sheet now and then, and at the end."""
        self.work.mkdir(parents=True, exist_ok=True)
        (self.work / "config.json").write_text(json.dumps(asdict(self.config), indent=2))
        last = math.ceil(self.config.total_pictures / self.config.batch)
        last = last if steps is None else min(last, self.step + steps)
        saved, logged, logged_step = time.monotonic(), time.monotonic(), self.step
        totals: dict[str, float] = {}
        while self.step < last and not should_stop():
            for name, value in self.train_step().items():
                totals[name] = totals.get(name, 0.0) + value
            if self.step % log_every == 0:
                now, count = time.monotonic(), self.step - logged_step
                rate = count * self.config.batch / (now - logged)
                self._log({name: value / count for name, value in totals.items()}, rate, on_progress)
                totals, logged, logged_step = {}, now, self.step
            if time.monotonic() - saved > save_every_seconds:
                self.save()
                self.draw_sheet()
                saved = time.monotonic()
        self.save()
        self.draw_sheet()

    def train_step(self) -> dict[str, float]:
        """One batch for the generator and, in an adversarial stage, the discriminator; returns the losses."""
        config, stage = self.config, self.config.stage_at(self.pictures)
        self._set_rates()
        batch = self.data.at_step(self.step, config.batch, stage.resolution, config.seed)
        z, targets, masks = (x.to(self.device) for x in (batch.latents, batch.pictures, batch.masks))
        values: dict[str, float] = {}
        with self._autocast():
            w = self.generator.mapping.map_to_w(z)
            pictures = self.draw(self.generator.synthesis, w, stage.resolution)
        pictures = pictures.float()
        loss = losses.reconstruction(pictures, targets, masks, self.domain.MASK_WEIGHTS)
        values["paired"] = loss.item()
        alignment = losses.factor_alignment(self.generator.mapping, self._random_latents(), self.lengths)
        values["alignment"] = alignment.item()
        loss = loss + config.alignment_weight * alignment
        if stage.adversarial:
            self.discriminator.requires_grad_(False)
            with self._autocast():
                adversarial = losses.generator_adversarial(self.judge(pictures).float())
            self.discriminator.requires_grad_(True)
            values["fooling"] = adversarial.item()
            loss = loss + config.adversarial_weight * adversarial
        self.generator_optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        self.generator_optimizer.step()
        if stage.adversarial:
            values |= self._train_discriminator(targets, pictures.detach())
        self._update_average()
        self.step += 1
        return values

    def _train_discriminator(self, real: Tensor, fake: Tensor) -> dict[str, float]:
        config = self.config
        with self._autocast():
            scores = self.judge(torch.cat([real, fake])).float()
        real_scores, fake_scores = scores.chunk(2)
        loss = losses.discriminator_adversarial(real_scores, fake_scores)
        values = {
            "judging": loss.item(),
            "real": real_scores.mean().item(),
            "fake": fake_scores.mean().item(),
        }
        if self.step % config.r1_every == 0:
            penalty = losses.r1_penalty(self.discriminator, real)
            loss = loss + 0.5 * config.r1_gamma * config.r1_every * penalty
        self.discriminator_optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        self.discriminator_optimizer.step()
        return values

    def _random_latents(self) -> Tensor:
        random = torch.Generator().manual_seed(self.config.seed * 1_000_003 + self.step)
        return torch.randn(ALIGNMENT_SAMPLES, self.generator.z_dim, generator=random).to(self.device)

    def _set_rates(self) -> None:
        """The learning rates of this step: a linear start, then what the stage says."""
        config = self.config
        stage, done = config.place(self.pictures)
        share = stage.rate_to + (stage.rate_from - stage.rate_to) * 0.5 * (1 + math.cos(math.pi * done))
        share *= min(1.0, (self.pictures + config.batch) / config.warm_up_pictures)
        for group in self.generator_optimizer.param_groups:
            group["betas"] = (0.5 if stage.adversarial else 0.9, 0.99)
            group["lr"] = config.learning_rate * share * group["factor"]

    def _update_average(self) -> None:
        """Move the averaged generator toward the current one, faster in the beginning."""
        half_life = min(self.config.ema_half_life_pictures, 0.05 * self.pictures + 1)
        keep = 0.5 ** (self.config.batch / half_life)
        with torch.no_grad():
            torch._foreach_lerp_(list(self.ema.parameters()), list(self.generator.parameters()), 1 - keep)

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        if not self.config.bf16:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    def _log(
        self, values: dict[str, float], rate: float, on_progress: Callable[[Progress], None] | None
    ) -> None:
        config = self.config
        left = (config.total_pictures - self.pictures) / max(rate, 1e-6)
        resolution = config.stage_at(max(0, self.pictures - 1)).resolution
        progress = Progress(self.pictures, config.total_pictures, resolution, left, rate, values)
        path = self.work / "log.csv"
        names = [
            "pictures",
            "resolution",
            "pictures_per_second",
            "paired",
            "alignment",
            "fooling",
            "judging",
            "real",
            "fake",
        ]
        new = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.DictWriter(file, names, restval="")
            if new:
                writer.writeheader()
            row = {"pictures": self.pictures, "resolution": resolution, "pictures_per_second": round(rate, 2)}
            writer.writerow(row | {name: round(value, 5) for name, value in values.items()})
        if on_progress:
            on_progress(progress)

    @torch.no_grad()
    def draw_sheet(self) -> Path:
        """Save a sheet: rows of renders, below each what the averaged generator makes of its latents."""
        resolution = self.config.stage_at(max(0, self.pictures - 1)).resolution
        z = self.domain.example_latents(24, SHEET_SEED)
        targets, _ = self.domain.render(z, self.data.size)
        w = self.ema.mapping.map_to_w(z.to(self.device))
        pictures = synthesize(self.ema.synthesis, w, resolution).float().cpu()
        pictures = (
            F.interpolate(pictures, size=self.data.size, mode="bilinear")
            if resolution < self.data.size
            else pictures
        )
        rows = [
            row
            for pair in zip(torch.split(targets, 8), torch.split(pictures, 8), strict=True)
            for row in pair
        ]
        path = self.work / "sheets" / f"{self.pictures:07d}.png"
        save_sheet(torch.cat(rows), path, columns=8)
        return path

    def save(self) -> None:
        """Write the checkpoint, whole or not at all."""
        draft = self.work / f"{CHECKPOINT}.draft"
        modules = {name: getattr(self, name).state_dict() for name in _STATEFUL}
        torch.save({"step": self.step, **modules}, draft)
        os.replace(draft, self.work / CHECKPOINT)

    def resume(self) -> bool:
        """Load the work folder's checkpoint; False if there is none."""
        path = self.work / CHECKPOINT
        if not path.exists():
            return False
        content = torch.load(path, map_location=self.device, weights_only=True)
        for name in _STATEFUL:
            getattr(self, name).load_state_dict(content[name])
        self.step = content["step"]
        return True

    def start_from(self, path: Path) -> None:
        """Take over another run's networks, and go on at its step: its resolution and recipe may be others.

        Layers that only one of the two has (those of a finer resolution) are left as they are here, and the
        optimisers start anew.
        """
        content = torch.load(path, map_location=self.device, weights_only=True)
        for name in ("generator", "discriminator", "ema"):
            own, other = getattr(self, name).state_dict(), content[name]
            fitting = {key: other[key] for key in own if key in other and other[key].shape == own[key].shape}
            getattr(self, name).load_state_dict(own | fitting)
        self.step = content["step"]


_STATEFUL = ("generator", "discriminator", "ema", "generator_optimizer", "discriminator_optimizer")


Network = TypeVar("Network", bound=nn.Module)


def _channels_last(network: Network) -> Network:
    """Lay convolution kernels out as CPUs and GPUs like them best: about a quarter faster, same numbers."""
    for parameter in network.parameters():
        if parameter.dim() == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return network


def _new_generator(config: Config) -> Generator:
    """A generator whose colors start faint, so that a new resolution does not disturb what is learned."""
    generator = Generator(
        by_name(config.domain).Z_DIM,
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
