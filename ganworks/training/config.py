"""What determines a run: its stages, sizes, rates and losses, as one JSON object."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from ganworks.errors import InvalidInput

from .domains import by_name

IMAGES = "images"  # in the place of a domain: pictures of the operator's own, without latents
SMALLEST = 8
PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class Stage:
    """A stretch of training: `pictures` at `resolution`, by regression alone or with the discriminator.

    The learning rate goes from `rate_from` to `rate_to` times the configured one, along half a cosine. `texture` is
    the weight of `losses.texture` beside the regression.
    """

    resolution: int
    pictures: int
    adversarial: bool = False
    rate_from: float = 1.0
    rate_to: float = 1.0
    texture: float = 0.0


@dataclass(frozen=True)
class Config:
    """All that determines a run. Learning rates are Adam's; the discriminator's applies to it alone.

    The defaults are those of a starter, which learns from a renderer's pairs; `for_images` has those of a run on
    pictures alone.
    """

    stages: tuple[Stage, ...] = (
        Stage(32, 120_000, rate_to=0.7),
        Stage(64, 100_000, rate_from=0.7, rate_to=0.5),
        Stage(128, 80_000, rate_from=0.5, rate_to=0.1, texture=0.4),
        Stage(128, 6_000, adversarial=True, rate_from=0.1, rate_to=0.02, texture=0.4),
    )
    domain: str = "portraits"
    seed: int = 0
    batch: int = 16
    held_out: int = 256
    z_dim: int = 0  # 0: as many as the domain has factors
    w_dim: int = 128
    mapping_layers: int = 2
    channel_base: int = 2048
    channel_max: int = 128
    network: dict[str, Any] | None = (
        None  # sizes of the imported generator that is tuned, instead of those above
    )
    discriminator_channel_base: int = 1024
    discriminator_channel_max: int = 0  # 0: `channel_max`
    learning_rate: float = 0.003
    kernel_rate: float = 0.04  # of Muon, for the generator's kernels; 0: Adam learns them too
    mapping_rate_factor: float = 40.0  # the mapping's own multiplier of 0.01 is too slow for regression
    discriminator_rate: float = 0.002
    warm_up_pictures: int = 1000
    head_start_pictures: int = 0  # until then the discriminator learns alone
    adversarial_weight: float = 0.05
    adversarial_momentum: float = 0.5  # Adam's first beta for the generator in an adversarial stage
    fade_in: float = 0.2  # the part of a growing stage in which the discriminator gets used to its new block
    r1_gamma: float = 0.5
    r1_every: int = 16
    path_length_weight: float = 0.0
    path_length_every: int = 4
    style_mixing: float = 0.0  # the part of the pictures that take their finer layers from a second latent
    layer_noise: bool = False
    mirror: bool = False  # whether half of the pictures are shown as in a mirror
    augment: bool = False
    augment_target: float = 0.6  # of r_t, at which the probability of augmentations stays as it is
    augment_speed_pictures: int = 500_000  # so many take that probability from 0 to 1
    alignment_weight: float = 0.3
    ema_half_life_pictures: float = 3000.0
    precision: str = "float32"
    origin: tuple[str, str, str] = ("", "", "")  # label, licence and SHA-256 of the generator that was tuned

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise InvalidInput(f"The precision must be one of {', '.join(PRECISIONS)}.")
        if not self.paired and not all(stage.adversarial for stage in self.stages):
            raise InvalidInput("Pictures without latents need the discriminator in every stage.")
        sizes = [stage.resolution for stage in self.stages]
        if not sizes or any(size < SMALLEST or size & (size - 1) for size in sizes):
            raise InvalidInput(f"Each stage's size must be a power of two of at least {SMALLEST} pixels.")
        if self.network and self.network["architecture"] != "skip" and len(set(sizes)) > 1:
            raise InvalidInput("This generator draws its final size only, so all stages must have that size.")
        if self.batch < 1 or self.total_pictures < 1:
            raise InvalidInput("A run needs at least one picture at once, and one in all.")

    @classmethod
    def for_images(
        cls, resolution: int, pictures: int = 1_000_000, batch: int = 32, **changes: Any
    ) -> Config:
        """What suits pictures alone: StyleGAN2 with adaptive augmentation, as in arXiv 2006.06676, appendix C.

        The R1 weight and the averaging follow the rules for unknown data there: gamma = 0.0002 r² / batch.
        """
        values: dict[str, Any] = {
            "stages": (Stage(resolution, pictures, adversarial=True),),
            "domain": IMAGES,
            "batch": batch,
            "held_out": 0,
            "z_dim": 512,
            "w_dim": 512,
            "channel_base": 16384,
            "channel_max": 512,
            "discriminator_channel_base": 16384,
            "learning_rate": 0.0025,
            "kernel_rate": 0.0,
            "mapping_rate_factor": 1.0,
            "discriminator_rate": 0.0025,
            "warm_up_pictures": 0,
            "adversarial_weight": 1.0,
            "adversarial_momentum": 0.0,
            "r1_gamma": 0.0002 * resolution**2 / batch,
            "layer_noise": True,
            "augment": True,
            "alignment_weight": 0.0,
            "ema_half_life_pictures": batch * 10_000 / 32,
        }
        return cls(**{**values, **changes})

    @property
    def paired(self) -> bool:
        """Whether each picture comes with its latent."""
        return self.domain != IMAGES

    @property
    def latent_size(self) -> int:
        """How many numbers a latent has."""
        return self.z_dim or by_name(self.domain).Z_DIM

    @property
    def resolution(self) -> int:
        """The size of the finished generator's pictures."""
        return self.stages[-1].resolution

    @property
    def judged_resolutions(self) -> tuple[int, ...]:
        """The sizes at which the discriminator sees pictures, the final one included."""
        return tuple(sorted({s.resolution for s in self.stages if s.adversarial} | {self.resolution}))

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

    def fade_at(self, pictures: int) -> float:
        """How much the discriminator's newest block counts (0 to 1): less than 1 after a stage of a lower size."""
        before: Stage | None = None
        for stage in self.stages:
            if pictures < stage.pictures:
                grows = before is not None and before.adversarial and before.resolution < stage.resolution
                over = self.fade_in * stage.pictures
                return min(1.0, pictures / over) if grows and over > 0 else 1.0
            pictures -= stage.pictures
            before = stage
        return 1.0

    @classmethod
    def from_json(cls, text: str) -> Config:
        """Read what `json.dumps(asdict(config))` wrote, now or before `precision` took the place of `bf16`."""
        content: dict[str, Any] = json.loads(text)
        content["stages"] = tuple(Stage(**stage) for stage in content["stages"])
        content["origin"] = tuple(content.get("origin", ("", "", "")))
        if content.pop("bf16", False):
            content["precision"] = "bfloat16"
        return cls(**content)
