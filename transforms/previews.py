"""The preview lane: a slider moved, show me. Disposable work, which never waits for a job and never queues.

Each open editor has one picture in flight. The newest wish of each kind waits behind it; what it replaces is
dropped. `PREVIEW_LANE` says where pictures are drawn: in threads of this process ("here"), or by preview workers
("workers": see `preview_desk` and `preview_worker`), which a message of the channel layer asks for each picture.
Pictures of several editors that wait at the same moment may be drawn in one pass, in both: see `painters`.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from typing import Any, Protocol

import structlog
from django.conf import settings

from transforms import metrics
from transforms.drawing import Drawing, Editor, Format, open_editor
from transforms.engine import EngineError
from transforms.errors import InvalidParams, PreviewsAway, Superseded, TransformError
from transforms.events import background_loop
from transforms.painters import Order, Painters
from transforms.params import Look, SeriesParams, edits_from, tiles_from, whole
from transforms.preview_desk import RETRY_SECONDS, desk

log = structlog.get_logger(__name__)

MAX_SEQ = 2**32 - 1
HEADER = struct.Struct(">BIBBB")
EXACT = 1
DRAWING_TAKES_SECONDS = 10.0
WENT_WRONG = (
    "Something went wrong while the preview was drawn. Move the slider once more, or reload the page."
)

Send = Callable[["bytes | dict[str, Any]"], Awaitable[None]]
Draw = Callable[[Drawing], Awaitable[bytes]]


class Artist(Protocol):
    """
    Draws one picture: here or elsewhere. Raises PreviewsAway, EngineError or TransformError with a sentence, Superseded when
    the editor has asked for a newer one.
    """

    async def draw(self, editor: Editor, drawing: Drawing) -> bytes: ...


class Here:
    """Draws in threads of this process, at normal priority, while jobs run at a lower one."""

    def __init__(self) -> None:
        self._painters = Painters()

    async def draw(self, editor: Editor, drawing: Drawing) -> bytes:
        order = Order.of(editor, drawing)
        self._painters.put(order)
        return await asyncio.wrap_future(order.answer)


class Elsewhere:
    """Asks a preview worker."""

    async def draw(self, editor: Editor, drawing: Drawing) -> bytes:
        return await desk().draw(editor, drawing)


@cache
def artist() -> Artist:
    return Here() if settings.PREVIEW_LANE == "here" else Elsewhere()


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


def draw_now(editor: Editor, drawing: Drawing) -> bytes:
    """Draw in the lane and wait for it: for the API. Raises TimeoutError if the lane is too busy."""
    drawing = editor.check_drawing(drawing)
    waiting = asyncio.run_coroutine_threadsafe(artist().draw(editor, drawing), background_loop())
    try:
        return waiting.result(DRAWING_TAKES_SECONDS)
    finally:
        waiting.cancel()


def seq_of(data: dict[str, Any]) -> int:
    return whole(data, "seq", 0, MAX_SEQ)


@dataclass(frozen=True)
class Wish:
    """One message of an editor, checked: the pictures that answer it, each with its index in the frame's header."""

    kind: Kind
    seq: int
    drawings: tuple[tuple[int, Drawing], ...]

    def frame(self, index: int, drawing: Drawing, data: bytes) -> bytes:
        exact = drawing.format in {Format.EXACT, Format.PNG}
        return binary_frame(self.kind, self.seq, data, index=index, total=len(self.drawings), exact=exact)


def wish_from(editor: Editor, data: dict[str, Any]) -> Wish:
    """Check a message. InvalidParams with a sentence if it cannot be drawn."""
    seq, look, kind = seq_of(data), editor.check_look(Look.from_data(data)), data.get("type")
    if kind == "series":
        frames = [editor.check(edits) for edits in SeriesParams.from_data(data).frames()]
        return Wish(Kind.SERIES, seq, tuple((i, Drawing(edits, look)) for i, edits in enumerate(frames)))
    edits = editor.check(edits_from(data.get("edits")))
    format = Format.EXACT if data.get("exact") is True else Format.DRAFT
    if kind == "panorama":
        tiles = editor.check_tiles(tiles_from(data.get("tiles")))
        return Wish(Kind.PANORAMA, seq, tuple((tile, Drawing(edits, look, format, tile)) for tile in tiles))
    if kind == "render":
        return Wish(Kind.FRAME, seq, ((0, Drawing(edits, look, format)),))
    if kind == "export":
        return Wish(Kind.EXPORT, seq, ((0, Drawing(edits, look, Format.PNG)),))
    raise InvalidParams("type", "A message must be of the type render, panorama, series or export.")


class PreviewLane:
    """The pictures of one open editor, on the event loop of its socket."""

    def __init__(self, send: Send, draw: Draw) -> None:
        self._send = send
        self._draw = draw
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
        try:
            for index, drawing in wish.drawings:
                began = time.perf_counter()
                data = await self._draw(drawing)
                metrics.frame_drawn(wish.kind.name.lower(), time.perf_counter() - began)
                await self._send(wish.frame(index, drawing, data))
                if wish.kind in self._waiting:
                    return  # a newer one of the same kind
                while self._waiting and min(self._waiting) < wish.kind:
                    await self._serve(self._waiting.pop(min(self._waiting)))
        except Superseded:
            return  # another wish of this editor came first to its place
        except PreviewsAway as error:
            await self._refuse(wish, str(error), retry_seconds=RETRY_SECONDS)
        except (TransformError, EngineError) as error:
            await self._refuse(wish, str(error))
        except asyncio.CancelledError:
            raise
        except Exception:
            log.exception("preview_failed", kind=wish.kind.name)
            await self._refuse(wish, WENT_WRONG)

    async def _refuse(self, wish: Wish, text: str, **more: Any) -> None:
        await self._send({"type": "error", "seq": wish.seq, "text": text, **more})


async def warm(editor: Editor) -> None:
    """Open the picture's place: the first move of a slider finds everything loaded. Never raises."""
    try:
        await artist().draw(editor, Drawing())
    except (Superseded, TransformError, EngineError):
        pass  # the first wish of the page meets the same, and says so
    except Exception:
        log.exception("warming_failed")


__all__ = [
    "Drawing",
    "Editor",
    "Format",
    "Kind",
    "Look",
    "PreviewLane",
    "Wish",
    "artist",
    "binary_frame",
    "draw_now",
    "open_editor",
    "warm",
    "wish_from",
]
