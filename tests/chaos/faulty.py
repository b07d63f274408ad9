"""A proxy before an object store, which fails when it is told to."""

from __future__ import annotations

import http.client
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

WELL, ERRORS, SLOW, FULL, CUT, SILENT = "well", "errors", "slow", "full", "cut", "silent"
SLOW_SECONDS = 1.5
HOP = {"connection", "transfer-encoding", "content-length", "host", "expect"}
REFUSAL = '<?xml version="1.0"?><Error><Code>{code}</Code><Message>{text}</Message></Error>'


class FaultyStore:
    """`with FaultyStore(port) as store: store.mode = FULL`. ERRORS: every request is answered 500. SLOW: each takes
    `SLOW_SECONDS` longer. FULL: nothing can be written any more. CUT: the connection ends in the middle of a file.
    SILENT: requests are read and never answered."""

    def __init__(self, port: int) -> None:
        self.mode = WELL
        self._behind = port
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        store = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _pass(self) -> None:
                size = int(self.headers.get("Content-Length") or 0)
                if store.mode == CUT and self.command == "PUT":
                    self.rfile.read(size // 2)
                    self.close_connection = True
                    return
                body = self.rfile.read(size)
                if store.mode == SILENT:
                    while store.mode == SILENT:
                        time.sleep(0.1)
                    self.close_connection = True
                    return
                if store.mode == SLOW:
                    time.sleep(SLOW_SECONDS)
                if store.mode == ERRORS:
                    self._refuse(500, "InternalError", "We encountered an internal error.")
                elif store.mode == FULL and self.command in {"PUT", "POST"}:
                    self._refuse(
                        507, "XMinioStorageFull", "Storage backend has reached its minimum free space."
                    )
                else:
                    self._forward(body)

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _pass  # noqa: N815

            def _refuse(self, status: int, code: str, text: str) -> None:
                self._answer(
                    status, {"Content-Type": "application/xml"}, REFUSAL.format(code=code, text=text).encode()
                )

            def _forward(self, body: bytes) -> None:
                headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP}
                behind = http.client.HTTPConnection("127.0.0.1", store._behind, timeout=30)
                try:
                    behind.request(self.command, self.path, body or None, headers)
                    answer = behind.getresponse()
                    data = answer.read()
                    kept = {name: value for name, value in answer.getheaders() if name.lower() not in HOP}
                    if self.command == "HEAD":
                        kept["Content-Length"] = answer.getheader("Content-Length", "0")
                    self._answer(answer.status, kept, data)
                finally:
                    behind.close()

            def _answer(self, status: int, headers: dict[str, str], data: bytes) -> None:
                self.send_response(status)
                for name, value in {"Content-Length": str(len(data)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *args: Any) -> None:
                """Tests say what went wrong themselves."""

        return Handler
