"""Who may open a socket at all, and how one ends whose services are away."""

from __future__ import annotations

from typing import Any

import pytest
import redis
from channels.testing import WebsocketCommunicator
from django.db import OperationalError
from pytest_django import Settings

from pixellift.origins import OwnPagesOnly
from pixellift.outages import ClosedInOutages


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


@pytest.mark.parametrize("error", [redis.ConnectionError("refused"), OperationalError("gone")])
@pytest.mark.parametrize("accepts", [True, False])
async def test_a_page_is_told_to_come_again_while_a_service_is_away(error: Exception, accepts: bool) -> None:
    async def fails(scope: dict[str, Any], receive: Any, send: Any) -> None:
        await receive()
        if accepts:
            await send({"type": "websocket.accept"})
        raise error

    socket = WebsocketCommunicator(ClosedInOutages(fails), "/ws/jobs/")
    assert await socket.connect() == (True, None)
    assert await socket.receive_output() == {"type": "websocket.close", "code": 1013}


async def test_our_own_mistakes_are_told_as_such() -> None:
    async def fails(scope: dict[str, Any], receive: Any, send: Any) -> None:
        raise KeyError("a mistake")

    socket = WebsocketCommunicator(ClosedInOutages(fails), "/ws/jobs/")
    with pytest.raises(KeyError):
        await socket.connect()
