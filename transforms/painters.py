"""Threads that draw previews, in the web process or in a preview worker: what waits is drawn together where that is quicker.

Of each open editor one order waits at most: a newer one takes its place in line. When a thread is free, the order that
has waited longest decides which generator's turn it is. What waits at that moment and can share its pass joins in;
nobody waits for company. So generators take turns by the age of what waits, however many people move one's sliders.

If a pass fails, its pictures are drawn one by one: each order hears what is wrong with its own.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Self

import structlog

from transforms import metrics
from transforms.drawing import Drawing, Editor, drawn_together
from transforms.errors import PreviewsAway, Superseded
from transforms.preview_messages import PATIENCE_SECONDS, SLOW

log = structlog.get_logger(__name__)

THREADS = 2
"""While one picture is encoded, the next is drawn."""


@dataclass(eq=False)
class Order:
    """A picture that somebody waits for. Whoever does not wait any more cancels `answer`.

    `answer` gets the encoded picture; or EngineError or TransformError with a sentence, PreviewsAway when nobody drew it
    in time, Superseded when its editor has ordered a newer one.
    """

    viewer: str
    drawing: Drawing
    open: Callable[[], Editor]
    """Opens the editor. It may read files, so a drawing thread calls it."""
    editor: Editor | None = None
    """None until it is open in this process: until then the order is drawn alone."""
    ordered: float = field(default_factory=time.monotonic)
    answer: Future[bytes] = field(default_factory=Future)

    @classmethod
    def of(cls, editor: Editor, drawing: Drawing) -> Self:
        return cls(editor.viewer, drawing, lambda: editor, editor)

    @property
    def is_stale(self) -> bool:
        return time.monotonic() - self.ordered > PATIENCE_SECONDS

    @property
    def kin(self) -> Hashable | None:
        """What it has in common with others that can be drawn in the same pass; None: it is drawn alone."""
        return self.editor and self.editor.kin(self.drawing)

    def fulfil(self, work: Callable[[], bytes]) -> None:
        """Answer with what `work` gives or raises."""
        try:
            data = work()
        except Exception as error:
            self.answer.set_exception(error)
        else:
            self.answer.set_result(data)

    def refuse(self, error: Exception) -> None:
        """Answer an order that no thread has taken."""
        if self.answer.set_running_or_notify_cancel():
            self.answer.set_exception(error)


class Painters:
    """A few drawing threads, and what waits for them. All methods may be called from any thread, and wait for nothing."""

    def __init__(self, threads: int = THREADS) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="preview")
        self._waiting: OrderedDict[str, Order] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, order: Order) -> None:
        """Have it drawn as soon as a thread is free, in place of what waits of the same editor."""
        with self._lock:
            former = self._waiting.get(order.viewer)
            self._waiting[order.viewer] = order  # in the former one's place, so that nobody waits for ever
            if former is None:
                self._pool.submit(self._draw_next)
        if former is not None:
            former.refuse(Superseded())

    def waiting(self) -> set[str]:
        """The viewers of orders that no thread has taken yet."""
        with self._lock:
            return {order.viewer for order in self._waiting.values() if not order.answer.cancelled()}

    def close(self) -> None:
        """Refuse what waits, with PreviewsAway, and take no more. What is being drawn is finished."""
        with self._lock:
            left = list(self._waiting.values())
            self._waiting.clear()
            self._pool.shutdown(wait=False, cancel_futures=True)
        for order in left:
            order.refuse(PreviewsAway(SLOW))

    # --- In a drawing thread --------------------------------------------------------------------------------

    def _draw_next(self) -> None:
        """Asked for once for each order. If that has joined an earlier pass, there may be nothing left to do."""
        orders = [order for order in self._take() if order.answer.set_running_or_notify_cancel()]
        if len(orders) > 1 and _paint_together(orders):
            return
        for order in orders:
            order.fulfil(partial(_paint, order))

    def _take(self) -> list[Order]:
        """The order that has waited longest, and its kin that wait at this moment, as many as a pass holds."""
        with self._lock:
            self._drop_what_nobody_waits_for()
            first = next(iter(self._waiting.values()), None)
            if first is None:
                return []
            orders = [first, *self._kin_of(first)]
            for order in orders:
                del self._waiting[order.viewer]
        return orders

    def _drop_what_nobody_waits_for(self) -> None:
        for viewer, order in list(self._waiting.items()):
            if order.answer.cancelled() or order.is_stale:
                del self._waiting[viewer]
                order.refuse(PreviewsAway(SLOW))

    def _kin_of(self, first: Order) -> Iterator[Order]:
        kin, room = first.kin, first.editor.at_once - 1 if first.editor else 0
        for order in self._waiting.values():
            if room <= 0 or kin is None:
                return
            if order is not first and order.kin == kin:
                room -= 1
                yield order


def _paint_together(orders: list[Order]) -> bool:
    """Draw orders of one kin in one pass. Whether that went well: if not, none of them was answered."""
    wishes = [(order.editor or order.open(), order.drawing) for order in orders]
    try:
        pictures = drawn_together(wishes)
    except Exception as error:
        log.warning("preview_pass_failed", pictures=len(orders), error=repr(error))
        return False
    metrics.pass_drawn(len(orders))
    for order, (editor, drawing), picture in zip(orders, wishes, pictures, strict=True):
        order.fulfil(partial(editor.encoded, picture, drawing))
    return True


def _paint(order: Order) -> bytes:
    data = (order.editor or order.open()).draw(order.drawing)
    metrics.pass_drawn(1)
    return data
