"""The web server: daphne, taught not to hold uploads in memory, to send large pictures, and to say what went wrong."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from typing import Any

import daphne.server
from daphne.endpoints import build_endpoint_description_strings
from daphne.http_protocol import HTTPFactory, WebRequest
from daphne.ws_protocol import WebSocketFactory, WebSocketProtocol
from twisted.internet import defer

PROXY_HEADERS = {
    "proxy_forwarded_address_header": "X-Forwarded-For",
    "proxy_forwarded_port_header": "X-Forwarded-Port",
    "proxy_forwarded_proto_header": "X-Forwarded-Proto",
}
SERVICE_RESTART = 1012
"""With this code sockets are closed when the server stops: pages connect again at once."""
FINISH_SECONDS = 10.0
MAX_HEARD_BYTES = 64 * 1024
TOO_LARGE = "This is larger than the site takes at once. Send a smaller file."


class BoundedRequest(WebRequest):  # type: ignore[misc]  # daphne ships no types
    """A request whose body is never parsed here and never grows beyond `max_body_bytes`.

    Twisted would parse a POST once more, in memory and on the event loop: a 100 MB upload costs 1.25 GB and stops
    every socket for seconds. Django parses it anyway, in slices. What is too long is read, forgotten and answered
    with 413, so that a browser that is still sending sees the answer.
    """

    max_body_bytes = 64 * 1024 * 1024
    error_template = "<!doctype html><html lang=en><title>%(title)s</title><p>%(body)s</p></html>"

    def __init__(self, channel: Any, *args: Any) -> None:
        super().__init__(channel, *args, parsePOSTFormSubmission=False)
        self._body_bytes = 0

    @property
    def is_too_large(self) -> bool:
        return self._body_bytes > self.max_body_bytes

    def gotLength(self, length: int | None) -> None:
        self._body_bytes = length if length is not None and length > self.max_body_bytes else 0
        super().gotLength(0 if self.is_too_large else length)

    def handleContentChunk(self, data: bytes) -> None:
        if self.is_too_large:
            return
        self._body_bytes += len(data)
        if self.is_too_large:
            self.content.seek(0)
            self.content.truncate()
        else:
            super().handleContentChunk(data)

    def process(self) -> Any:
        if self.is_too_large:
            self.setHeader(b"Connection", b"close")
            return self.basic_error(413, b"Content Too Large", TOO_LARGE)
        return super().process()


class BoundedHTTPFactory(HTTPFactory):  # type: ignore[misc]  # daphne ships no types
    def buildProtocol(self, addr: Any) -> Any:
        protocol = super().buildProtocol(addr)
        protocol.requestFactory = BoundedRequest
        return protocol


class PictureSocket(WebSocketProtocol):  # type: ignore[misc]  # daphne ships no types
    """A socket that hears short messages (`MAX_HEARD_BYTES`) and may send pictures of any size.

    Autobahn has one limit for both directions, and an exact picture of 1024 pixels is larger than daphne's. What is
    said to a page that has just left is dropped: it is no error, and the application is about to hear of it.
    """

    maxMessagePayloadSize: int

    def sendMessage(self, *args: Any, **options: Any) -> Any:
        if self.state != self.STATE_OPEN:
            return None
        limit, self.maxMessagePayloadSize = self.maxMessagePayloadSize, 0
        try:
            return super().sendMessage(*args, **options)
        finally:
            self.maxMessagePayloadSize = limit

    def serverClose(self, code: int | None = None) -> None:
        """With any code: autobahn's own way out refuses those that servers may send, such as 1009 and 1012."""
        if self.state == self.STATE_OPEN:
            self.sendCloseFrame(code=code or 1000)


class PictureSocketFactory(WebSocketFactory):  # type: ignore[misc]  # daphne ships no types
    protocol = PictureSocket


class Server(daphne.server.Server):  # type: ignore[misc]  # daphne ships no types
    """Daphne's server that reports where it listens, or why it cannot."""

    def __init__(self, application: Any, *, on_listening: Callable[[str, int], None], **options: Any) -> None:
        super().__init__(application, server_name="", **options)
        self.failure: str | None = None
        self._on_listening = on_listening
        self._ports: list[Any] = []

    def listen_success(self, port: Any) -> None:
        super().listen_success(port)
        self._ports.append(port)
        where = port.getHost()
        self._on_listening(where.host, where.port)

    def listen_error(self, failure: Any) -> None:
        self.failure = failure.getErrorMessage()
        self.stop()

    def kill_all_applications(self) -> Any:
        """Called before the reactor ends: stop in order, and cancel only what is left then."""
        return defer.Deferred.fromFuture(asyncio.ensure_future(self._wind_down()))

    async def _wind_down(self) -> None:
        """Hear nobody new, send pages to whoever takes over, finish the answers that were begun."""
        for port in self._ports:
            port.stopListening()
        for protocol in list(self.connections):
            if isinstance(protocol, WebSocketProtocol):
                protocol.serverClose(SERVICE_RESTART)
        until = time.monotonic() + FINISH_SECONDS
        while self._running() and time.monotonic() < until:
            await asyncio.sleep(0.05)
        left = self._running()
        for application in left:
            application.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    def _running(self) -> list[asyncio.Future[Any]]:
        found = [details.get("application_instance") for details in self.connections.values()]
        return [application for application in found if application is not None and not application.done()]


def serve(
    application: Any,
    *,
    host: str,
    port: int,
    max_body_bytes: int,
    behind_proxy: bool,
    on_listening: Callable[[str, int], None],
    listening_socket: int | None = None,
) -> str | None:
    """Serve until SIGINT or SIGTERM. Gives the reason when the server could not listen, None after an orderly stop.

    `listening_socket`: a socket that listens already and was handed to this process, by its number. Several processes
    may share one: whichever is free takes the next connection, and while one restarts none is refused.
    """
    BoundedRequest.max_body_bytes = max_body_bytes
    # Those that `Server.run` makes; there are no parameters for them.
    daphne.server.HTTPFactory = BoundedHTTPFactory
    daphne.server.WebSocketFactory = PictureSocketFactory
    # A shell that starts this in the background hands SIGINT over as ignored, and Twisted would leave it so.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    server = Server(
        application,
        endpoints=(
            build_endpoint_description_strings(host=host, port=port)
            if listening_socket is None
            else build_endpoint_description_strings(file_descriptor=listening_socket)
        ),
        on_listening=on_listening,
        verbosity=0,
        application_close_timeout=5,
        websocket_max_message_size=MAX_HEARD_BYTES,
        **(PROXY_HEADERS if behind_proxy else {}),
    )
    server.run()
    return server.failure
