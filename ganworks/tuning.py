"""Tuning: let a generator draw one picture faithfully, and all others as before.

Source: Roich et al., "Pivotal Tuning for Latent-based Editing of Real Images" (arXiv 2106.05744). A projection's latent, the
pivot, stays where it is, and the weights of the synthesis are trained until they draw the target there (section 3.2).
Locality regularisation (section 3.3) keeps what the original draws between the pivot and random latents, so that edits
still act and other latents keep their pictures. Two things differ: only what fits a small file is trained (see
`difference`), and the distances need no downloaded network (see `perceptual`).
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ganworks import checkpoint, difference, perceptual
from ganworks.devices import plain_memory_errors
from ganworks.difference import Difference
from ganworks.errors import BasisMismatch, InvalidInput
from ganworks.generator import Generator
from ganworks.projection import MAX_STEPS, Projection, ProjectionStep, learning_rate_at

DEFAULT_STEPS = 400  # measured: see docs/engine.md


@dataclass(frozen=True)
class Knobs:
    """What can be turned. The defaults were measured: see docs/engine.md."""

    learning_rate: float = 0.01
    max_rank: int = difference.MAX_RANK
    locality: float = 0.3  # how much it counts that other pictures stay
    nearest: float = 0.0  # of the way from the pivot to a random latent; they must stay from there to its end
    weights: perceptual.Weights = field(default_factory=lambda: perceptual.Weights(square=20.0, critic=0.0))


@dataclass(frozen=True)
class Tuned:
    """
    What came of it. difference: for `Generator.tuned`. psnr: of the picture at the pivot in dB, `psnr_before` that of
    the original generator. loss: the last distance from the target (`perceptual.Distance`). `steps` that were made.
    """

    difference: Difference
    psnr: float
    psnr_before: float
    loss: float
    steps: int
    stopped_early: bool = False

    def save(self, target: checkpoint.Source) -> None:
        """Write to a path or an open binary file: at most `difference.MAX_BYTES`."""
        meta = {
            "psnr": self.psnr,
            "psnr_before": self.psnr_before,
            "loss": self.loss,
            "steps": self.steps,
            "stopped_early": self.stopped_early,
        }
        self.difference.save(target, meta)

    @classmethod
    def load(cls, source: checkpoint.Source) -> "Tuned":
        """Read from a path or an open binary file; CheckpointError if it is damaged or something else."""
        found, header = Difference.load(source)
        return cls(
            difference=found,
            psnr=header.number("psnr", -1e3, 1e3),
            psnr_before=header.number("psnr_before", -1e3, 1e3),
            loss=header.number("loss", -1e9, 1e9),
            steps=header.integer("steps", 0, MAX_STEPS),
            stopped_early=header.meta.get("stopped_early") is True,
        )


def tune(
    generator: Generator,
    target: Tensor,
    projection: Projection,
    *,
    steps: int = DEFAULT_STEPS,
    seed: int = 0,
    on_step: Callable[[ProjectionStep], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    preview_every_seconds: float = 0.5,
    knobs: Knobs | None = None,
) -> Tuned:
    """
    Tune `generator` so that it draws `target`, [1, 3, H, W] in [-1, 1] at its resolution, at the latent and with the
    noise of `projection`. The generator itself is left as it is.

    The same arguments give the same result on the same machine. `should_stop` is asked between steps: what was tuned
    until then comes back with `stopped_early`. `on_step` is told as by `project`.
    """
    _check(generator, target, projection, steps)
    if not preview_every_seconds > 0:
        raise InvalidInput("The time between previews must be more than 0 seconds.")
    with plain_memory_errors(), torch.enable_grad():
        work = _Work(generator, target, projection, steps, seed, knobs or Knobs())
        done, last_preview, stopped = 0, -math.inf, False
        while done < steps:
            if done and should_stop is not None and should_stop():
                stopped = True
                break
            work.step(done)
            done += 1
            if on_step is not None:
                due = time.monotonic() - last_preview >= preview_every_seconds or done == steps
                last_preview = time.monotonic() if due else last_preview
                on_step(ProjectionStep(done, steps, work.loss, work.picture if due else None))
        return work.result(done, stopped)


def _check(generator: Generator, target: Tensor, projection: Projection, steps: int) -> None:
    size = generator.resolution
    if projection.generator_sha256 != generator.sha256:
        raise BasisMismatch("This projection belongs to another generator. Project the picture again.")
    if target.shape != (1, 3, size, size):
        raise InvalidInput(f"The picture to tune for must have the shape [1, 3, {size}, {size}].")
    if not bool(torch.isfinite(target).all()):
        raise InvalidInput("The picture to tune for holds numbers that are not finite.")
    if not 1 <= steps <= MAX_STEPS:
        raise InvalidInput(f"Tuning must have from 1 to {MAX_STEPS} steps.")


class _Drawing(nn.Module):
    """A network whose `draw` can be called with other parameters, by torch's `functional_call`."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, ws: Tensor, noise: dict[str, Tensor]) -> Tensor:
        pictures: Tensor = self.network.draw(ws, "const", noise)
        return pictures


