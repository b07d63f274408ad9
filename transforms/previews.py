"""The preview lane: a slider moved, show me. Disposable work, which never waits for a job and never queues.

Each open editor has one render in flight. The newest wish of each kind waits behind it; what it replaces is
dropped. Renders run in threads of their own at normal priority, while jobs run at a lower one.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any
from uuid import UUID

import structlog

from accounts.models import User
from gallery.files import encode_png
from gallery.models import Image
from gallery.png import embed_recipe
from transforms import projections
from transforms.engine import EngineError, FileSource, SeedSource, Source, engine
from transforms.errors import InvalidParams, TransformError
from transforms.params import (
    MAX_TRUNCATION_PSI,
    NOISE_MODES,
    Edit,
    SeriesParams,
    choice,
    edits_from,
    number,
    whole,
)
from transforms.pictures import encode_exact, encode_live
from transforms.recipes import Recipe

log = structlog.get_logger(__name__)

THREADS = 2
MAX_SEQ = 2**32 - 1
HEADER = struct.Struct(">BIBBB")
EXACT = 1
DRAWING_TAKES_SECONDS = 10.0
WENT_WRONG = (
    "Something went wrong while the preview was drawn. Move the slider once more, or reload the page."
)

_pool = ThreadPoolExecutor(THREADS, thread_name_prefix="preview")

Send = Callable[["bytes | dict[str, Any]"], Awaitable[None]]


class Kind(IntEnum):
    """The first byte of a binary frame. Also the order in which waiting wishes are served."""

    FRAME = 1
    SERIES = 2
    EXPORT = 3


def binary_frame(
    kind: Kind, seq: int, data: bytes, *, index: int = 0, total: int = 1, exact: bool = False
) -> bytes:
    """1 byte kind, 4 bytes seq (big-endian), 1 byte index, 1 total, 1 flags (bit 0: exact), the picture."""
    return HEADER.pack(kind, seq, index, total, EXACT if exact else 0) + data


@dataclass(frozen=True)
class Look:
    """What can be asked of every preview besides the edits."""

    truncation_psi: float | None
    noise_mode: str

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> Look:
        psi = data.get("truncation_psi")
        return cls(
            truncation_psi=None if psi is None else number(data, "truncation_psi", 0.0, MAX_TRUNCATION_PSI),
            noise_mode=choice(data, "noise_mode", NOISE_MODES, "const"),
        )


@dataclass(frozen=True)
class Editor:
    """A picture opened for editing: all that its previews need, so that none of them asks the database."""

    source: Source
    recipe: Recipe
    num_ws: int
    component_count: int

    @classmethod
    def open(cls, image: Image) -> Editor:
        """Raises TransformError with a sentence when the picture cannot be edited."""
        recipe = projections.recipe_of(image)
        info = engine().generator_by_sha256(recipe.generator_sha256)
        count = len(engine().components(info.name))
        return cls(projections.source_of(image), recipe, info.num_ws, count)

    def render(self, edits: tuple[Edit, ...], look: Look, *, exact: bool) -> bytes:
        picture = engine().render(self._source(look), edits, look.noise_mode)
        return encode_exact(picture) if exact else encode_live(picture)

    def export(self, edits: tuple[Edit, ...], look: Look) -> bytes:
        """A PNG that carries its recipe."""
        png = encode_png(engine().render(self._source(look), edits, look.noise_mode)).data
        return embed_recipe(png, self.recipe_with(edits, look).as_data())

    def recipe_with(self, edits: tuple[Edit, ...], look: Look) -> Recipe:
        source = self._source(look)
        psi = source.truncation_psi if isinstance(source, SeedSource) else 1.0
        return replace(self.recipe, edits=edits, truncation_psi=psi, noise_mode=look.noise_mode)

    def check(self, edits: tuple[Edit, ...]) -> tuple[Edit, ...]:
        if any(edit.end > self.num_ws or edit.component >= self.component_count for edit in edits):
            raise InvalidParams("edits", "This generator has no such component or layer. Reload the page.")
        return edits

    def _source(self, look: Look) -> Source:
        if look.truncation_psi is None or isinstance(self.source, FileSource):
            return self.source
        return replace(self.source, truncation_psi=look.truncation_psi)

    def describe(self) -> dict[str, Any]:
        """What the page needs to show its sliders: the `ready` message."""
        info = engine().generator_by_sha256(self.recipe.generator_sha256)
        components = [
            {"index": item.index, "name": item.name, "variance": round(item.variance, 6)}
            for item in engine().components(info.name)
        ]
        return {
            "type": "ready",
            "generator": info.name,
            "label": info.label,
            "resolution": info.resolution,
            "num_ws": info.num_ws,
            "components": components,
            "ranges": {name: list(layers) for name, layers in engine().layer_ranges(info.name).items()},
            "truncation_psi": self.source.truncation_psi if isinstance(self.source, SeedSource) else None,
        }


def open_editor(user: User, pk: UUID) -> Editor:
    """The editor of a picture that `user` may see. Raises Image.DoesNotExist for everybody else."""
    return Editor.open(Image.objects.select_related("projection").visible_to(user).get(pk=pk))


def draw_now(work: Callable[[], bytes]) -> bytes:
    """Draw in the lane and wait for it: for the API. Raises TimeoutError if the lane is too busy."""
    return _pool.submit(work).result(DRAWING_TAKES_SECONDS)


def seq_of(data: dict[str, Any]) -> int:
    return whole(data, "seq", 0, MAX_SEQ)


@dataclass(frozen=True)
class Wish:
    """One message of an editor, checked. `draw` gives the frames one by one, outside the event loop."""

    kind: Kind
    seq: int
    draw: Callable[[], Iterator[bytes]]


def wish_from(editor: Editor, data: dict[str, Any]) -> Wish:
    """Check a message. InvalidParams with a sentence if it cannot be drawn."""
    seq, look, kind = seq_of(data), Look.from_data(data), data.get("type")
    if kind == "series":
        return Wish(Kind.SERIES, seq, _series(editor, SeriesParams.from_data(data), look, seq))
    edits = editor.check(edits_from(data.get("edits")))
    if kind == "render":
        exact = data.get("exact") is True
        return Wish(
            Kind.FRAME,
            seq,
            lambda: iter(
                [binary_frame(Kind.FRAME, seq, editor.render(edits, look, exact=exact), exact=exact)]
            ),
        )
    if kind == "export":
        return Wish(
            Kind.EXPORT,
            seq,
            lambda: iter([binary_frame(Kind.EXPORT, seq, editor.export(edits, look), exact=True)]),
        )
    raise InvalidParams("type", "A message must be of the type render, series or export.")


def _series(editor: Editor, params: SeriesParams, look: Look, seq: int) -> Callable[[], Iterator[bytes]]:
    frames = [editor.check(edits) for edits in params.frames()]

    def draw() -> Iterator[bytes]:
        for index, edits in enumerate(frames):
            data = editor.render(edits, look, exact=False)
            yield binary_frame(Kind.SERIES, seq, data, index=index, total=len(frames))

    return draw


class PreviewLane:
    """The renders of one open editor, on the event loop of its socket."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._waiting: dict[Kind, Wish] = {}
        self._task: asyncio.Task[None] | None = None

    def offer(self, wish: Wish) -> None:
        """Draw this next, in place of what waits of the same kind."""
        self._waiting[wish.kind] = wish
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    def close(self) -> None:
        self._waiting.clear()
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        try:
            while self._waiting:
                await self._serve(self._waiting.pop(min(self._waiting)))
        finally:
            self._task = None

    async def _serve(self, wish: Wish) -> None:
        """Send the frames of a wish. Between the frames of a series, what is more urgent goes first."""
        loop = asyncio.get_running_loop()
        frames = wish.draw()
        try:
            while (frame := await loop.run_in_executor(_pool, next, frames, None)) is not None:
                await self._send(frame)
                if wish.kind in self._waiting:
                    return  # a newer one of the same kind
                while self._waiting and min(self._waiting) < wish.kind:
                    await self._serve(self._waiting.pop(min(self._waiting)))
        except (TransformError, EngineError) as error:
            await self._refuse(wish, str(error))
        except asyncio.CancelledError:
            raise
        except Exception:
            log.exception("preview_failed", kind=wish.kind.name)
            await self._refuse(wish, WENT_WRONG)

    async def _refuse(self, wish: Wish, text: str) -> None:
        await self._send({"type": "error", "seq": wish.seq, "text": text})


def warm(editor: Editor) -> None:
    """Open the picture's place in the background: the first move of a slider finds everything loaded."""
    _pool.submit(lambda: editor.render((), Look(None, "const"), exact=False))


__all__ = [
    "Editor",
    "Kind",
    "Look",
    "PreviewLane",
    "Wish",
    "binary_frame",
    "draw_now",
    "open_editor",
    "warm",
    "wish_from",
]
