"""A training of an upscaler: its recipe, its state, and the loop that goes on where it was stopped.

A run is exactly resumable: the batch of a step depends on the seed and the step alone, and everything else (weights,
their running mean, the judge, the optimisers) is in `state.pt`. Progress goes to `log.csv`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ganworks.networks.judge import MULTIPLE_PX
from ganworks.networks.upscaler import UpscalerNetwork
from ganworks.superresolution import Upscaler, open_network
from ganworks.training import journal
from ganworks.training.upscaling_data import training_batch
from ganworks.training.upscaling_judging import LEAST_SIDE_PX, Judge
from ganworks.training.upscaling_leaves import Pixels
from ganworks.training.upscaling_measure import Enlarged, enlarge, held_out_pictures

SHARPEST, SMOOTHEST = 0.002, 0.1  # tolerances of the loss, in units of [-1, 1]


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what a run learns: same recipe, store, beginning and machine, same weights.

    `damage` is the share of small patches that are damaged on purpose. `crispness` is how much the judge's wish counts
    beside the pixels' error: 0 is without a judge, 1 is as much. `likeness` weighs, within the wish, the judge's maps.
    """

    seed: int = 0
    channels: int = 64
    blocks: int = 8
    scale: int = 4
    batch: int = 8
    patch: int = 48
    learning_rate: float = 1e-3
    warmup_steps: int = 200
    mean_decay: float = 0.999
    precision: str = "bf16"
    damage: float = 0.0
    crispness: float = 0.0
    likeness: float = 1.0
    judge_channels: int = 24
    judge_learning_rate: float = 4e-4

    def __post_init__(self) -> None:
        if self.crispness and self.scale * self.patch < LEAST_SIDE_PX:
            raise SystemExit(f"A judge needs patches of at least {LEAST_SIDE_PX} pixels, once enlarged.")


RECIPES = {
    "faithful": Recipe(),
    "crisp": Recipe(
        batch=4,
        patch=28,
        learning_rate=2e-4,
        warmup_steps=50,
        mean_decay=0.998,
        damage=0.5,
        crispness=1.5,
    ),
}


