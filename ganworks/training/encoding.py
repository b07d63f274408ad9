"""Train the encoder of a generator: `python -m ganworks.training.encoding --generator NAME_OR_FOLDER --run DIR`.

The generator is its own teacher: latents of W, of W+ mixtures, truncated and moved along components are drawn, and the
encoder learns to find them in the pictures, which are disturbed as photographs are. With `--renders FOLDER` (see
`python -m ganworks.training render`) it also learns from pictures that the generator never drew: there the latent
is known only as the generator learned it, and what counts is that the picture is drawn again.

A run is a folder: `state.pt` and `log.csv`. The batch of a step depends on the seed and the step alone, so a stopped
run goes on exactly where it was last saved. When its steps are done, encoder.safetensors is written.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ganworks import perceptual
from ganworks.devices import choose_device
from ganworks.encoder import Encoder, input_px_for, load_encoder, reduced, save_encoder
from ganworks.errors import GanworksError
from ganworks.generator import Generator, open_generator
from ganworks.info import ENCODER_FILE
from ganworks.networks.encoder import EncoderNetwork
from ganworks.projection import W_SAMPLES, whitening

from . import disturbances, journal
from .data import PictureSet

MEASURED_PICTURES = 64
SAMPLES_SEED = 2**31  # of the samples that are measured and never learned from
MEASURED_BATCH = 16
LEAST_PSI, MOST_PSI = 0.4, 1.1
EDITED_AXES, EDIT_SIGMA = 3, 1.5


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what a run learns: same recipe, generator, renders and machine, same weights."""

    seed: int = 0
    steps: int = 6000
    batch: int = 8
    channels: int = 32
    channel_max: int = 128
    hidden: int = 256
    learning_rate: float = 2e-3
    warmup_steps: int = 100
    mean_decay: float = 0.99
    render_share: float = 0.75  # of a batch, where there are renders
    latent_from: float = (
        1.0  # the weight of the latents' error falls to `latent_to`, as pictures come to count
    )
    latent_to: float = 0.02
    row_weight: float = 0.01  # holds the rows near each other
    pyramid_weight: float = 1.0
    square_weight: float = 2.0


@dataclass(frozen=True)
class Batch:
    """
    seen [N, 3, P, P]: what the encoder looks at; wanted [N, 3, P, P]: what should be drawn; coordinates [N, L, W] of
    the latent, and whether they are known, [N] bool.
    """

    seen: Tensor
    wanted: Tensor
    coordinates: Tensor
    known: Tensor


