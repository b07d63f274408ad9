"""Train a StyleGAN2 generator: on a renderer's pairs, on pictures alone, or on both, in one loop.

Every picture of a renderer comes with its latent, so the generator can first learn by regression (latent in, picture
out), at 32 pixels, then 64, then the full size; this is many times cheaper than a GAN from scratch. Then a
discriminator joins for crispness, while the paired loss stays on as an anchor, so that latents keep their meaning.

A folder of pictures has no latents: the discriminator is the only teacher, as in arXiv 1912.04958, and sees pictures
through adaptive augmentations (arXiv 2006.06676), so that a few hundred or thousand of them do.

A run is a folder: `config.json`, `log.csv`, `sheets/`, `checkpoint.pt`. Everything random is a function of
the seed and the step, so a stopped run goes on exactly where it was (on a GPU: but for the order in which it adds up).
"""

from __future__ import annotations

import contextlib
import copy
import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ganworks.errors import InvalidInput
from ganworks.networks.stylegan2 import Generator
from ganworks.sheets import save_sheet

from . import journal, losses, muon
from .augment import Controller, augment
from .config import Config, Stage
from .data import Batch, PictureSet
from .domains import Domain, by_name
from .folders import PictureFolder
from .journal import Progress
from .networks import channels_last, new_discriminator, new_generator, synthesize

CHECKPOINT = "checkpoint.pt"
ALIGNMENT_SAMPLES = 512
SHEET_SEED = 1234
SHEET_PICTURES = 24
SHEET_COLUMNS = 8
PATH_LENGTH_DECAY = 0.01  # of the running mean of path lengths

# What a step draws at random, each from numbers of its own.
LATENTS, NOISE, MIXING, PATH_LENGTH, AUGMENT_FOOLING, AUGMENT_REAL, AUGMENT_FAKE, TEXTURE = range(8)


def factor_lengths(domain: Domain, w_dim: int) -> Tensor:
    """How long each factor's direction in w should be: the more a factor changes the picture, the longer."""
    order = {name: place for place, name in enumerate(domain.BY_VISIBILITY)}
    places = torch.tensor([order[factor.name] for factor in domain.FACTORS], dtype=torch.float32)
    shares = torch.exp(-1.1 * places / (len(order) - 1))
    return shares * math.sqrt(0.7 * w_dim / float(shares.square().sum()))