class Training:
    """A run: a network, the running mean of its weights (which is what is kept), an optimiser, perhaps a judge."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.step = 0
        self.origin: dict[str, str] = {}
        torch.manual_seed(recipe.seed)
        self.network = UpscalerNetwork(recipe.channels, recipe.blocks, recipe.scale)
        if recipe.precision == "bf16":
            self.network.use_channels_last()
        self.mean = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
        self.optimiser = torch.optim.Adam(
            self.network.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.99), fused=True
        )
        self.judge = (
            Judge(recipe.judge_channels, recipe.judge_learning_rate, recipe.likeness)
            if recipe.crispness
            else None
        )

    def begin_with(self, path_or_name: str) -> None:
        """Start from the weights of another upscaler of ours, of any scale; remember which."""
        network, info = open_network(path_or_name)
        self.network.load_state_dict(weights_for(network, self.recipe))
        self.mean = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
        self.origin = {"label": info.label, "license": info.license, "sha256": info.sha256}

    def advance(self, store: Pixels, steps: int) -> dict[str, float]:
        """One step of a run planned for `steps`; returns the mean absolute error in grey levels of 255, and losses."""
        recipe = self.recipe
        small, large = training_batch(
            store,
            seed=recipe.seed,
            step=self.step,
            batch=recipe.batch,
            patch=recipe.patch,
            scale=recipe.scale,
            damage=recipe.damage,
        )
        rate, tolerance = schedule(self.step, steps, recipe)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        half = recipe.precision == "bf16"
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            enlarged = self.network(small.to(memory_format=torch.channels_last) if half else small).float()
        error = enlarged.detach() - large
        gradient = _charbonnier_gradient(error, tolerance)
        values = {"error_in_levels": float(error.abs().mean()) * 127.5}
        if self.judge is not None:
            y, x = np.random.default_rng([recipe.seed, 0x1AC3, self.step]).integers(MULTIPLE_PX, size=2)
            verdict = self.judge.judge(enlarged, large, (int(y), int(x)))
            strength = recipe.crispness * min(1.0, self.step / max(1, 2 * recipe.warmup_steps))
            gradient = gradient + strength * float(gradient.norm()) * verdict.wish
            values |= {
                "fooling": verdict.fooling,
                "unlikeness": verdict.unlikeness,
                "judging": verdict.judging,
            }
        self.optimiser.zero_grad()
        enlarged.backward(gradient)
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 0.5)
        self.optimiser.step()
        self.step += 1
        self._follow()
        return values

    def _follow(self) -> None:
        """Let the running mean of the weights follow; quickly at first, so that it forgets the start."""
        decay = min(self.recipe.mean_decay, self.step / (self.step + 10))
        with torch.no_grad():
            for name, value in self.network.state_dict().items():
                self.mean[name].lerp_(value, 1 - decay)

    def mean_network(self) -> UpscalerNetwork:
        """The network with the mean weights, for use."""
        network = UpscalerNetwork(self.recipe.channels, self.recipe.blocks, self.recipe.scale)
        network.load_state_dict(self.mean)
        return network.eval().requires_grad_(False)

    def save(self, path: Path) -> None:
        """Write the whole run; the old file stays whole until the new one is complete."""
        state = {
            "recipe": asdict(self.recipe),
            "step": self.step,
            "origin": self.origin,
            "network": self.network.state_dict(),
            "mean": self.mean,
            "optimiser": self.optimiser.state_dict(),
            "judge": self.judge.state() if self.judge is not None else None,
        }
        unfinished = path.with_suffix(".part")
        torch.save(state, unfinished)
        unfinished.replace(path)

    @classmethod
    def load(cls, path: Path) -> Training:
        """A saved run, ready for its next step."""
        state: dict[str, Any] = torch.load(path, weights_only=True)
        training = cls(Recipe(**state["recipe"]))
        training.step = int(state["step"])
        training.origin = state.get("origin", {})
        training.network.load_state_dict(state["network"])
        training.mean = state["mean"]
        training.optimiser.load_state_dict(state["optimiser"])
        if training.judge is not None:
            training.judge.restore(state["judge"])
        return training


def _charbonnier_gradient(error: Tensor, tolerance: float) -> Tensor:
    """Of the mean of sqrt(error^2 + tolerance^2): an absolute error that is squared where it is small."""
    return error / (error.square() + tolerance**2).sqrt() / error.numel()


def schedule(step: int, steps: int, recipe: Recipe) -> tuple[float, float]:
    """Learning rate, and the tolerance of the loss, at a step of a run planned for `steps`.

    The rate rises, stays, and falls to nothing in the last third. There, without a judge, the tolerance grows from
    0.002 to 0.1: the loss goes over from absolute to squared error, which is what PSNR counts.
    """
    rising = min(1.0, (step + 1) / recipe.warmup_steps)
    falling = min(1.0, max(0.0, (steps - step) / (steps / 3)))
    growing = 0.0 if recipe.crispness else 1 - falling
    return recipe.learning_rate * rising * falling, SHARPEST * (SMOOTHEST / SHARPEST) ** growing


def weights_for(network: UpscalerNetwork, recipe: Recipe) -> dict[str, Tensor]:
    """The weights of a network, for one that enlarges less: its pixels are means of those that they cover."""
    if (network.channels, network.num_blocks) != (recipe.channels, recipe.blocks):
        raise SystemExit(
            f"That upscaler has {network.channels} channels and {network.num_blocks} blocks, and the recipe says "
            f"{recipe.channels} and {recipe.blocks}."
        )
    weights = network.state_dict()
    if network.scale != recipe.scale:
        fold, rest = divmod(network.scale, recipe.scale)
        if rest:
            raise SystemExit(
                f"One that enlarges {recipe.scale} times cannot begin with one of {network.scale}."
            )
        for key in ("tail.weight", "tail.bias"):
            rows = weights[key]
            parts = rows.view(3, recipe.scale, fold, recipe.scale, fold, *rows.shape[1:])
            weights[key] = parts.mean(dim=(2, 4)).reshape(-1, *rows.shape[1:])
    return weights


def train(
    store: Pixels,
    run: Path,
    recipe: Recipe,
    *,
    steps: int,
    minutes: float = math.inf,
    log_every: int = 250,
    start_from: str | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Training:
    """Train until `steps` are done or `minutes` of this call are over; go on where `run` stopped before.

    `start_from` is the upscaler that a new run begins with.
    """
    run.mkdir(parents=True, exist_ok=True)
    state = run / "state.pt"
    training = Training.load(state) if state.exists() else Training(recipe)
    if training.recipe != recipe:
        raise SystemExit(
            f"{run} was begun with another recipe, {training.recipe}. Use that one or another folder."
        )
    if start_from is not None and not state.exists():
        training.begin_with(start_from)
    held_out = held_out_pictures(12, 192)
    started, values = time.monotonic(), list[dict[str, float]]()
    while training.step < steps and time.monotonic() - started < minutes * 60:
        values.append(training.advance(store, steps))
        if training.step % log_every == 0 or training.step == steps:
            row = {
                "step": training.step,
                "seconds": round(time.monotonic() - started, 1),
                "learning_rate": f"{schedule(training.step - 1, steps, recipe)[0]:.3g}",
                **{name: round(float(np.mean([each[name] for each in values])), 4) for name in values[0]},
                **_scores(training.mean_network(), held_out),
            }
            values.clear()
            journal.add_row(run / "log.csv", row)
            say(", ".join(f"{name} {value}" for name, value in row.items()))
            training.save(state)
    training.save(state)
    return training


def _scores(network: UpscalerNetwork, pictures: Sequence[Pixels]) -> dict[str, float]:
    """Means over pictures that were not trained on."""
    upscaler = Upscaler(network)
    results = [enlarge(upscaler, picture) for picture in pictures]

    def mean(of: Callable[[Enlarged], float]) -> float:
        return round(float(np.mean([of(result) for result in results])), 4)

    return {
        "psnr_held_out_db": mean(lambda result: result.scores.psnr),
        "ssim_held_out": mean(lambda result: result.scores.ssim),
        "sharpness_held_out": mean(lambda result: result.scores.sharpness),
    }