class _Work:
    """The state of one tuning: the factors that are trained, and what they are measured by."""

    loss: float
    picture: Tensor

    def __init__(
        self,
        generator: Generator,
        target: Tensor,
        projection: Projection,
        steps: int,
        seed: int,
        knobs: Knobs,
    ) -> None:
        self.generator, self.steps, self.knobs = generator, steps, knobs
        self.random = torch.Generator().manual_seed(seed)
        self.target = target.to(generator.device, torch.float32).clone()
        self.pivot = projection.ws.to(generator.device, torch.float32).clone()
        self.noise = {key: value.to(generator.device).clone() for key, value in projection.noise.items()}
        self.before = generator.synthesis(self.pivot, noise=self.noise)
        self.distance = perceptual.Distance(self.target, None, knobs.weights)
        self.drawing = _Drawing(difference.unfrozen(generator.network))
        self.tensors = difference.blank(generator.network, self.random, knobs.max_rank)
        for tensor in self.tensors.values():
            tensor.requires_grad_()
        self.optimizer = torch.optim.Adam(
            list(self.tensors.values()), lr=knobs.learning_rate, betas=(0.9, 0.99)
        )

    def step(self, index: int) -> None:
        """Draw the pivot and a place near it, measure both, and move."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.knobs.learning_rate * learning_rate_at(index / self.steps)
        weights = self._weights()
        picture = self._draw(weights, self.pivot, self.noise)
        total = self.distance(picture).sum()
        self.loss, self.picture = float(total.detach()), picture.detach().contiguous().clone()
        if self.knobs.locality:
            total = total + self.knobs.locality * self._locality(weights)
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]  # torch leaves this one method without types
        self.optimizer.step()

    def _weights(self) -> dict[str, Tensor]:
        own = dict(self.generator.network.named_parameters())
        return {
            f"network.{name}": difference.changed(own[name], change)
            for name, change in difference.changes(self.tensors)
        }

    def _draw(self, weights: dict[str, Tensor], ws: Tensor, noise: dict[str, Tensor]) -> Tensor:
        pictures: Tensor = torch.func.functional_call(self.drawing, weights, (ws, noise))
        return pictures

    def _locality(self, weights: dict[str, Tensor]) -> Tensor:
        """How far a picture between the pivot and a random latent is from what the original draws there."""
        w = self.generator.sample_w(1, self.random)
        share = self.knobs.nearest + (1 - self.knobs.nearest) * float(torch.rand((), generator=self.random))
        ws = self.pivot.lerp(w[:, None], share)
        original = self.generator.synthesis(ws)
        pictures = self._draw(weights, ws, {})
        return perceptual.Distance(original, None, self.knobs.weights)(pictures).sum()

    def result(self, done: int, stopped: bool) -> Tuned:
        found = Difference(difference.rounded(self.tensors), self.generator.sha256)
        picture = self.generator.tuned(found).synthesis(self.pivot, noise=self.noise)
        return Tuned(
            difference=found,
            psnr=float(perceptual.psnr(picture, self.target)[0]),
            psnr_before=float(perceptual.psnr(self.before, self.target)[0]),
            loss=self.loss,
            steps=done,
            stopped_early=stopped,
        )
