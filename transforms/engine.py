"""The engine's door: the only module here that knows ganworks. All others trade in plain data and pictures.

torch is loaded when the first picture is drawn, never by listing what is installed.
"""

from __future__ import annotations

import io
import os
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

from django.conf import settings
from django.utils.module_loading import import_string

import ganworks
from ganworks.errors import GanworksError as EngineError
from ganworks.errors import InvalidInput
from ganworks.errors import Stopped as EngineStopped
from ganworks.info import GeneratorInfo, UpscalerInfo
from ganworks.upscalers import UpscalerReport
from transforms.errors import GeneratorMissing, InvalidParams
from transforms.params import DEFAULT_TRUNCATION_PSI, STILL, Edit, Move
from transforms.sources import Component, FileSource, Found, Rendering, SeedSource, Source

if TYPE_CHECKING:
    from PIL.Image import Image as Picture
    from torch import Tensor

    from ganworks import Basis, Generator

__all__ = [
    "Component",
    "Engine",
    "EngineError",
    "EngineStopped",
    "FileSource",
    "Found",
    "GeneratorInfo",
    "Rendering",
    "SeedSource",
    "Source",
    "UpscalerInfo",
    "UpscalerReport",
    "describe_device",
    "device_name",
    "engine",
    "is_out_of_memory",
    "memory_of_gpus",
    "read_upscaler",
]

OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")
MOST_AT_ONCE = 8
FEWEST_AT_ONCE = 4
"""So few large pictures are not quicker together: two of 256 pixels take 1.06 of their time apart."""
KEPT_LATENTS = 64
NOISE_SEED = 0
KEPT_TUNED = 4  # generators that are tuned for one picture each: a large one has 100 MB of its own
TUNING_STEPS = 400
PREVIEW_EVERY_SECONDS = 0.4

MAX_SEEDS = 2**32

OnStep = Callable[[int, int, float, "Picture | None"], None]
OnTile = Callable[[int, int], None]
ShouldStop = Callable[[], bool]


# What a panorama goes on with to the right of a picture that was found.
_FURTHER = SeedSource("", 0, truncation_psi=DEFAULT_TRUNCATION_PSI)


class Engine(Protocol):
    """What jobs and previews ask for. All methods may be called from any thread."""

    def generators(self) -> list[GeneratorInfo]: ...
    def upscalers(self) -> list[UpscalerInfo]: ...
    def problems(self) -> list[str]: ...
    def resident(self) -> list[str]: ...
    def generator(self, name: str) -> GeneratorInfo: ...
    def generator_by_sha256(self, sha256: str) -> GeneratorInfo: ...
    def upscaler(self, name: str) -> UpscalerInfo: ...
    def components(self, name: str, basis: str = "components") -> list[Component]: ...
    def direction_names(self, name: str, basis: str) -> list[str]: ...
    def layer_ranges(self, name: str) -> dict[str, tuple[int, int]]: ...
    def draw(
        self, name: str, seeds: Sequence[int], *, truncation_psi: float, class_index: int | None
    ) -> Iterator[Picture]: ...
    def render(
        self,
        source: Source,
        edits: Sequence[Edit],
        noise_mode: str = "const",
        move: Move = STILL,
        draft: bool = False,
        viewer: str = "",
    ) -> Picture: ...
    def kin(self, rendering: Rendering) -> Hashable | None: ...
    def render_together(self, renderings: Sequence[Rendering]) -> list[Picture]: ...
    def panorama(
        self,
        source: Source,
        edits: Sequence[Edit],
        left: int,
        width: int,
        draft: bool = False,
        viewer: str = "",
    ) -> Picture: ...
    def project(
        self,
        name: str,
        square: Picture,
        *,
        space: str,
        steps: int,
        class_index: int | None,
        faithful: bool = False,
        on_step: OnStep,
        should_stop: ShouldStop,
    ) -> Found: ...
    def upscale(
        self, name: str, picture: Picture, *, on_tile: OnTile, should_stop: ShouldStop
    ) -> Picture: ...
    def job_threads(self) -> AbstractContextManager[None]: ...
    def pictures_at_once(self, name: str) -> int: ...
    def warm(self) -> None: ...
    def free_memory(self) -> None: ...


@dataclass(frozen=True)
class _Place:
    """A source, opened: ws [1, num_ws, w_dim], the noise maps that belong to it, and how its generator was tuned."""

    ws: Tensor
    noise: dict[str, Tensor] | None
    difference: ganworks.Difference | None = None