class Teacher:
    """What the batches are made of: a generator, the whitened coordinates of its w, and perhaps renders."""

    def __init__(self, generator: Generator, renders: PictureSet | None) -> None:
        self.generator, self.renders = generator, renders
        self.input_px = input_px_for(generator)
        samples = generator.sample_w(W_SAMPLES, torch.Generator().manual_seed(0))
        self.mean, self.axes = whitening(samples)
        self._inverse: Tensor = torch.linalg.pinv(self.axes)

    def whiten(self, ws: Tensor) -> Tensor:
        """ws [N, L, W] to coordinates [N, L, W] in sigma."""
        return (ws - self.mean) @ self._inverse

    def apart(self, coordinates: Tensor, others: Tensor) -> Tensor:
        """
        The mean square distance in w of coordinates [N, L, W], [N]; 1 is the spread of w, so that axes along which next
        to nothing varies count next to nothing.
        """
        apart = ((coordinates - others) @ self.axes).square().sum(dim=2).mean(dim=1)
        result: Tensor = apart / self.axes.square().sum()
        return result

    def draw(self, coordinates: Tensor) -> Tensor:
        """Coordinates [N, L, W] to pictures [N, 3, P, P], drawn whole and reduced; gradients flow."""
        ws = self.mean + coordinates @ self.axes
        return reduced(self.generator.network.draw(ws, "const"), self.input_px)

    def batch(self, recipe: Recipe, step: int) -> Batch:
        """The batch of a step."""
        random = torch.Generator().manual_seed(recipe.seed * 1_000_003 + step)
        rendered = round(recipe.batch * recipe.render_share) if self.renders is not None else 0
        coordinates = self.sample(recipe.batch - rendered, random)
        with torch.no_grad():
            wanted = self.draw(coordinates).clamp(-1, 1)
        if self.renders is not None and rendered:
            rows = torch.randint(len(self.renders), (rendered,), generator=random).numpy()
            pictures, theirs = self.rendered(self.renders.rows[rows])
            wanted, coordinates = torch.cat([wanted, pictures]), torch.cat([coordinates, theirs])
        wanted, changed = disturbances.change(wanted, random)
        return Batch(disturbances.damage(wanted, random), wanted, coordinates, ~changed)

    @torch.no_grad()
    def sample(self, count: int, random: torch.Generator) -> Tensor:
        """
        Coordinates [count, L, W]: of every latent, truncated by chance, some rows from another one in a third of them,
        and moved along principal axes in another third.
        """
        rows, device = self.generator.num_ws, self.generator.device
        one, other = (self.whiten(self.generator.sample_w(count, random))[:, None] for _ in range(2))
        psi = LEAST_PSI + (MOST_PSI - LEAST_PSI) * torch.rand(count, 1, 1, generator=random)
        kind = torch.rand(count, 1, 1, generator=random)
        place = torch.arange(rows)[None, :, None]
        crossover = torch.randint(1, max(2, rows), (count, 1, 1), generator=random)
        mixed = ((kind < 1 / 3) & (place >= crossover)).to(device)
        result = psi.to(device) * torch.where(mixed, other, one)  # [count, L, W]
        axes = torch.randint(min(32, one.shape[2]), (count, EDITED_AXES), generator=random)
        sizes = EDIT_SIGMA * torch.randn(count, EDITED_AXES, generator=random) * (kind[:, 0] > 2 / 3)
        edits = torch.zeros(count, one.shape[2]).index_put_(
            (torch.arange(count)[:, None], self.generator.w_dim - 1 - axes), sizes, accumulate=True
        )  # the strongest axes come last
        edited = (place < crossover) if rows > 1 else torch.ones_like(mixed)
        return result + (edited * edits[:, None]).to(result)

    @torch.no_grad()
    def rendered(self, rows: Any) -> tuple[Tensor, Tensor]:
        """The renders at these rows, [N, 3, P, P], and the coordinates of their latents, [N, L, W]."""
        if self.renders is None:
            raise ValueError("There are no renders.")
        batch = self.renders.batch(rows, self.input_px)
        device = self.generator.device
        return batch.pictures.to(device), self.whiten(self.generator.mapping(batch.latents))

    def held_out(self) -> Tensor:
        """Pictures [N, 3, P, P] that are never learned from: renders, or else samples of seeds of their own."""
        if self.renders is not None:
            return self.rendered(self.renders.held_rows[:MEASURED_PICTURES])[0]
        random = torch.Generator().manual_seed(SAMPLES_SEED)
        parts = [self.sample(MEASURED_BATCH, random) for _ in range(MEASURED_PICTURES // MEASURED_BATCH)]
        with torch.no_grad():
            return torch.cat([self.draw(part) for part in parts]).clamp(-1, 1)


class Training:
    """A run: a network, the running mean of its weights (which is what is kept), and an optimiser."""

    def __init__(self, recipe: Recipe, teacher: Teacher) -> None:
        self.recipe, self.teacher, self.step = recipe, teacher, 0
        torch.manual_seed(recipe.seed)
        self.network = self._new_network()
        self.network.mean.copy_(teacher.mean)
        self.network.axes.copy_(teacher.axes)
        self.mean = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
        self.optimiser = torch.optim.Adam(
            self.network.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.99)
        )

    def start_from(self, encoder: Encoder) -> None:
        """Begin with what another generator's encoder sees in pictures; where that lies in w is learned anew."""
        own = self.network.state_dict()
        theirs = {
            name: value
            for name, value in encoder.network.state_dict().items()
            if name not in ("mean", "axes") and name in own and own[name].shape == value.shape
        }
        self.network.load_state_dict(own | theirs)
        self.mean = {name: value.detach().clone() for name, value in self.network.state_dict().items()}

    def _new_network(self) -> EncoderNetwork:
        recipe, generator = self.recipe, self.teacher.generator
        network = EncoderNetwork(
            self.teacher.input_px,
            generator.num_ws,
            generator.w_dim,
            recipe.channels,
            recipe.channel_max,
            recipe.hidden,
        )
        return network.to(generator.device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]  # torch's types know this pair of arguments only one by one

    def advance(self) -> dict[str, float]:
        """One step; returns the parts of its loss."""
        recipe, share = self.recipe, self.step / self.recipe.steps
        batch = self.teacher.batch(recipe, self.step)
        for group in self.optimiser.param_groups:
            group["lr"] = recipe.learning_rate * rate_at(self.step, recipe)
        found = self.network.coordinates(batch.seen.contiguous(memory_format=torch.channels_last))
        picture = picture_error(self.teacher.draw(found), batch.wanted, recipe)
        latent = (self.teacher.apart(found, batch.coordinates) * batch.known).mean()
        rows = (found - found.mean(dim=1, keepdim=True)).square().mean()
        weight = recipe.latent_from * (recipe.latent_to / recipe.latent_from) ** min(1.0, 2 * share)
        loss = picture + weight * latent + recipe.row_weight * rows
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step()
        self.step += 1
        self._follow()
        return {
            "picture": float(picture.detach()),
            "latent": float(latent.detach()),
            "rows": float(rows.detach()),
        }

    @torch.no_grad()
    def _follow(self) -> None:
        """Let the running mean of the weights follow; quickly at first, so that it forgets the start."""
        decay = min(self.recipe.mean_decay, self.step / (self.step + 10))
        for name, value in self.network.state_dict().items():
            self.mean[name].lerp_(value, 1 - decay)

    def mean_network(self) -> EncoderNetwork:
        """The network with the mean weights, for use."""
        network = self._new_network()
        network.load_state_dict(self.mean)
        return network

    def save(self, path: Path) -> None:
        """Write the whole run; the old file stays whole until the new one is complete."""
        state = {
            "recipe": asdict(self.recipe),
            "generator_sha256": self.teacher.generator.sha256,
            "step": self.step,
            "network": self.network.state_dict(),
            "mean": self.mean,
            "optimiser": self.optimiser.state_dict(),
        }
        unfinished = path.with_suffix(".part")
        torch.save(state, unfinished)
        unfinished.replace(path)

    @classmethod
    def load(cls, path: Path, teacher: Teacher, steps: int | None = None) -> Training:
        """A saved run, ready for its next step; `steps` sets its planned end anew."""
        device = teacher.generator.device
        state: dict[str, Any] = torch.load(path, weights_only=True, map_location=device)
        if state["generator_sha256"] != teacher.generator.sha256:
            raise SystemExit(
                f"{path.parent} was begun with another generator. Use that one or another folder."
            )
        recipe = Recipe(**state["recipe"])
        training = cls(recipe if steps is None else replace(recipe, steps=steps), teacher)
        training.step = int(state["step"])
        training.network.load_state_dict(state["network"])
        training.mean = state["mean"]
        training.optimiser.load_state_dict(state["optimiser"])
        return training


def rate_at(step: int, recipe: Recipe) -> float:
    """The share of the learning rate: up like a line, down like a cosine."""
    down = 0.5 + 0.5 * math.cos(math.pi * step / recipe.steps)
    return min(1.0, (step + 1) / recipe.warmup_steps) * down


def picture_error(pictures: Tensor, wanted: Tensor, recipe: Recipe) -> Tensor:
    """Absolute differences of a Laplacian pyramid, and the mean square; pictures [N, 3, r, r] in [-1, 1]."""
    levels = zip(perceptual.laplacian_pyramid(pictures), perceptual.laplacian_pyramid(wanted), strict=True)
    pyramid = torch.stack([(a - b).abs().mean() for a, b in levels]).sum()
    return recipe.pyramid_weight * pyramid + recipe.square_weight * (pictures - wanted).square().mean()


@torch.no_grad()
def score(network: EncoderNetwork, teacher: Teacher, pictures: Tensor) -> float:
    """Mean PSNR in dB of held-out pictures [N, 3, P, P] drawn again from what the encoder says."""
    found = [
        perceptual.psnr(teacher.draw(network.coordinates(part)), part)
        for part in torch.split(pictures, MEASURED_BATCH)
    ]
    return float(torch.cat(found).mean())


def train(
    teacher: Teacher,
    run: Path,
    recipe: Recipe,
    *,
    minutes: float = math.inf,
    log_every: int = 250,
    say: Callable[[str], None] = lambda line: None,
    start_from: Encoder | None = None,
) -> Training:
    """
    Train until the steps are done or `minutes` of this call are over; go on where `run` stopped before, which may have
    been planned for another number of steps. start_from: an encoder to begin with, of any generator.
    """
    run.mkdir(parents=True, exist_ok=True)
    state = run / "state.pt"
    training = Training.load(state, teacher, recipe.steps) if state.exists() else Training(recipe, teacher)
    if start_from is not None and not training.step:
        training.start_from(start_from)
    if training.recipe != recipe:
        raise SystemExit(
            f"{run} was begun with another recipe, {training.recipe}. Use that one or another folder."
        )
    held_out = teacher.held_out()
    started, parts = time.monotonic(), []
    while training.step < recipe.steps and time.monotonic() - started < minutes * 60:
        parts.append(training.advance())
        if training.step % log_every == 0 or training.step == recipe.steps:
            row = {
                "step": training.step,
                "seconds": round(time.monotonic() - started, 1),
                **{name: round(float(np.mean([part[name] for part in parts])), 4) for name in parts[0]},
                "psnr_held_out_db": round(score(training.mean_network(), teacher, held_out), 2),
            }
            parts.clear()
            journal.add_row(run / "log.csv", row)
            say(", ".join(f"{name} {value}" for name, value in row.items()))
            training.save(state)
    training.save(state)
    return training


def export(training: Training, path: Path) -> Encoder:
    """Write the mean weights of a run as an encoder file, and open it."""
    info = training.teacher.generator.info
    save_encoder(
        training.mean_network(),
        path,
        generator_sha256=info.sha256,
        label=info.label,
        license=info.license,
        source_format="pixellift-training",
        training={"step": training.step, **asdict(training.recipe)},
    )
    return load_encoder(path, training.teacher.generator.device)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m ganworks.training.encoding", description="Train the encoder of a generator."
    )
    parser.add_argument(
        "--generator", required=True, help="a generator's folder, its file, or a starter's name"
    )
    parser.add_argument("--run", type=Path, required=True, help="the run's folder")
    parser.add_argument(
        "--renders", type=Path, help="rendered pictures with their latents, to learn from too"
    )
    parser.add_argument(
        "--held-out", type=int, default=256, help="how many of the renders are never learned from"
    )
    parser.add_argument(
        "--to", type=Path, help="what to write; encoder.safetensors beside the generator if not given"
    )
    parser.add_argument(
        "--start-from", type=Path, help="an encoder.safetensors of another generator, to begin with"
    )
    parser.add_argument(
        "--minutes", type=float, default=math.inf, help="stop after so many; call again to go on"
    )
    parser.add_argument("--log-every", type=int, default=250, help="steps between two lines of the log")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; all if not given")
    for name, value in asdict(Recipe()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; see the top of this file. Returns the exit status."""
    options = _parser().parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    try:
        device = choose_device(options.device)
        generator = open_generator(options.generator, str(device))
        earlier = load_encoder(options.start_from, device) if options.start_from else None
    except GanworksError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    renders = PictureSet(options.renders, options.held_out) if options.renders else None
    if renders is not None and renders.latents.shape[1] != generator.z_dim:
        sys.stderr.write(
            "These renders belong to another kind of generator: their latents have another length.\n"
        )
        return 1
    recipe = Recipe(**{name: getattr(options, name) for name in asdict(Recipe())})
    training = train(
        Teacher(generator, renders),
        options.run,
        recipe,
        minutes=options.minutes,
        log_every=options.log_every,
        say=_say,
        start_from=earlier,
    )
    if training.step < recipe.steps:
        _say(f"Stopped after {training.step} of {recipe.steps} steps. Call again to go on.")
        return 0
    target = options.to or generator.info.path.with_name(ENCODER_FILE)
    export(training, target)
    _say(f"Wrote {target}, {target.stat().st_size / 1e6:.1f} MB.")
    return 0


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
