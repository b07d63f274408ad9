"""What a web process and a preview worker say to each other over the channel layer. Both sides import this, and no other.

To the workers' group: `preview.call`, who is there? To one worker: `preview.draw` and `preview.forget`, with a ticket.
To the desks' group: `preview.here`, each second, with the tickets that the worker holds. To the desk that asked:
`preview.taken`, then one of `preview.drawn`, `preview.refused`, `preview.dropped` or `preview.moved`.

Channel names and tickets are random, and only processes that reach the channel layer can speak there: the web process
has asked who may see the picture, and a picture goes only to the desk, and there to the ticket, that asked for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Message = dict[str, Any]

WORKERS = "preview-workers"
DESKS = "preview-desks"
WORKER_CHANNEL = "preview-worker."
DESK_CHANNEL = "preview-desk."

BEAT_SECONDS = 1.0
SILENT_SECONDS = 6.0
"""A worker that was not heard for so long is thought dead."""
PATIENCE_SECONDS = 18.0
"""How long anybody waits for one picture. The page gives up after 20."""
SLOW = "The studio has a lot to draw at the moment. Your sliders are safe: the picture follows by itself."


def call(reply: str) -> Message:
    return {"type": "preview.call", "reply": reply}


def here(worker: str, holding: Iterable[str], *, leaving: bool = False) -> Message:
    return {"type": "preview.here", "worker": worker, "holding": list(holding), "leaving": leaving}


def draw(ticket: str, reply: str, editor: Message, drawing: Message) -> Message:
    return {"type": "preview.draw", "ticket": ticket, "reply": reply, "editor": editor, "drawing": drawing}


def forget(ticket: str) -> Message:
    return {"type": "preview.forget", "ticket": ticket}


def taken(ticket: str, worker: str) -> Message:
    return {"type": "preview.taken", "ticket": ticket, "worker": worker}


def drawn(ticket: str, data: bytes) -> Message:
    return {"type": "preview.drawn", "ticket": ticket, "data": data}


def refused(ticket: str, text: str) -> Message:
    return {"type": "preview.refused", "ticket": ticket, "text": text}


def dropped(ticket: str) -> Message:
    """Something newer took its place."""
    return {"type": "preview.dropped", "ticket": ticket}


def moved(ticket: str) -> Message:
    """The worker stops, or has too much to do: ask another one."""
    return {"type": "preview.moved", "ticket": ticket}
