"""The door: HTTP goes to Django, sockets to the consumers, and the embedded worker starts here and nowhere else."""

from __future__ import annotations

import os
from typing import Any
from urllib.parse import urlsplit

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "pixellift.settings")
pages = get_asgi_application()  # first: what follows needs the apps to be loaded

from channels.auth import AuthMiddlewareStack  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from channels.security.websocket import OriginValidator, WebsocketDenier  # noqa: E402
from django.conf import settings  # noqa: E402

from transforms import routing, runtime  # noqa: E402


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


application = ProtocolTypeRouter(
    {
        "http": pages,
        "websocket": OwnPagesOnly(
            AuthMiddlewareStack(URLRouter(routing.websocket_urlpatterns)), settings.ALLOWED_HOSTS
        ),
    }
)
runtime.start()
