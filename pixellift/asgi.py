"""The door: HTTP goes to Django, sockets to the consumers, and the embedded worker starts here and nowhere else."""

from __future__ import annotations

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "pixellift.settings")
pages = get_asgi_application()  # first: what follows needs the apps to be loaded

from channels.auth import AuthMiddlewareStack  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.conf import settings  # noqa: E402

from pixellift.origins import OwnPagesOnly  # noqa: E402
from pixellift.outages import ClosedInOutages  # noqa: E402
from transforms import routing, runtime  # noqa: E402

application = ProtocolTypeRouter(
    {
        "http": pages,
        "websocket": OwnPagesOnly(
            ClosedInOutages(AuthMiddlewareStack(URLRouter(routing.websocket_urlpatterns))),
            settings.ALLOWED_HOSTS,
        ),
    }
)
runtime.start()
