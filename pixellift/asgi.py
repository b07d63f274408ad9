"""The door: HTTP goes to Django, sockets to the consumers, and the embedded worker starts here and nowhere else."""

from __future__ import annotations

import os
from importlib import import_module
from importlib.util import find_spec
from typing import Any
from urllib.parse import ParseResult

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "pixellift.settings")
pages = get_asgi_application()  # first: what follows needs the apps to be loaded

from channels.auth import AuthMiddlewareStack  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from channels.security.websocket import OriginValidator  # noqa: E402
from django.conf import settings  # noqa: E402


class OwnPagesOnly(OriginValidator):  # type: ignore[misc]  # channels ships no types
    """Opens a socket for the site's own pages only.

    Channels' validator lets everything in when ALLOWED_HOSTS is `*`, even the origin `null` of a sandboxed page.
    """

    def valid_origin(self, parsed_origin: ParseResult | None) -> bool:
        if parsed_origin is None or parsed_origin.hostname is None:
            return False
        return bool(self.validate_origin(parsed_origin))


def sockets() -> list[Any]:
    if find_spec("transforms.routing") is None:
        return []
    return list(import_module("transforms.routing").websocket_urlpatterns)


application = ProtocolTypeRouter(
    {
        "http": pages,
        "websocket": OwnPagesOnly(AuthMiddlewareStack(URLRouter(sockets())), settings.ALLOWED_HOSTS),
    }
)
if find_spec("transforms.runtime") is not None:
    import_module("transforms.runtime").start()
