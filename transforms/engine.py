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
from dataclasses import dataclass, field, replace
from functools import cache
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
from transforms.params import DEFAULT_TRUNCATION_PSI, STILL, Edit, Look, Move

if TYPE_CHECKING:
    from PIL.Image import Image as Picture
    from torch import Tensor

    from ganworks import Basis, Generator

__all__ = [
    "Engine",
    "EngineError",
    "EngineStopped",
    "FileSource",
    "Found",
    "GeneratorInfo",
    "SeedSource",
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
KEPT_LATENTS = 64
NOISE_SEED = 0
KEPT_TUNED = 4  # generators that are tuned for one picture each: a large one has 100 MB of its own
TUNING_STEPS = 400
PREVIEW_EVERY_SECONDS = 0.4

MAX_SEEDS = 2**32

OnStep = Callable[[int, int, float, "Picture | None"], None]
OnTile = Callable[[int, int], None]
ShouldStop = Callable[[], bool]


@dataclass(frozen=True)
class SeedSource:
    """A random picture: which generator drew it (by content hash), from which seed."""

    generator_sha256: str
    seed: int
    class_index: int | None = None
    truncation_psi: float = 1.0
    truncation_cutoff: int | None = None

    def seen(self, look: Look) -> SeedSource:
        """The same seed with another truncation or class, where `look` names one."""
        psi = self.truncation_psi if look.truncation_psi is None else look.truncation_psi
        index = self.class_index if look.class_index is None else look.class_index
        return replace(self, truncation_psi=psi, class_index=index)


@dataclass(frozen=True)
class FileSource:
    """A latent that was found: `key` names its content, `read` gives its bytes when they are needed."""

    generator_sha256: str
    key: str
    read: Callable[[], bytes] = field(compare=False)


Source = SeedSource | FileSource

# What a panorama goes on with to the right of a picture that was found.
_FURTHER = SeedSource("", 0, truncation_psi=DEFAULT_TRUNCATION_PSI)


@dataclass(frozen=True)
class Component:
    """One slider that a generator offers. `variance` is its part of the whole variance, 0 to 1."""

    index: int
    name: str
    variance: float


@dataclass(frozen=True)
class Found:
    """A projection: the file to keep, how good it is, and what it looks like. `tuning_steps` of its generator were made."""

    data: bytes
    loss: float
    psnr: float | None
    steps: int
    stopped_early: bool
    picture: Picture
    tuning_steps: int = 0


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
        return max(1, min(MOST_AT_ONCE, settings.ENGINE_BATCH_PIXELS // side**2))

    def render(
        self,
        source: Source,
        edits: Sequence[Edit],
        noise_mode: str = "const",
        move: Move = STILL,
        draft: bool = False,
        viewer: str = "",
    ) -> Picture:
        generator = self._opened(source)
        place = self._place(source, generator)
        generator = self._as_tuned(source, place, generator)
        ws = self._edited(place.ws, edits, generator)
        noise = place.noise if noise_mode == "const" else None

        def draw(quick: bool) -> Tensor:
            method = generator.draft if quick else generator.synthesis
            return method(ws, noise_mode, noise, NOISE_SEED, (move.x, move.y), move.degrees)

        pictures = self._drawn(generator, viewer and (viewer, _identity(source), noise_mode), draw, draft)
        return ganworks.to_image(generator.crop(pictures))

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
        pictures = self._drawn(
            generator,
            viewer and (viewer, _identity(source), left, width),
            lambda quick: generator.panorama(anchors, width, left, quick),
            draft,
        )
        return ganworks.to_image(pictures)

    def _drawn(
        self, generator: Generator, place: Hashable, draw: Callable[[bool], Tensor], draft: bool
    ) -> Tensor:
        """
        What `draw` draws, as a draft or exactly. Drafts learn from the last exact picture of the same place, which names
        its viewer: nobody's drafts show what another one has made of the same seed. Without a viewer nothing is kept.
        """
        pictures = draw(draft)
        if not place or generator.draft_resolution == generator.resolution:
            return pictures
        if draft:
            return self._corrections.corrected(place, pictures)
        self._corrections.rest(place, pictures, generator.draft_resolution, lambda: draw(True))
        return pictures

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
        for info in self.generators()[:1]:
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
        return self._library.generator(self.generator_by_sha256(source.generator_sha256).name)

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