class LocalEngine:
    """The engine in this process, over one library: each network is loaded once and kept."""

    def __init__(self, library: ganworks.Library) -> None:
        self._library = library
        self._places: OrderedDict[Source, _Place] = OrderedDict()
        self._tuned: OrderedDict[Source, Generator] = OrderedDict()
        self._corrections = ganworks.Corrections()
        self._quick: set[str] = set()
        """The content hashes of generators whose drafts are whole pictures."""
        self._lock = threading.Lock()

    @classmethod
    def from_settings(cls) -> Self:
        """Over the starters and the operator's own models."""
        return cls(
            ganworks.Library(
                directories=[settings.MODELS_DIR],
                device=settings.ENGINE_DEVICE,
                memory_budget_bytes=settings.ENGINE_MEMORY_BYTES,
            )
        )

    def generators(self) -> list[GeneratorInfo]:
        return self._library.generators()

    def upscalers(self) -> list[UpscalerInfo]:
        return self._library.upscalers()

    def problems(self) -> list[str]:
        """One sentence for each weights file that cannot be used."""
        return self._library.problems()

    def resident(self) -> list[str]:
        """The names of the generators that are loaded now."""
        return self._library.resident()

    def generator(self, name: str) -> GeneratorInfo:
        for info in self._library.generators():
            if info.name == name:
                return info
        raise GeneratorMissing(f"There is no generator named “{name}” here. Choose another one.")

    def generator_by_sha256(self, sha256: str) -> GeneratorInfo:
        info = self._library.by_sha256(sha256)
        if info is None:
            raise GeneratorMissing("The generator that this picture needs is not installed any more.")
        return info

    def upscaler(self, name: str) -> UpscalerInfo:
        for info in self._library.upscalers():
            if info.name == name:
                return info
        raise GeneratorMissing(f"There is no upscaler named “{name}” here. Choose another one.")

    def components(self, name: str, basis: str = "components") -> list[Component]:
        """
        The sliders of a generator: its principal components, or its closed-form factors ("factors"). torch is not loaded
        for this.
        """
        found = ganworks.read_directions(self.generator(name), factors=basis == "factors")
        return [Component(index, item.name, item.share) for index, item in enumerate(found)]

    def direction_names(self, name: str, basis: str) -> list[str]:
        """What the sliders of a generator are called. torch is not loaded for this."""
        return ganworks.direction_names(self.generator(name), factors=basis == "factors")

    def layer_ranges(self, name: str) -> dict[str, tuple[int, int]]:
        return ganworks.layer_ranges(self.generator(name).num_ws)

    def draw(
        self, name: str, seeds: Sequence[int], *, truncation_psi: float, class_index: int | None
    ) -> Iterator[Picture]:
        """The pictures of the seeds, one by one, drawn so many at once as is fastest."""
        sha256, at_once = self.generator(name).sha256, self.pictures_at_once(name)
        for start in range(0, len(seeds), at_once):
            part = seeds[start : start + at_once]
            if len(part) == 1:
                yield self.render(SeedSource(sha256, part[0], class_index, truncation_psi), ())
            else:
                yield from self._draw_at_once(name, part, truncation_psi, class_index)

    def _draw_at_once(
        self, name: str, seeds: Sequence[int], truncation_psi: float, class_index: int | None
    ) -> Iterator[Picture]:
        generator = self._library.generator(name)
        c = generator.one_hot(class_index, len(seeds))
        ws = generator.mapping(generator.latents(seeds), c, truncation_psi, None)
        pictures = generator.crop(generator.synthesis(ws, "const", None, NOISE_SEED))
        for index in range(len(seeds)):
            yield ganworks.to_image(pictures[index : index + 1])

    def pictures_at_once(self, name: str) -> int:
        """How many pictures of a generator are drawn fastest in one pass: several small ones, or one large one."""
        side = self.generator(name).resolution
        count = min(MOST_AT_ONCE, settings.ENGINE_BATCH_PIXELS // side**2)
        return count if count >= FEWEST_AT_ONCE else 1

    def render(
        self,
        source: Source,
        edits: Sequence[Edit],
        noise_mode: str = "const",
        move: Move = STILL,
        draft: bool = False,
        viewer: str = "",
    ) -> Picture:
        [picture] = self.render_together([Rendering(source, tuple(edits), noise_mode, move, draft, viewer)])
        return picture

    def kin(self, rendering: Rendering) -> Hashable | None:
        """
        What pictures have in common that can be drawn in one pass; None: this one is drawn alone. That is so for
        random noise, of which each picture draws the same maps, and for a generator that was tuned for one picture; a
        latent that was not read yet is opened alone, since nobody else should wait for its file.
        """
        source = rendering.source
        if rendering.noise_mode == "random" or not (isinstance(source, SeedSource) or self._is_plain(source)):
            return None
        draft = rendering.draft and source.generator_sha256 not in self._quick
        return source.generator_sha256, draft, rendering.noise_mode, rendering.move

    def _is_plain(self, source: Source) -> bool:
        """Whether the source is open, and its generator was not tuned for it."""
        with self._lock:
            place = self._places.get(source)
        return place is not None and place.difference is None

    def render_together(self, renderings: Sequence[Rendering]) -> list[Picture]:
        """The pictures, in order, drawn in one pass; `kin` gives the same for all of them, or there is only one."""
        import torch

        first = renderings[0]
        generator = self._opened(first.source)
        places = [self._place(rendering.source, generator) for rendering in renderings]
        rows = [
            self._edited(place.ws, rendering.edits, generator)
            for place, rendering in zip(places, renderings, strict=True)
        ]
        generator = self._as_tuned(first.source, places[0], generator)
        noises = [place.noise if first.noise_mode == "const" else None for place in places]
        shift, degrees = (first.move.x, first.move.y), first.move.degrees

        def draw(quick: bool, ws: Tensor, noise: dict[str, Tensor] | None) -> Tensor:
            method = generator.draft if quick else generator.synthesis
            return method(ws, first.noise_mode, noise, NOISE_SEED, shift, degrees)

        drawn = draw(first.draft, torch.cat(rows), _side_by_side(noises, generator))
        return [
            self._settled(generator, rendering, picture, partial(draw, True, ws, noise))
            for rendering, picture, ws, noise in zip(
                renderings, torch.split(drawn, 1), rows, noises, strict=True
            )
        ]

    def _settled(
        self, generator: Generator, rendering: Rendering, picture: Tensor, draw_draft: Callable[[], Tensor]
    ) -> Picture:
        """What is shown of a picture [1, 3, H, W] that was drawn."""
        viewer, source = rendering.viewer, rendering.source
        place = viewer and (viewer, _identity(source), rendering.noise_mode)
        picture = self._corrected(generator, place, picture, draw_draft, rendering.draft)
        return ganworks.to_image(generator.crop(picture))

    def panorama(
        self,
        source: Source,
        edits: Sequence[Edit],
        left: int,
        width: int,
        draft: bool = False,
        viewer: str = "",
    ) -> Picture:
        """The columns from `left` on, `width` of them, of the panorama that begins with the picture."""
        generator = self._opened(source)
        generator = self._as_tuned(source, self._place(source, generator), generator)
        anchors = self._edited(self._anchors(source, generator, left + width), edits, generator)
        place = viewer and (viewer, _identity(source), left, width)
        draw = partial(generator.panorama, anchors, width, left)
        return ganworks.to_image(self._corrected(generator, place, draw(draft), partial(draw, True), draft))

    def _corrected(
        self,
        generator: Generator,
        place: Hashable,
        picture: Tensor,
        draw_draft: Callable[[], Tensor],
        draft: bool,
    ) -> Tensor:
        """
        Drafts learn from the last exact picture of the same place, which names its viewer: nobody's drafts show what
        another one has made of the same seed. Without a viewer nothing is kept.
        """
        if not place or generator.draft_resolution == generator.resolution:
            return picture
        if draft:
            return self._corrections.corrected(place, picture)
        self._corrections.rest(place, picture, generator.draft_resolution, draw_draft)
        return picture

    def project(
        self,
        name: str,
        square: Picture,
        *,
        space: str,
        steps: int,
        class_index: int | None,
        faithful: bool = False,
        on_step: OnStep,
        should_stop: ShouldStop,
    ) -> Found:
        """
        Find `square` in the generator's space, and, for a faithful one, tune the generator there. Without steps it is where
        the encoder says. Stopped early, it gives back what was found so far.
        """
        encoder = self._library.encoder(name)
        if not steps and encoder is None:
            raise EngineError(f"{name} has no encoder that fits it, so it cannot give a draft.")
        generator = self._library.generator(name)
        target = generator.pad(ganworks.to_tensor(square, generator.resolution))
        made, whole = 0, steps + (TUNING_STEPS if faithful else 0)

        def step(state: ganworks.ProjectionStep) -> None:
            preview = None if state.preview is None else ganworks.to_image(generator.crop(state.preview))
            on_step(made + state.step, whole, state.loss, preview)

        found = ganworks.project(
            generator,
            target,
            steps=steps,
            space=space,
            class_index=class_index,
            critic=self._library.critic(name),
            encoder=encoder,
            on_step=step,
            should_stop=should_stop,
            preview_every_seconds=PREVIEW_EVERY_SECONDS,
        )
        if not faithful or found.stopped_early:
            return _kept(found, generator, found.stopped_early)
        made = steps
        tuned = ganworks.tune(
            generator,
            target,
            found,
            steps=TUNING_STEPS,
            on_step=step,
            should_stop=should_stop,
            preview_every_seconds=PREVIEW_EVERY_SECONDS,
        )
        found = replace(found, difference=tuned.difference, psnr=tuned.psnr)
        return _kept(found, generator.tuned(tuned.difference), tuned.stopped_early, tuned.steps)

    def upscale(self, name: str, picture: Picture, *, on_tile: OnTile, should_stop: ShouldStop) -> Picture:
        return self._library.upscaler(name).upscale_image(picture, on_tile=on_tile, should_stop=should_stop)

    def job_threads(self) -> AbstractContextManager[None]:
        """Inside it the calling thread computes with as many cores as jobs may use."""
        count: int = settings.ENGINE_JOB_THREADS
        return ganworks.inference_threads(count) if count else nullcontext()

    def warm(self) -> None:
        """Load torch and the first generator with its directions, and draw once: the first click is quick."""
        served = settings.WORKER_GENERATORS
        known = [info for info in self.generators() if not served or info.name in served]
        for info in known[:1]:
            edits = [Edit(0, 0.0, 0, info.num_ws)] if info.has_components else []
            class_index = 0 if info.c_dim else None
            self.render(SeedSource(info.sha256, 0, class_index), edits)

    def free_memory(self) -> None:
        """Let go of all that is kept only to be quick. What is in use lives on until its users are done."""
        with self._lock:
            self._places.clear()
            self._tuned.clear()
            self._corrections = ganworks.Corrections()
        self._library.unload()

    def _opened(self, source: Source) -> Generator:
        generator = self._library.generator(self.generator_by_sha256(source.generator_sha256).name)
        if generator.drafts_are_pictures:
            self._quick.add(generator.sha256)
        return generator

    def _anchors(self, source: Source, generator: Generator, reach_px: int) -> Tensor:
        """The anchors of a panorama that reaches so far: the source twice, then seeds that count up."""
        import torch

        ws = self._place(source, generator).ws
        count = 2
        while 0 < generator.reach_px(count) < reach_px:
            count += 1
        seed = source if isinstance(source, SeedSource) else _FURTHER
        first = seed.seed + (1 if isinstance(source, SeedSource) else 0)
        seeds = [(first + number) % MAX_SEEDS for number in range(count - 2)]
        c = generator.one_hot(seed.class_index, len(seeds))
        more = generator.mapping(generator.latents(seeds), c, seed.truncation_psi, seed.truncation_cutoff)
        return torch.cat([ws, ws, more])

    def _place(self, source: Source, generator: Generator) -> _Place:
        with self._lock:
            place = self._places.get(source)
            if place is not None:
                self._places.move_to_end(source)
                return place
        place = (
            _open_seed(source, generator) if isinstance(source, SeedSource) else _open_file(source, generator)
        )
        with self._lock:
            self._places[source] = place
            while len(self._places) > KEPT_LATENTS:
                self._places.popitem(last=False)
        return place

    def _as_tuned(self, source: Source, place: _Place, generator: Generator) -> Generator:
        """The generator as it was tuned for a source, if it was; the last few are kept."""
        if place.difference is None:
            return generator
        with self._lock:
            tuned = self._tuned.get(source)
            if tuned is not None:
                self._tuned.move_to_end(source)
                return tuned
        tuned = generator.tuned(place.difference)
        with self._lock:
            self._tuned[source] = tuned
            while len(self._tuned) > KEPT_TUNED:
                self._tuned.popitem(last=False)
        return tuned

    def _edited(self, ws: Tensor, edits: Sequence[Edit], generator: Generator) -> Tensor:
        name = generator.info.name
        bases: dict[str, Basis] = {
            kind: self._library.basis(name, kind == "factors") for kind in {edit.basis for edit in edits}
        }
        try:
            moves = [
                ganworks.Edit(bases[edit.basis], edit.component, (edit.start, edit.end), edit.strength)
                for edit in edits
            ]
            return ganworks.apply_edits(ws, moves)
        except InvalidInput as error:
            raise InvalidParams("edits", str(error)) from error


def _identity(source: Source) -> Hashable:
    """What stays the same of a source while it is edited: all but truncation."""
    return source.key if isinstance(source, FileSource) else replace(source, truncation_psi=1.0)


def _open_seed(source: SeedSource, generator: Generator) -> _Place:
    z, c = generator.latents([source.seed]), generator.one_hot(source.class_index)
    ws = generator.mapping(z, c, source.truncation_psi, source.truncation_cutoff)
    return _Place(ws, None)


def _open_file(source: FileSource, generator: Generator) -> _Place:
    found: Any = ganworks.Projection.load(io.BytesIO(source.read()))
    if found.generator_sha256 != generator.sha256:
        raise GeneratorMissing("This picture was projected into another generator than the one that is here.")
    return _Place(found.ws, found.noise, found.difference)


def _side_by_side(
    noises: Sequence[dict[str, Tensor] | None], generator: Generator
) -> dict[str, Tensor] | None:
    """The noise maps of pictures of one pass, [N, 1, r, r] each, with the generator's own where a picture has none."""
    import torch

    names = {name for noise in noises if noise is not None for name in noise}
    own = generator.network.noise_buffers() if names else {}
    maps = {
        name: [own[name] if noise is None else noise.get(name, own[name]) for noise in noises]
        for name in names
    }
    return {
        name: torch.stack([value.reshape(1, *value.shape[-2:]).to(generator.device) for value in values])
        for name, values in maps.items()
    } or None


def _kept(found: ganworks.Projection, generator: Generator, stopped: bool, tuning_steps: int = 0) -> Found:
    """What was found, as bytes, with what `generator` draws there."""
    file = io.BytesIO()
    found.save(file)
    picture = ganworks.to_image(generator.crop(generator.synthesis(found.ws, noise=found.noise)))
    return Found(file.getvalue(), found.loss, found.psnr, found.steps, stopped, picture, tuning_steps)


def describe_device() -> str:
    """The device that ENGINE_DEVICE means here, in a sentence. Loads torch. EngineError if there is no such device."""
    import torch

    from ganworks.devices import choose_device

    device = choose_device(settings.ENGINE_DEVICE)
    if device.type != "cuda":
        return f"Pictures are drawn by the processor, with {torch.get_num_threads()} threads."
    free, total = torch.cuda.mem_get_info(device)
    name = torch.cuda.get_device_name(device)
    return f"Pictures are drawn by {name} ({device}), with {free >> 20:,} of {total >> 20:,} MiB free."


def memory_of_gpus() -> dict[str, dict[str, int]]:
    """Of each GPU that this process computes on: bytes `allocated`, `reserved` and `total`. Does not load torch."""
    torch: Any = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return {}
    return {
        f"cuda:{number}": {
            "allocated": torch.cuda.memory_allocated(number),
            "reserved": torch.cuda.memory_reserved(number),
            "total": torch.cuda.get_device_properties(number).total_memory,
        }
        for number in range(torch.cuda.device_count())
    }


def device_name() -> str:
    """What jobs are computed on here, so that times of different machines are not mixed up. Does not load torch."""
    torch: Any = sys.modules.get("torch")
    if settings.ENGINE_DEVICE == "cpu" or torch is None or not torch.cuda.is_available():
        return f"CPU with {settings.ENGINE_JOB_THREADS or os.cpu_count()} cores"
    number = settings.ENGINE_DEVICE.partition(":")[2]
    return str(torch.cuda.get_device_name(int(number or 0)))[:80]


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether memory ran out, of the machine or of its GPU, here or in what the error came from."""
    while error is not None:
        if isinstance(error, MemoryError):
            return True
        # torch says it in words: OutOfMemoryError is a RuntimeError, and on a CPU there is only the latter.
        if isinstance(error, RuntimeError) and any(words in str(error) for words in OUT_OF_MEMORY):
            return True
        error = error.__cause__
    return False


def read_upscaler(source: Path, target: Path, *, label: str, license: str) -> UpscalerReport:
    """Look at a foreign upscaler in a sandbox, and write it as one of ours. EngineError if it is refused."""
    return ganworks.import_upscaler(source, target, label=label, license=license)


@cache
def engine() -> Engine:
    """The engine of this process, made when it is first asked for: of the class that ENGINE_CLASS names."""
    made: Engine = import_string(settings.ENGINE_CLASS).from_settings()
    return made
