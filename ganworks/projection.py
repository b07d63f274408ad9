"""Projection: find the latent whose picture looks like a given one.

Source: Karras et al., "Analyzing and Improving the Image Quality of StyleGAN" (arXiv 1912.04958), appendix D:
Adam on w from the mean of 10,000 mapped latents, with noise on w that ramps down, a learning rate that ramps
up and down, and noise maps that are optimised but kept free of structure. Three things differ. w moves in
whitened coordinates (units of its own spread along its principal axes), which needs a tenth of the steps. W+
("Image2StyleGAN", arXiv 1904.03189) frees the rows only after the shared w has settled, and holds them near
each other and near the mean, so that edits keep working. The distance needs no downloaded network (see
`perceptual`).

An encoder's draft, where there is one, takes the place of the mean (Zhu et al., arXiv 1609.03552, section 3.2): its rows
are free from the first step, and the steps are shorter, since there is less way to go.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ganworks import checkpoint, perceptual
from ganworks.devices import plain_memory_errors
from ganworks.difference import Difference, check_parts
from ganworks.errors import InvalidInput
from ganworks.generator import Generator

if TYPE_CHECKING:
    from ganworks.encoder import Encoder

Entry = TypeVar("Entry")
SPACES = ("w", "w+")
W_SAMPLES = 10_000
MAX_STEPS = 10_000
MAX_STARTS = 32
START_STEPS_SHARE = 0.2  # of the steps, until the best of several starts is chosen
FREE_ROWS_SHARE = 0.3  # of the steps, until the rows of W+ part
RAMP_UP_SHARE, RAMP_DOWN_SHARE, NOISE_SHARE = 0.05, 0.4, 0.5
SMALLEST_NOISE_MAP_PX = 8
PLATEAU_GAIN = 0.002  # less than this share gained over a window of steps ends the search


@dataclass(frozen=True)
class Tuning:
    """The knobs of the search. The defaults were measured: see docs/engine.md."""

    learning_rate: float = 0.2  # in sigma of w for each step
    noise_learning_rate: float = 0.05
    w_noise: float = 0.05  # in sigma, at the start
    draft_learning_rate: float = 0.1  # these two instead, where the search starts from a draft
    draft_w_noise: float = 0.0
    prior: float = 0.002  # holds w near its mean
    row_prior: float = 0.01  # holds the rows of W+ near each other
    noise_structure: float = 1e5
    weights: perceptual.Weights = field(default_factory=perceptual.Weights)


@dataclass(frozen=True)
class ProjectionStep:
    """
    Told after each step: `step` of `steps` (from 1; 0 is the draft, where there is one), the loss of the best so far,
    and now and then its picture [1, 3, H, W] in [-1, 1].
    """

    step: int
    steps: int
    loss: float
    preview: Tensor | None


@dataclass(frozen=True)
class Projection:
    """
    What was found: ws [1, num_ws, w_dim]; noise maps by name (of the layers that use noise at all), for
    `Generator.synthesis(ws, noise=...)`; the loss (`perceptual.Distance`); psnr in dB; `steps` that were
    made. difference: what `tune` changed for it, if it did, for `Generator.tuned`.
    """

    ws: Tensor
    noise: dict[str, Tensor]
    loss: float
    psnr: float
    steps: int
    space: str
    generator_sha256: str
    stopped_early: bool = False
    difference: Difference | None = None

    def save(self, target: checkpoint.Source) -> None:
        """Write to a path or an open binary file."""
        meta = {
            "loss": self.loss,
            "psnr": self.psnr,
            "steps": self.steps,
            "space": self.space,
            "generator_sha256": self.generator_sha256,
            "stopped_early": self.stopped_early,
        }
        tensors = {"ws": self.ws, **{f"noise.{key}": value for key, value in self.noise.items()}}
        if self.difference is not None:
            tensors |= {f"tuning.{key}": value.half() for key, value in self.difference.tensors.items()}
        checkpoint.write(target, "projection", meta, tensors)

    @classmethod
    def load(cls, source: checkpoint.Source) -> "Projection":
        """Read from a path or an open binary file; CheckpointError if it is damaged or something else."""
        header = checkpoint.read_header(source, "projection")
        shape = header.shapes.get("ws", ())
        tuning = _under("tuning.", header.shapes)
        others = [key for key in header.shapes if key != "ws" and not key.startswith("tuning.")]
        if len(shape) != 3 or shape[0] != 1 or not all(key.startswith("noise.") for key in others):
            raise checkpoint.damaged(header.name, "it does not hold a latent and its noise maps")
        space = header.text("space")
        if space not in SPACES:
            raise checkpoint.damaged(header.name, "its header does not say which space it is in")
        check_parts(header, tuning)
        tensors = checkpoint.read_tensors(source, header)
        sha256 = header.text("generator_sha256")
        return cls(
            ws=tensors["ws"],
            noise=_under("noise.", tensors),
            loss=header.number("loss", -1e9, 1e9),
            psnr=header.number("psnr", -1e3, 1e3),
            steps=header.integer("steps", 0, MAX_STEPS),
            space=space,
            generator_sha256=sha256,
            stopped_early=header.meta.get("stopped_early") is True,
            difference=Difference(_under("tuning.", tensors), sha256) if tuning else None,
        )


def _under(prefix: str, entries: Mapping[str, Entry]) -> dict[str, Entry]:
    """Those entries whose names begin with a prefix, without it."""
    return {key.removeprefix(prefix): value for key, value in entries.items() if key.startswith(prefix)}


def project(
    generator: Generator,
    target: Tensor,
    *,
    steps: int = 100,
    space: str = "w+",
    starts: int = 1,
    seed: int = 0,
    class_index: int | None = None,
    critic: perceptual.Critic | None = None,
    on_step: Callable[[ProjectionStep], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
    preview_every_seconds: float = 0.5,
    tuning: Tuning | None = None,
    start: Tensor | None = None,
    encoder: "Encoder | None" = None,
) -> Projection:
    """
    Find the latent of `target`, [1, 3, H, W] in [-1, 1] at the generator's resolution.

    space: "w" (one w for all rows: closest to what the generator would draw) or "w+" (one for each row:
    closest to the target). class_index: start from the mean of this class, and stay near it; None: of all classes.
    starts: 1 begins at the mean; more begin at random places too, and the best goes
    on. The same arguments give the same result on the same machine. `should_stop` is asked between steps:
    what was found until then comes back with `stopped_early`. The search also ends by itself when nothing is
    gained any more.

    start: a draft, ws [1, num_ws, w_dim], to begin at instead of the mean; or an encoder that makes one. It is left for
    the mean if that is closer to the target. With a draft `steps` may be 0: then it is what comes back.
    """
    _check(generator, target, steps, space, starts, start is None and encoder is None)
    draft = _draft(generator, target, start, encoder)
    if not preview_every_seconds > 0:
        raise InvalidInput("The time between previews must be more than 0 seconds.")
    with plain_memory_errors(), torch.enable_grad():
        search = _Search(
            generator, target, steps, space, starts, seed, class_index, critic, tuning or Tuning()
        )
        done, last_preview, stopped = 0, -math.inf, False
        if draft is not None:
            search.begin(draft)
            if on_step is not None:
                last_preview = time.monotonic()
                on_step(ProjectionStep(0, steps, search.best.loss, search.best.picture))
        while done < steps and not search.on_plateau():
            if done and should_stop is not None and should_stop():
                stopped = True
                break
            search.step(done)
            done += 1
            if on_step is not None:
                due = time.monotonic() - last_preview >= preview_every_seconds or done == steps
                last_preview = time.monotonic() if due else last_preview
                on_step(ProjectionStep(done, steps, search.best.loss, search.best.picture if due else None))
        return search.result(done, stopped)


def _check(generator: Generator, target: Tensor, steps: int, space: str, starts: int, blank: bool) -> None:
    size = generator.resolution
    if target.shape != (1, 3, size, size):
        raise InvalidInput(f"The picture to project must have the shape [1, 3, {size}, {size}].")
    if not bool(torch.isfinite(target).all()):
        raise InvalidInput("The picture to project holds numbers that are not finite.")
    if space not in SPACES:
        raise InvalidInput("The space of a projection must be w or w+.")
    fewest = 1 if blank else 0
    if not fewest <= steps <= MAX_STEPS:
        raise InvalidInput(f"A projection must have from {fewest} to {MAX_STEPS} steps.")
    if not 1 <= starts <= MAX_STARTS:
        raise InvalidInput(f"A projection must have from 1 to {MAX_STARTS} starts.")


def _draft(
    generator: Generator, target: Tensor, start: Tensor | None, encoder: "Encoder | None"
) -> Tensor | None:
    """The latent to begin at, ws [1, num_ws, w_dim], if there is one."""
    if encoder is not None:
        if start is not None:
            raise InvalidInput("A projection starts from a draft or from an encoder's, not from both.")
        encoder.check_generator(generator.sha256)
        start = encoder(target)
    if start is None:
        return None
    if start.shape != (1, generator.num_ws, generator.w_dim) or not bool(torch.isfinite(start).all()):
        raise InvalidInput(
            f"The start of a projection must be finite numbers of the shape [1, {generator.num_ws}, {generator.w_dim}]."
        )
    return start.detach().to(generator.device, torch.float32)


@dataclass
class _Best:
    """The best so far, as it was drawn."""

    loss: float
    ws: Tensor
    noise: dict[str, Tensor]
    picture: Tensor


class _Search:
    """
    The state of one projection. Coordinates u [S, W] (shared) and v [S, L, W] (what each row adds in W+),
    both in sigma along the principal axes: ws = mean + (u + v) @ axes. S is the number of starts, later 1.
    """

    best: _Best

    def __init__(
        self,
        generator: Generator,
        target: Tensor,
        steps: int,
        space: str,
        starts: int,
        seed: int,
        class_index: int | None,
        critic: perceptual.Critic | None,
        tuning: Tuning,
    ) -> None:
        self.generator, self.steps, self.space, self.tuning = generator, steps, space, tuning
        self.random = torch.Generator().manual_seed(seed)
        self.target = target.to(generator.device, torch.float32).clone()
        self.distance = perceptual.Distance(self.target, critic, tuning.weights)
        samples = generator.sample_w(W_SAMPLES, self.random, class_index).clone()
        self.mean, self.axes = whitening(samples)
        self.u = torch.zeros(starts, generator.w_dim, device=generator.device)
        if starts > 1:
            self.u[1:] = (samples[: starts - 1] - self.mean) @ torch.linalg.pinv(self.axes) * 0.7
        self.u.requires_grad_()
        self.v = torch.zeros(
            starts, generator.num_ws, generator.w_dim, device=generator.device
        ).requires_grad_()
        buffers = generator.network.noise_in_use()
        self.noise = {key: value[None, None].repeat(starts, 1, 1, 1) for key, value in buffers.items()}
        for value in self.noise.values():
            value.requires_grad_()
        self.choose_at = max(1, round(steps * START_STEPS_SHARE)) if starts > 1 else -1
        self.free_at = round(steps * FREE_ROWS_SHARE) if space == "w+" else steps
        self.history: list[float] = []
        self.rate, self.w_noise = tuning.learning_rate, tuning.w_noise
        self._make_optimizer()

    @torch.no_grad()
    def begin(self, draft: Tensor) -> None:
        """Start from ws [1, L, W], or stay at the mean if that is closer to the target."""
        coordinates = (draft - self.mean) @ torch.linalg.pinv(self.axes)  # [1, L, W]
        shared = coordinates.mean(dim=1)  # [1, W]
        rows = coordinates - shared[:, None] if self.space == "w+" else torch.zeros_like(coordinates)
        ws = self.mean + torch.cat([shared[:, None] + rows, torch.zeros_like(rows)]) @ self.axes
        pictures = self.generator.network.draw(ws, "const")
        losses = self.distance(pictures)  # [2]
        row = int(losses.argmin())
        noise = {key: value[0, 0].clone() for key, value in self.noise.items()}
        one = slice(row, row + 1)
        self.best = _Best(float(losses[row]), ws[one].clone(), noise, pictures[one].contiguous().clone())
        self.history.append(self.best.loss)
        if row:
            return
        self.u[0], self.v[0] = shared[0], rows[0]
        self.rate, self.w_noise = self.tuning.draft_learning_rate, self.tuning.draft_w_noise
        self.free_at = 0 if self.space == "w+" else self.steps
        self._make_optimizer()

    def _make_optimizer(self) -> None:
        groups = [
            {"params": [self.u, self.v], "rate": self.rate},
            {"params": list(self.noise.values()), "rate": self.tuning.noise_learning_rate},
        ]
        self.optimizer = torch.optim.Adam(
            [group for group in groups if group["params"]],
            lr=self.rate,
            betas=(0.9, 0.99),
        )

    def step(self, index: int) -> None:
        """Draw, measure, remember the best, and move."""
        if index == self.choose_at:
            self._keep_best_start()
        for group in self.optimizer.param_groups:
            group["lr"] = group["rate"] * learning_rate_at(index / self.steps)
        shared, rows = self._jittered(index / self.steps), self.v if index >= self.free_at else None
        ws = self._ws(shared, rows)
        pictures = self.generator.network.draw(ws, "const", self.noise)
        losses = self.distance(pictures)  # [S]
        self._remember(losses, ws, pictures)
        total = losses.sum() + self.tuning.prior * shared.square().mean(dim=1).sum()
        if rows is not None:
            total = total + self.tuning.row_prior * rows.square().mean(dim=(1, 2)).sum()
        if self.noise:
            total = total + self.tuning.noise_structure * noise_structure(list(self.noise.values()))
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]  # torch leaves this one method without types
        self.optimizer.step()
        renormalize(list(self.noise.values()))

    def _jittered(self, t: float) -> Tensor:
        size = self.w_noise * max(0.0, 1 - t / NOISE_SHARE) ** 2
        if size == 0 or t == 0:
            return self.u
        return self.u + size * torch.randn(self.u.shape, generator=self.random).to(self.u)

    def _ws(self, shared: Tensor, rows: Tensor | None) -> Tensor:
        coordinates = shared[:, None, :].expand(-1, self.generator.num_ws, -1)  # [S, L, W]
        return self.mean + (coordinates if rows is None else coordinates + rows) @ self.axes

    def _remember(self, losses: Tensor, ws: Tensor, pictures: Tensor) -> None:
        self.latest = losses.detach()
        row = int(self.latest.argmin())
        loss = float(self.latest[row])
        if not self.history or loss < self.best.loss:
            noise = {key: value.detach()[row, 0].clone() for key, value in self.noise.items()}
            one = slice(row, row + 1)
            self.best = _Best(
                loss, ws.detach()[one].clone(), noise, pictures.detach()[one].contiguous().clone()
            )
        self.history.append(self.best.loss)

    def _keep_best_start(self) -> None:
        row = int(self.latest.argmin())
        self.u = self.u.detach()[row : row + 1].clone().requires_grad_()
        self.v = self.v.detach()[row : row + 1].clone().requires_grad_()
        self.noise = {
            key: value.detach()[row : row + 1].clone().requires_grad_() for key, value in self.noise.items()
        }
        self._make_optimizer()

    def on_plateau(self) -> bool:
        """Whether the last steps gained next to nothing, once all ramps but the last are over."""
        window = max(20, self.steps // 10)
        if len(self.history) < max(0.6 * self.steps, 2 * window):
            return False
        return self.history[-window] - self.history[-1] < PLATEAU_GAIN * self.history[-1]

    def result(self, done: int, stopped: bool) -> Projection:
        best = self.best
        return Projection(
            ws=best.ws,
            noise=best.noise,
            loss=best.loss,
            psnr=float(perceptual.psnr(best.picture, self.target)[0]),
            steps=done,
            space=self.space,
            generator_sha256=self.generator.sha256,
            stopped_early=stopped,
        )


def whitening(samples: Tensor) -> tuple[Tensor, Tensor]:
    """The mean [W] of w [N, W], and its principal axes [W, W], each as long as the spread along it."""
    mean = samples.mean(dim=0)
    centered = (samples - mean).double()
    values, vectors = torch.linalg.eigh(centered.t() @ centered / len(samples))
    spread = values.clamp(min=1e-4 * float(values.max()) + 1e-12).sqrt()
    return mean, (vectors * spread).t().to(samples).contiguous()


def learning_rate_at(t: float) -> float:
    """The share of the learning rate at time t in [0, 1): up like a line, down like a cosine."""
    down = min(1.0, (1 - t) / RAMP_DOWN_SHARE)
    return (0.5 - 0.5 * math.cos(down * math.pi)) * min(1.0, (t + 0.01) / RAMP_UP_SHARE)


def noise_structure(maps: list[Tensor]) -> Tensor:
    """
    How much neighbours in noise maps [S, 1, r, r] agree, at all sizes: 0 for white noise. Equation of
    appendix D.
    """
    total = maps[0].new_zeros(())
    for noise in maps:
        while noise.shape[-1] >= SMALLEST_NOISE_MAP_PX:
            for dim in (2, 3):
                total = total + (noise * noise.roll(1, dim)).mean(dim=(1, 2, 3)).square().sum()
            noise = F.avg_pool2d(noise, 2)
    return total


@torch.no_grad()
def renormalize(maps: list[Tensor]) -> None:
    """Give each noise map mean 0 and spread 1 again."""
    for noise in maps:
        noise -= noise.mean(dim=(2, 3), keepdim=True)
        noise *= (noise.square().mean(dim=(2, 3), keepdim=True) + 1e-12).rsqrt()