class Trainer:
    """The networks, their optimisers and the step; `run` goes through the stages."""

    def __init__(
        self,
        config: Config,
        data: PictureSet | PictureFolder,
        work: Path,
        device: str = "cpu",
        compile_with: str | None = None,
    ) -> None:
        """compile_with: the backend of torch.compile ("inductor"), or None to run as written."""
        if data.size < config.resolution:
            raise InvalidInput(
                f"The prepared pictures have {data.size} pixels, and this run ends at {config.resolution}. Prepare "
                "them again, in another folder."
            )
        torch.manual_seed(config.seed)
        self.config, self.data, self.work, self.device = config, data, work, torch.device(device)
        if self.device.type == "cuda":
            torch.backends.cudnn.benchmark = True
        self.generator = channels_last(new_generator(config)).to(self.device)
        self.discriminator = channels_last(new_discriminator(config)).to(self.device)
        self.ema = copy.deepcopy(self.generator).eval().requires_grad_(False)
        self.domain = by_name(config.domain) if config.paired else None
        if self.domain is not None:
            self.lengths = factor_lengths(self.domain, config.w_dim).to(self.device)
        named = list(self.generator.synthesis.named_parameters())
        kernels = [p for name, p in named if config.kernel_rate and muon.is_kernel(p)]
        known = {id(kernel) for kernel in kernels}
        self.generator_optimizer = torch.optim.Adam(
            [
                {"params": list(self.generator.mapping.parameters()), "factor": config.mapping_rate_factor},
                {"params": [p for _, p in named if id(p) not in known], "factor": 1.0},
            ],
            lr=config.learning_rate,
        )
        self.kernel_optimizer = muon.Muon(kernels, config.kernel_rate) if kernels else None
        self.discriminator_optimizer = torch.optim.Adam(
            self.discriminator.parameters(), lr=config.discriminator_rate, betas=(0.0, 0.99)
        )
        self.controller = Controller(config.augment_target, config.augment_speed_pictures)
        self.path_mean = torch.zeros([], device=self.device)
        self.step = 0
        self.draw: Callable[..., Tensor] = synthesize
        self.judge: Callable[..., Tensor] = self.discriminator
        if compile_with:
            self.draw = torch.compile(synthesize, dynamic=False, backend=compile_with)
            self.judge = torch.compile(self.discriminator, dynamic=False, backend=compile_with)

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
        """Train to the end, or for `steps`; saves a checkpoint and a sheet now and then, and at the end.

        FloatingPointError if the losses stop being numbers; the last checkpoint is then left as it is.
        """
        self.work.mkdir(parents=True, exist_ok=True)
        (self.work / "config.json").write_text(json.dumps(asdict(self.config), indent=2))
        last = math.ceil(self.config.total_pictures / self.config.batch)
        last = last if steps is None else min(last, self.step + steps)
        saved, logged, logged_step = time.monotonic(), time.monotonic(), self.step
        averages = journal.Averages()
        while self.step < last and not should_stop():
            averages.add(self.train_step())
            if self.step % log_every == 0:
                values, now = averages.take(), time.monotonic()
                rate = (self.step - logged_step) * self.config.batch / (now - logged)
                self._log(values, rate, on_progress)
                logged, logged_step = now, self.step
            if time.monotonic() - saved > save_every_seconds:
                self.save()
                self.draw_sheet()
                saved = time.monotonic()
        self.save()
        self.draw_sheet()

    def train_step(self) -> dict[str, Tensor]:
        """One batch for the generator and, in an adversarial stage, the discriminator; returns the losses."""
        config, stage = self.config, self.config.stage_at(self.pictures)
        self._set_rates()
        batch = self._to_device(self.data.at_step(self.step, config.batch, stage.resolution, config.seed))
        if self.pictures < config.head_start_pictures:
            with torch.no_grad():
                pictures = self._draw_batch(batch, stage)
            values: dict[str, Tensor] = {}
        else:
            pictures = self._draw_batch(batch, stage)
            values = self._train_generator(batch, pictures, stage)
        if stage.adversarial:
            values |= self._train_discriminator(batch.pictures, pictures.detach())
        self._update_average()
        self.step += 1
        return {name: value.detach() for name, value in values.items()}

    def _draw_batch(self, batch: Batch, stage: Stage) -> Tensor:
        """The generator's pictures for the batch's latents, or for new ones: [N, 3, r, r]."""
        z = self._normal(LATENTS, self.config.batch) if batch.latents is None else batch.latents
        ws = self._styles(z, mix=batch.latents is None)
        with self._autocast():
            return self.draw(self.generator.synthesis, ws, stage.resolution, self._noise(len(z), stage))

    def _train_generator(self, batch: Batch, pictures: Tensor, stage: Stage) -> dict[str, Tensor]:
        config = self.config
        loss, values = self._paired_losses(batch, pictures, stage)
        if stage.adversarial:
            self.discriminator.requires_grad_(False)
            values["fooling"] = losses.generator_adversarial(self._scores(pictures, AUGMENT_FOOLING))
            self.discriminator.requires_grad_(True)
            loss = loss + config.adversarial_weight * values["fooling"]
        if stage.adversarial and config.path_length_weight and self.step % config.path_length_every == 0:
            penalty, values["path_length"] = self._path_length(stage)
            loss = loss + config.path_length_weight * config.path_length_every * penalty
        optimizers = [self.generator_optimizer, *filter(None, [self.kernel_optimizer])]
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        for optimizer in optimizers:
            optimizer.step()
        return values

    def _paired_losses(
        self, batch: Batch, pictures: Tensor, stage: Stage
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """What ties latents to pictures; nothing where pictures come without latents."""
        if self.domain is None or batch.masks is None:
            return pictures.new_zeros([]), {}
        random = torch.Generator().manual_seed(self.config.seed * 1_000_003 + self.step)
        z = torch.randn(ALIGNMENT_SAMPLES, self.generator.z_dim, generator=random).to(self.device)
        paired = losses.reconstruction(pictures, batch.pictures, batch.masks, self.domain.MASK_WEIGHTS)
        alignment = losses.factor_alignment(self.generator.mapping, z, self.lengths)
        loss = paired + self.config.alignment_weight * alignment
        values = {"paired": paired, "alignment": alignment}
        if stage.texture:
            values["texture"] = losses.texture(pictures, batch.pictures, self._random(TEXTURE))
            loss = loss + stage.texture * values["texture"]
        return loss, values

    def _path_length(self, stage: Stage) -> tuple[Tensor, Tensor]:
        """The penalty and the mean length, in float32, for half a batch of new latents."""
        random = self._random(PATH_LENGTH)
        z = torch.randn(max(1, self.config.batch // 2), self.generator.z_dim, generator=random)
        ws = self._styles(z.to(self.device), mix=False)
        pictures = synthesize(self.generator.synthesis, ws, stage.resolution, self._noise(len(z), stage))
        noise = torch.randn(pictures.shape, generator=random).to(self.device)
        lengths = losses.path_lengths(ws, pictures, noise)
        self.path_mean = self.path_mean.lerp(lengths.mean().detach(), PATH_LENGTH_DECAY)
        return (lengths - self.path_mean).square().mean(), lengths.mean()

    def _train_discriminator(self, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        """Real and fake pictures are scored apart, so that each batch's spread tells of its own kind."""
        config = self.config
        shown = self._augmented(real, AUGMENT_REAL)
        real_scores, fake_scores = self._scores(shown), self._scores(fake, AUGMENT_FAKE)
        loss = losses.discriminator_adversarial(real_scores, fake_scores)
        values = {"judging": loss, "real": real_scores.mean(), "fake": fake_scores.mean()}
        if self.step % config.r1_every == 0:
            fade = self._fade()
            values["r1"] = losses.r1_penalty(lambda pictures: self.discriminator(pictures, fade), shown)
            loss = loss + 0.5 * config.r1_gamma * config.r1_every * values["r1"]
        self.discriminator_optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        self.discriminator_optimizer.step()
        if config.augment:
            self.controller.look(real_scores)
            state = {"certainty": self.controller.certainty, "augmentation": self.controller.p}
            values |= {name: torch.tensor(value) for name, value in state.items()}
        return values

    def _scores(self, pictures: Tensor, purpose: int | None = None) -> Tensor:
        """[N, 3, r, r] to scores [N, 1] in float32, augmented first if they serve a purpose."""
        if purpose is not None:
            pictures = self._augmented(pictures, purpose)
        with self._autocast():
            return self.judge(pictures.contiguous(memory_format=torch.channels_last), self._fade()).float()

    def _augmented(self, pictures: Tensor, purpose: int) -> Tensor:
        if not self.config.augment:
            return pictures
        return augment(pictures, self.controller.p, self._random(purpose))

    def _fade(self) -> Tensor | None:
        """How much the discriminator's newest block counts, while it is being faded in."""
        share = self.config.fade_at(self.pictures)
        return None if share >= 1 else torch.tensor(share, device=self.device)

    def _styles(self, z: Tensor, mix: bool) -> Tensor:
        """z [N, Z] to ws [N, L, W]; some take the finer rows from second latents if styles are mixed."""
        count, share = self.generator.num_ws, self.config.style_mixing
        ws: Tensor = self.generator.mapping(z)
        if not (mix and share):
            return ws
        random = self._random(MIXING)
        other = self.generator.mapping(torch.randn(z.shape, generator=random).to(self.device))
        mixed = torch.rand(len(z), generator=random) < share
        first = torch.randint(1, count, (len(z),), generator=random)  # of the rows that are exchanged
        first = torch.where(mixed, first, count).to(self.device)
        exchanged = torch.arange(count, device=self.device) >= first[:, None]  # [N, L]
        return torch.where(exchanged[:, :, None], other, ws)

    def _noise(self, count: int, stage: Stage) -> dict[str, Tensor]:
        """New noise maps for the layers up to a stage's resolution; none if the run has none."""
        if not self.config.layer_noise:
            return {}
        random = self._random(NOISE, self.device)
        sizes = {key: len(value) for key, value in self.generator.noise_buffers().items()}
        return {
            key: torch.randn(count, 1, side, side, generator=random, device=self.device)
            for key, side in sizes.items()
            if side <= stage.resolution
        }

    def _normal(self, purpose: int, count: int) -> Tensor:
        z = torch.randn(count, self.generator.z_dim, generator=self._random(purpose))
        return z.to(self.device)

    def _random(self, purpose: int, device: torch.device | str = "cpu") -> torch.Generator:
        """Random numbers that depend on the seed, the step and the purpose alone."""
        words = np.random.SeedSequence((self.config.seed, self.step, purpose)).generate_state(1, np.uint64)
        return torch.Generator(device).manual_seed(int(words[0]) >> 1)

    def _to_device(self, batch: Batch) -> Batch:
        latents, masks = (None if x is None else x.to(self.device) for x in (batch.latents, batch.masks))
        return Batch(latents, batch.pictures.to(self.device), masks)

    def _set_rates(self) -> None:
        """The learning rates of this step: a linear start, then what the stage says."""
        config = self.config
        stage, done = config.place(self.pictures)
        share = stage.rate_to + (stage.rate_from - stage.rate_to) * 0.5 * (1 + math.cos(math.pi * done))
        share *= min(1.0, (self.pictures + config.batch) / max(1, config.warm_up_pictures))
        for group in self.generator_optimizer.param_groups:
            group["betas"] = (config.adversarial_momentum if stage.adversarial else 0.9, 0.99)
            group["lr"] = config.learning_rate * share * group["factor"]
        for group in self.kernel_optimizer.param_groups if self.kernel_optimizer else []:
            group["lr"] = config.kernel_rate * share

    def _update_average(self) -> None:
        """Move the averaged generator toward the current one, faster in the beginning."""
        half_life = min(self.config.ema_half_life_pictures, 0.05 * self.pictures + 1)
        keep = 0.5 ** (self.config.batch / half_life)
        with torch.no_grad():
            torch._foreach_lerp_(list(self.ema.parameters()), list(self.generator.parameters()), 1 - keep)

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        if self.config.precision == "float32":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    def _log(
        self, values: dict[str, float], rate: float, on_progress: Callable[[Progress], None] | None
    ) -> None:
        config = self.config
        if not all(math.isfinite(value) for value in values.values()):
            raise FloatingPointError(
                f"The losses are no longer numbers after {self.pictures} pictures. The last checkpoint is kept: go "
                "on from it with a lower learning rate or in float32."
            )
        left = (config.total_pictures - self.pictures) / max(rate, 1e-6)
        resolution = config.stage_at(max(0, self.pictures - 1)).resolution
        progress = Progress(self.pictures, config.total_pictures, resolution, left, rate, values)
        journal.append(self.work / "log.csv", progress)
        if on_progress:
            on_progress(progress)

    @torch.no_grad()
    def draw_sheet(self) -> Path:
        """Save a sheet of the averaged generator: each row below renders of its latents, or all below real pictures."""
        resolution = self.config.stage_at(max(0, self.pictures - 1)).resolution
        if self.domain is None:
            random = torch.Generator().manual_seed(SHEET_SEED)
            z = torch.randn(SHEET_PICTURES, self.ema.z_dim, generator=random)
            rows = self.data.rows[:SHEET_COLUMNS]
            real = self.data.batch(rows, self.data.size).pictures
            blank = real.new_ones(SHEET_COLUMNS - len(real), *real.shape[1:])
            sheet = [real, blank, self._drawn_for_sheet(z, resolution)]
        else:
            z = self.domain.example_latents(SHEET_PICTURES, SHEET_SEED)
            targets, _ = self.domain.render(z, self.data.size)
            pairs = (targets, self._drawn_for_sheet(z, resolution))
            split = (torch.split(pictures, SHEET_COLUMNS) for pictures in pairs)
            sheet = [row for pair in zip(*split, strict=True) for row in pair]
        path = self.work / "sheets" / f"{self.pictures:07d}.png"
        save_sheet(torch.cat(sheet), path, columns=SHEET_COLUMNS)
        return path

    def _drawn_for_sheet(self, z: Tensor, resolution: int) -> Tensor:
        """The averaged generator's pictures at the size of the data, on the CPU."""
        noise = dict(self.ema.noise_buffers()) if self.config.layer_noise else {}
        parts = [
            synthesize(self.ema.synthesis, self.ema.mapping(part.to(self.device)), resolution, noise).cpu()
            for part in torch.split(z, SHEET_COLUMNS)
        ]
        pictures = torch.cat(parts)
        if resolution < self.data.size:
            pictures = F.interpolate(pictures, size=self.data.size, mode="bilinear")
        return pictures

    def save(self) -> None:
        """Write the checkpoint, whole or not at all."""
        draft = self.work / f"{CHECKPOINT}.draft"
        states = {name: getattr(self, name).state_dict() for name in (*self._stateful, "controller")}
        torch.save({"step": self.step, "path_mean": self.path_mean, **states}, draft)
        os.replace(draft, self.work / CHECKPOINT)

    def resume(self) -> bool:
        """Load the work folder's checkpoint; False if there is none."""
        path = self.work / CHECKPOINT
        if not path.exists():
            return False
        content = torch.load(path, map_location=self.device, weights_only=True)
        for name in self._stateful:
            getattr(self, name).load_state_dict(content[name])
        if "controller" in content:  # older checkpoints know nothing of it
            self.controller.load_state_dict(content["controller"])
            self.path_mean = content["path_mean"]
        self.step = content["step"]
        journal.forget_after(self.work / "log.csv", self.pictures)
        return True

    @property
    def _stateful(self) -> tuple[str, ...]:
        """What a checkpoint holds the state of."""
        usual = ("generator", "discriminator", "ema", "generator_optimizer", "discriminator_optimizer")
        return usual if self.kernel_optimizer is None else (*usual, "kernel_optimizer")

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

    def tune(self, generator: Generator, critic: dict[str, Tensor] | None = None) -> None:
        """Begin with the weights of a generator of this run's sizes, and with what is kept of its discriminator."""
        states = generator.state_dict()
        own = self.generator.state_dict()
        if own.keys() != states.keys() or any(own[key].shape != states[key].shape for key in own):
            raise InvalidInput("This generator is not of the sizes that the run's settings name.")
        for network in (self.generator, self.ema):
            network.load_state_dict(states)
        known = self.discriminator.state_dict()
        fitting = {k: v for k, v in (critic or {}).items() if k in known and known[k].shape == v.shape}
        self.discriminator.load_state_dict(known | fitting)
