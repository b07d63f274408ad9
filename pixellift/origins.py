"""Who may open a socket at all: the site's own pages."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from channels.security.websocket import OriginValidator, WebsocketDenier
from django.conf import settings


class OwnPagesOnly(OriginValidator):  # type: ignore[misc]  # channels ships no types
    """Opens a socket for the site's own pages only, as CSRF protection does for forms.

    Channels' validator knows no ports, so another program on the same host passes it; and when ALLOWED_HOSTS is `*`
    everything does, even the origin `null` of a sandboxed page.
    """

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> Any:
        headers = {name: value.decode("latin-1") for name, value in scope.get("headers", [])}
        origin = headers.get(b"origin", "")
        own = urlsplit(origin).netloc
        trusted = own and own == headers.get(b"host", own)
        if trusted or origin in settings.CSRF_TRUSTED_ORIGINS:
            return await super().__call__(scope, receive, send)
        return await WebsocketDenier()(scope, receive, send)
