"""A WebSocket client of one page (RFC 6455): enough to measure with, and nothing between us and the server."""

from __future__ import annotations

import base64
import json
import os
import socket
import struct
from types import TracebackType
from typing import Any, Self

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA


class Closed(Exception):
    """The server closed the socket. `code` says why."""

    def __init__(self, code: int) -> None:
        super().__init__(f"The server closed the socket with code {code}.")
        self.code = code


class WebSocket:
    """`with WebSocket("127.0.0.1", 8000, "/ws/jobs/", cookie) as jobs: jobs.receive()`."""

    def __init__(self, host: str, port: int, path: str, cookie: str, timeout_seconds: float = 60) -> None:
        self._socket = socket.create_connection((host, port), timeout_seconds)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._stream = self._socket.makefile("rb")
        self._shake_hands(f"{host}:{port}", path, cookie)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()
        self._socket.close()

    def _shake_hands(self, where: str, path: str, cookie: str) -> None:
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [
            f"GET {path} HTTP/1.1",
            f"Host: {where}",
            f"Origin: http://{where}",
            f"Cookie: {cookie}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key}",
            "Sec-WebSocket-Version: 13",
        ]
        self._socket.sendall("\r\n".join([*lines, "", ""]).encode())
        status = self._stream.readline().decode()
        while self._stream.readline().strip():
            pass
        if " 101 " not in status:
            raise ConnectionError(f"The socket {path} was refused: {status.strip()}")

    def send(self, message: dict[str, Any]) -> None:
        self._send(TEXT, json.dumps(message).encode())

    def receive(self) -> dict[str, Any] | bytes:
        """The next message: JSON as an object, or bytes. Raises Closed, or TimeoutError."""
        while True:
            kind, data = self._frame()
            if kind == TEXT:
                message: dict[str, Any] = json.loads(data)
                return message
            if kind == BINARY:
                return data
            if kind == PING:
                self._send(PONG, data)
            if kind == CLOSE:
                raise Closed(struct.unpack(">H", data[:2])[0] if len(data) >= 2 else 1005)

    def _send(self, kind: int, data: bytes) -> None:
        size = len(data)
        if size < 126:
            length = bytes([0x80 | size])
        elif size < 2**16:
            length = struct.pack(">BH", 0x80 | 126, size)
        else:
            length = struct.pack(">BQ", 0x80 | 127, size)
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(data))
        self._socket.sendall(bytes([0x80 | kind]) + length + mask + masked)

    def _frame(self) -> tuple[int, bytes]:
        """Servers send unmasked, and daphne never in fragments."""
        first, second = self._read(2)
        size = second & 0x7F
        if size == 126:
            (size,) = struct.unpack(">H", self._read(2))
        elif size == 127:
            (size,) = struct.unpack(">Q", self._read(8))
        return first & 0x0F, self._read(size)

    def _read(self, count: int) -> bytes:
        data = self._stream.read(count)
        if len(data) < count:
            raise Closed(1006)
        return data
