"""The preview lane: a slider moved, show me. Disposable work, which never waits for a job and never queues.

Each open editor has one render in flight. The newest wish of each kind waits behind it; what it replaces is
dropped. Renders run in threads of their own at normal priority, while jobs run at a lower one.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import Any
from uuid import UUID, uuid4

import structlog

from accounts.models import User
from gallery.files import encode_png
from gallery.models import Image
from gallery.png import embed_recipe
from transforms import metrics, projections
from transforms.classes import class_labels
from transforms.engine import EngineError, FileSource, SeedSource, Source, engine
from transforms.errors import InvalidParams, TransformError
from transforms.params import (
    BASES,
    MAX_PANORAMA_PX,
    Edit,
    Look,
    Panorama,
    SeriesParams,
    edits_from,
    tiles_from,
    whole,
)
from transforms.pictures import encode_exact, encode_live
from transforms.recipes import Recipe
from transforms.recipes import SeedSource as SeedOfRecipe

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
    PANORAMA = 4


def binary_frame(
    kind: Kind, seq: int, data: bytes, *, index: int = 0, total: int = 1, exact: bool = False
) -> bytes:
    """1 byte kind, 4 bytes seq (big-endian), 1 byte index, 1 total, 1 flags (bit 0: exact), the picture."""
    return HEADER.pack(kind, seq, index, total, EXACT if exact else 0) + data


@dataclass(frozen=True)
class Editor:
    """A picture opened for editing: all that its previews need, so that none of them asks the database."""

    source: Source
    recipe: Recipe
    num_ws: int
    counts: dict[str, int]
    """How many directions each basis has."""
    c_dim: int
    tile_px: int
    """The width of a tile of the panorama; 0 if the generator draws none."""
    viewer: str = field(default_factory=lambda: uuid4().hex)
    """Whose drafts these are: one open editor's, and nobody else's."""

    @classmethod
    def open(cls, image: Image) -> Editor:
        """Raises TransformError with a sentence when the picture cannot be edited."""
        recipe = projections.recipe_of(image)
        info = engine().generator_by_sha256(recipe.generator_sha256)
        return cls(
            source=projections.source_of(image),
            recipe=recipe,
            num_ws=info.num_ws,
            counts={basis: len(engine().components(info.name, basis)) for basis in BASES},
            c_dim=info.c_dim,
            tile_px=info.resolution // 2 if info.scrolls else 0,
        )

    def render(self, edits: tuple[Edit, ...], look: Look, *, exact: bool, draft: bool = False) -> bytes:
        """`exact`: every pixel as it was drawn. `draft`: maybe fewer pixels, for a picture that moves."""
        picture = engine().render(self._source(look), edits, look.noise_mode, look.move, draft, self.viewer)
        return encode_exact(picture) if exact else encode_live(picture)

    def tile(self, edits: tuple[Edit, ...], look: Look, number: int, *, exact: bool) -> bytes:
        """A tile of the panorama that begins with the picture; where it need not be exact, maybe of fewer pixels."""
        left = number * self.tile_px
        picture = engine().panorama(self._source(look), edits, left, self.tile_px, not exact, self.viewer)
        return encode_exact(picture) if exact else encode_live(picture)

    def export(self, edits: tuple[Edit, ...], look: Look) -> bytes:
        """A PNG that carries its recipe."""
        png = encode_png(engine().render(self._source(look), edits, look.noise_mode, look.move)).data
        return embed_recipe(png, self.recipe_with(edits, look).as_data())

    def recipe_with(self, edits: tuple[Edit, ...], look: Look) -> Recipe:
        source, recipe = self._source(look), self.recipe
        if isinstance(source, SeedSource):
            seed = SeedOfRecipe(source.seed, source.class_index)
            recipe = replace(recipe, source=seed, truncation_psi=source.truncation_psi)
        return replace(recipe, edits=edits, noise_mode=look.noise_mode, move=look.move)

    def check(self, edits: tuple[Edit, ...]) -> tuple[Edit, ...]:
        if any(edit.end > self.num_ws or edit.component >= self.counts[edit.basis] for edit in edits):
            raise InvalidParams("edits", "This generator has no such component or layer. Reload the page.")
        return edits

    def check_look(self, look: Look) -> Look:
        if look.class_index is not None and look.class_index >= self.c_dim:
            raise InvalidParams("class_index", "This generator has no such class. Reload the page.")
        return look

    def check_tiles(self, tiles: tuple[int, ...]) -> tuple[int, ...]:
        if not self.tile_px:
            raise InvalidParams("tiles", "This generator draws single pictures, and no panoramas.")
        for tile in tiles:
            Panorama.from_data({"left": tile * self.tile_px, "width": self.tile_px})
        return tiles

    def _source(self, look: Look) -> Source:
        return self.source if isinstance(self.source, FileSource) else self.source.seen(look)

    def describe(self) -> dict[str, Any]:
        """What the page needs to show its sliders: the `ready` message."""
        info = engine().generator_by_sha256(self.recipe.generator_sha256)
        seed = self.source if isinstance(self.source, SeedSource) else None
        width, height = info.picture_size
        panorama = {"tile_px": self.tile_px, "height_px": height, "max_px": MAX_PANORAMA_PX}
        return {
            "type": "ready",
            "generator": info.name,
            "label": info.label,
            "resolution": info.resolution,
            "width": width,
            "height": height,
            "num_ws": info.num_ws,
            **{basis: _directions(info.name, basis) for basis in BASES},
            "ranges": {name: list(layers) for name, layers in engine().layer_ranges(info.name).items()},
            "truncation_psi": seed.truncation_psi if seed else None,
            "classes": class_labels(info.c_dim, info.classes) if seed else [],
            "class_index": seed.class_index if seed else None,
            "moves": info.moves,
            "scrolls": info.scrolls,
            "has_noise": info.has_noise,
            "panorama": panorama if info.scrolls else None,
        }


def _directions(generator: str, basis: str) -> list[dict[str, Any]]:
    return [
        {"index": item.index, "name": item.name, "variance": round(item.variance, 6)}
        for item in engine().components(generator, basis)
    ]


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
    seq, look, kind = seq_of(data), editor.check_look(Look.from_data(data)), data.get("type")
    if kind == "series":
        return Wish(Kind.SERIES, seq, _series(editor, SeriesParams.from_data(data), look, seq))
    edits = editor.check(edits_from(data.get("edits")))
    exact = data.get("exact") is True
    if kind == "panorama":
        tiles = editor.check_tiles(tiles_from(data.get("tiles")))
        return Wish(Kind.PANORAMA, seq, _panorama(editor, edits, look, tiles, seq, exact=exact))
    if kind == "render":
        return Wish(Kind.FRAME, seq, _frame(editor, edits, look, seq, exact=exact))
    if kind == "export":
        return Wish(
            Kind.EXPORT,
            seq,
            lambda: iter([binary_frame(Kind.EXPORT, seq, editor.export(edits, look), exact=True)]),
        )
    raise InvalidParams("type", "A message must be of the type render, panorama, series or export.")


def _series(editor: Editor, params: SeriesParams, look: Look, seq: int) -> Callable[[], Iterator[bytes]]:
    frames = [editor.check(edits) for edits in params.frames()]

    def draw() -> Iterator[bytes]:
        for index, edits in enumerate(frames):
            data = editor.render(edits, look, exact=False, draft=True)
            yield binary_frame(Kind.SERIES, seq, data, index=index, total=len(frames))

    return draw


def _frame(
    editor: Editor, edits: tuple[Edit, ...], look: Look, seq: int, *, exact: bool
) -> Callable[[], Iterator[bytes]]:
    def draw() -> Iterator[bytes]:
        data = editor.render(edits, look, exact=exact, draft=not exact)
        yield binary_frame(Kind.FRAME, seq, data, exact=exact)

    return draw


def _panorama(
    editor: Editor, edits: tuple[Edit, ...], look: Look, tiles: tuple[int, ...], seq: int, *, exact: bool
) -> Callable[[], Iterator[bytes]]:
    def draw() -> Iterator[bytes]:
        for tile in tiles:
            data = editor.tile(edits, look, tile, exact=exact)
            yield binary_frame(Kind.PANORAMA, seq, data, index=tile, total=len(tiles), exact=exact)

    return draw


class PreviewLane:
    """The renders of one open editor, on the event loop of its socket."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._waiting: dict[Kind, Wish] = {}
        self._task: asyncio.Task[None] | None = None

    def offer(self, wish: Wish) -> None:
        """Draw this next, in place of what waits of the same kind."""
        if wish.kind in self._waiting:
            metrics.preview_dropped(wish.kind.name.lower())
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
            began = time.perf_counter()
            while (frame := await loop.run_in_executor(_pool, next, frames, None)) is not None:
                metrics.frame_drawn(wish.kind.name.lower(), time.perf_counter() - began)
                await self._send(frame)
                if wish.kind in self._waiting:
                    return  # a newer one of the same kind
                while self._waiting and min(self._waiting) < wish.kind:
                    await self._serve(self._waiting.pop(min(self._waiting)))
                began = time.perf_counter()
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
    _pool.submit(lambda: editor.render((), Look(), exact=False, draft=True))


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
