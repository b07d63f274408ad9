"""Who may open a socket at all."""

from __future__ import annotations

from typing import Any

import pytest
from channels.testing import WebsocketCommunicator
from pytest_django import Settings

from pixellift.origins import OwnPagesOnly


async def door(scope: dict[str, Any], receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "websocket.accept"})


async def opens(origin: str | None, host: str = "localhost:8000") -> bool:
    headers = [(b"host", host.encode())] + ([(b"origin", origin.encode())] if origin is not None else [])
    socket = WebsocketCommunicator(OwnPagesOnly(door, ["localhost"]), "/ws/jobs/", headers=headers)
    connected, _ = await socket.connect()
    return bool(connected)


async def test_the_sites_own_pages_open_sockets() -> None:
    assert await opens("http://localhost:8000")


@pytest.mark.parametrize(
    "origin",
    [
        None,
        "",
        "null",
        "http://evil.example",
        "http://localhost:9000",
        "http://localhost:8000.evil.example",
        "file://",
    ],
)
async def test_nobody_else_does(origin: str | None) -> None:
    assert not await opens(origin)


async def test_an_allowed_star_lets_no_null_origin_in(settings: Settings) -> None:
    headers = [(b"host", b"localhost"), (b"origin", b"null")]
    socket = WebsocketCommunicator(OwnPagesOnly(door, ["*"]), "/ws/jobs/", headers=headers)
    connected, _ = await socket.connect()
    assert not connected


async def test_an_origin_that_the_operator_trusts_may(settings: Settings) -> None:
    settings.CSRF_TRUSTED_ORIGINS = ["https://localhost"]
    assert await opens("https://localhost", host="inner:8000") is True
