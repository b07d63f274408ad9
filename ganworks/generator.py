"""
A generator that is ready to use: loaded from its file, frozen, on a device, safe to use from several threads.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ganworks import architectures, checkpoint
from ganworks.devices import choose_device, plain_memory_errors
from ganworks.difference import Difference, applied
from ganworks.effort import draft_resolution
from ganworks.errors import InvalidInput
from ganworks.half import HalfPrecision
from ganworks.info import GENERATOR_FILE, GeneratorInfo, locate, read_generator_info
from ganworks.networks import alis, stylegan2, stylegan3

MAX_SEED = 2**32 - 1
PIXELS_AT_ONCE = 8 * 256 * 256
MAX_SHIFT = 4.0


class Generator:
    """
    `network` is the frozen torch module (an `architectures.Network`), for those who need gradients: its `draw`
    is what `synthesis` calls. The methods here compute without them and return ordinary tensors on `device`.
    """

    def __init__(self, network: Any, info: GeneratorInfo, device: torch.device) -> None:
        self.network, self.info, self.device = network, info, device
        self.z_dim, self.w_dim, self.c_dim = network.z_dim, network.w_dim, network.c_dim
        self.num_ws, self.resolution = network.num_ws, network.resolution
        self.sha256 = info.sha256
        self._half = HalfPrecision.of(network, device)
        self.draft_resolution = self._half.resolution if self._half else draft_resolution(network)

    @property
    def w_avg(self) -> Tensor:
        """The average of w that truncation moves toward: [w_dim]."""
        average: Tensor = self.network.mapping.w_avg
        return average

    @property
    def drafts_are_pictures(self) -> bool:
        """Whether `draft` draws what `synthesis` draws."""
        return self._half is None and self.draft_resolution == self.resolution

    @property
    def num_parameters(self) -> int:
        """How many numbers were learned."""
        return sum(parameter.numel() for parameter in self.network.parameters())

    def latents(self, seeds: Sequence[int]) -> Tensor:
        """
        Seeds (0 to 2**32 - 1) to z [N, z_dim], the same as the public StyleGAN tools make of these seeds.
        """
        if not all(0 <= seed <= MAX_SEED for seed in seeds):
            raise InvalidInput(f"A seed must be a whole number from 0 to {MAX_SEED}.")
        rows = [np.random.RandomState(seed).randn(self.z_dim) for seed in seeds]
        return torch.from_numpy(np.array(rows, dtype=np.float32).reshape(-1, self.z_dim)).to(self.device)

    @torch.no_grad()
    def mapping(
        self,
        z: Tensor,
        c: Tensor | None = None,
        truncation_psi: float = 1,
        truncation_cutoff: int | None = None,
    ) -> Tensor:
        """
        z [N, z_dim] (and, for a conditional generator, c [N, c_dim], one-hot) to ws [N, num_ws, w_dim].
        Truncation moves the first `truncation_cutoff` rows (all if None) to w_avg + psi * (w - w_avg).
        """
        if z.ndim != 2 or z.shape[1] != self.z_dim:
            raise InvalidInput(f"A latent must have the shape [N, {self.z_dim}], not {list(z.shape)}.")
        if self.c_dim and (c is None or c.shape != (z.shape[0], self.c_dim)):
            raise InvalidInput(
                f"This generator needs a class for each picture, of the shape [N, {self.c_dim}]."
            )
        if truncation_cutoff is not None and truncation_cutoff < 0:
            raise InvalidInput("The cutoff of truncation must not be negative.")
        classes = c.to(self.device) if self.c_dim and c is not None else None
        ws: Tensor = self.network.mapping(z.to(self.device), classes, truncation_psi, truncation_cutoff)
        return ws

    def one_hot(self, class_index: int | None, count: int = 1) -> Tensor | None:
        """
        The classes c [count, c_dim] of `count` pictures of one class (None: the first); None for a generator
        without classes.
        """
        if not self.c_dim:
            return None
        index = class_index or 0
        if not 0 <= index < self.c_dim:
            raise InvalidInput(f"The class must be a number from 0 to {self.c_dim - 1}.")
        c = torch.zeros(count, self.c_dim, device=self.device)
        c[:, index] = 1
        return c

    @torch.no_grad()
    def sample_w(self, count: int, random: torch.Generator, class_index: int | None = None) -> Tensor:
        """
        Draw w [count, w_dim] from normal latents, and from one class or from all of them evenly; `random` is a
        generator on the CPU.
        """
        z = torch.randn(count, self.z_dim, generator=random).to(self.device)
        c = None
        if self.c_dim and class_index is None:
            labels = torch.randint(self.c_dim, (count,), generator=random)
            c = torch.nn.functional.one_hot(labels, self.c_dim).float().to(self.device)
        elif self.c_dim:
            c = self.one_hot(class_index, count)
        w: Tensor = self.network.mapping.map_to_w(z, c)
        return w

    def synthesis(
        self,
        ws: Tensor,
        noise_mode: str = "const",
        noise: Mapping[str, Tensor] | None = None,
        noise_seed: int | None = None,
        translate: tuple[float, float] = (0.0, 0.0),
        rotate: float = 0.0,
    ) -> Tensor:
        """
        ws [N, num_ws, w_dim] to pictures [N, 3, resolution, resolution] float32, about [-1, 1].

        noise_mode: "const" uses the generator's own noise maps, or those in `noise` (as a Projection holds
        them: [r, r], for all pictures; or [N, 1, r, r], one for each), "random" draws new ones (the same for the same
        `noise_seed`), "none" leaves noise out. A generator without noise draws the same in all modes.

        translate (right and down, as parts of the side) and rotate (degrees) move the picture; only a
        generator whose `info.moves` can do that.
        """
        return self._drawn(self.resolution, ws, noise_mode, noise, noise_seed, translate, rotate)

    def draft(
        self,
        ws: Tensor,
        noise_mode: str = "const",
        noise: Mapping[str, Tensor] | None = None,
        noise_seed: int | None = None,
        translate: tuple[float, float] = (0.0, 0.0),
        rotate: float = 0.0,
    ) -> Tensor:
        """
        The same for somebody who waits: [N, 3, draft_resolution, draft_resolution], a power of two. A generator that is
        quick anyway, or cannot stop early (`effort.draft_resolution`), draws what `synthesis` draws; on some processors
        a slow one draws in half precision.
        """
        quick = self._half.draw if self._half else None
        return self._drawn(self.draft_resolution, ws, noise_mode, noise, noise_seed, translate, rotate, quick)

    def _drawn(
        self,
        resolution: int,
        ws: Tensor,
        noise_mode: str,
        noise: Mapping[str, Tensor] | None,
        noise_seed: int | None,
        translate: tuple[float, float],
        rotate: float,
        draw: Callable[..., Tensor] | None = None,
    ) -> Tensor:
        self._check_ws(ws)
        if noise_mode not in stylegan2.NOISE_MODES:
            raise InvalidInput(f"The noise mode must be one of {', '.join(stylegan2.NOISE_MODES)}.")
        maps = self._check_noise(noise or {}, len(ws))
        transform = self._transform(translate, rotate)
        random = None
        if noise_mode == "random" and noise_seed is not None:
            random = torch.Generator(self.device).manual_seed(noise_seed)
        at_once = max(1, PIXELS_AT_ONCE // resolution**2)
        draw = draw or self.network.draw
        smaller = {} if resolution == self.resolution else {"resolution": resolution}
        with plain_memory_errors(), torch.inference_mode():
            parts = [
                draw(
                    ws[start : start + at_once].to(self.device, torch.float32),
                    noise_mode,
                    _maps_from(maps, start, at_once),
                    random,
                    transform,
                    **smaller,
                )
                for start in range(0, len(ws), at_once)
            ]
            pictures = torch.cat(parts) if parts else ws.new_zeros(0, 3, resolution, resolution)
        return _ordinary(pictures)

    def panorama(self, anchors: Tensor, width: int, left: int = 0, draft: bool = False) -> Tensor:
        """
        A window of a panorama: [1, 3, resolution, width] float32, about [-1, 1].

        anchors: [A, num_ws, w_dim], two square frames apart, the first at the left end. `left` and `width` in
        pixels: the anchors reach `reach_px(A)` pixels. Windows that touch fit without a seam. A `draft` may be
        smaller by a power of two, as that of `draft`. Only for a generator whose `info.scrolls`.
        """
        network = self.network
        if not isinstance(network, alis.Generator):
            raise InvalidInput("This generator draws single pictures, and no panoramas. Choose another one.")
        self._check_ws(anchors)
        if width < 1 or left < 0 or left + width > self.reach_px(len(anchors)):
            raise InvalidInput(
                f"{len(anchors)} anchors reach {self.reach_px(len(anchors))} pixels. Choose a window within them."
            )
        resolution = self.draft_resolution if draft else self.resolution
        with plain_memory_errors(), torch.inference_mode():
            picture = network.panorama(anchors.to(self.device, torch.float32), width, left, resolution)[None]
        return _ordinary(picture)

    def reach_px(self, anchors: int) -> int:
        """How wide a panorama so many anchors make."""
        network = self.network
        return network.synthesis.reach_px(anchors) if isinstance(network, alis.Generator) else 0

    def crop(self, pictures: Tensor) -> Tensor:
        """[N, 3, H, H], whole pictures or drafts, without the edges that the generator only pads (`info.crop`)."""
        if self.info.crop is None:
            return pictures
        side = pictures.shape[3]
        left, top, right, bottom = (edge * side // self.resolution for edge in self.info.crop)
        return pictures[:, :, top:bottom, left:right]

    def pad(self, pictures: Tensor) -> Tensor:
        """The same pictures [N, 3, resolution, resolution] with those edges black, as in training."""
        if self.info.crop is None:
            return pictures
        left, top, right, bottom = self.info.crop
        padded = torch.full_like(pictures, -1.0)
        padded[:, :, top:bottom, left:right] = self.crop(pictures)
        return padded

    def tuned(self, difference: Difference) -> "Generator":
        """
        The same generator with what `tune` changed: a view that has memory of its own only for changed weights. Its
        W, and so its directions and latents, are the same. BasisMismatch if the difference is another generator's.
        """
        difference.check_generator(self.sha256)
        with plain_memory_errors():
            return Generator(applied(self.network, difference), self.info, self.device)

    def _check_ws(self, ws: Tensor) -> None:
        if ws.ndim != 3 or ws.shape[1:] != (self.num_ws, self.w_dim):
            raise InvalidInput(
                f"ws must have the shape [N, {self.num_ws}, {self.w_dim}], not {list(ws.shape)}."
            )

    def _transform(self, translate: tuple[float, float], rotate: float) -> Tensor | None:
        if translate == (0.0, 0.0) and rotate == 0.0:
            return None
        if not self.info.moves:
            raise InvalidInput("This generator cannot shift or turn a picture. Choose one that can.")
        if not all(-MAX_SHIFT <= shift <= MAX_SHIFT for shift in translate) or not -360 <= rotate <= 360:
            raise InvalidInput(
                f"A picture is shifted by at most {MAX_SHIFT:g} of its sides and turned by at most 360 degrees."
            )
        return stylegan3.user_transform(translate, rotate).to(self.device)

    def _check_noise(self, noise: Mapping[str, Tensor], count: int) -> dict[str, Tensor]:
        """The maps on this device. InvalidInput unless each has a size of this generator, for all or `count` pictures."""
        own = self.network.noise_buffers()
        for key, value in noise.items():
            if key not in own or value.shape[-2:] != own[key].shape:
                raise InvalidInput("The noise maps belong to another generator.")
            is_shared = value.numel() == own[key].numel()
            if not is_shared and value.shape != (count, 1, *own[key].shape):
                raise InvalidInput(
                    f"There must be one noise map of a size for all {count} pictures, or one for each."
                )
        return {key: value.to(self.device, torch.float32) for key, value in noise.items()}


def open_generator(path_or_name: str | Path, device: str = "cpu") -> Generator:
    """
    Load a generator from its file, its folder, or a starter's name. GeneratorNotFound if there is none,
    CheckpointError if the file is damaged or lies about itself.
    """
    return load_generator(read_generator_info(locate(path_or_name, GENERATOR_FILE)), choose_device(device))


def load_generator(info: GeneratorInfo, device: torch.device) -> Generator:
    """Load the generator that `info` describes."""
    header = checkpoint.read_header(info.path, "generator")
    network = architectures.build(header, info)
    with plain_memory_errors():
        network.load_state_dict(checkpoint.read_tensors(info.path, header), assign=True)
        network = network.to(device).freeze()  # type: ignore[operator]  # torch types attributes as Tensor or Module
    return Generator(network, info, device)


def save_generator(network: nn.Module, path: str | Path, *, half: bool = False, **meta: Any) -> None:
    """
    Write a network as generator.safetensors. The sizes go into the header by themselves; `meta` adds label,
    license, description, source_format and the like. `half`: in 16 bits, for half of the size; pictures then differ by
    less than a level of 256. It is opened as float32 anyway.
    """
    rest: dict[str, Any] = {"classes": [], "crop": None, "source_sha256": None}
    tensors = network.state_dict()
    if half:
        tensors = {key: value.half() for key, value in tensors.items()}
    checkpoint.write(path, "generator", {**architectures.sizes_of(network), **rest, **meta}, tensors)


def _maps_from(noise: Mapping[str, Tensor], start: int, count: int) -> dict[str, Tensor]:
    """The noise maps of `count` pictures from `start` on: maps that all pictures share stay as they are."""
    return {
        key: value[start : start + count] if value.ndim == 4 and len(value) > 1 else value
        for key, value in noise.items()
    }


def _ordinary(pictures: Tensor) -> Tensor:
    """What was drawn in inference mode, as a tensor that may be used with gradients."""
    return pictures.clone(memory_format=torch.contiguous_format)
