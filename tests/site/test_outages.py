"""A service goes and comes back: a sentence meanwhile, never a hang, and afterwards all is as before by itself."""

from __future__ import annotations

import asyncio
import http.client
import json
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from redis import ConnectionError as ConnectionFailed

from bench.member import Member
from bench.websocket import Closed, WebSocket
from tests.chaos.services import Postgres, Redis, wait_until
from tests.server import SiteServer
from transforms.pulse import Pulse
from transforms.redis_layer import RedisChannelLayer

pytestmark = [pytest.mark.redis, pytest.mark.timeout(300)]
ANSWER_SECONDS = 20
BACK_SECONDS = 30


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with tempfile.TemporaryDirectory(prefix="pixellift-") as folder:
        Path(folder).chmod(0o755)  # the user postgres must reach it
        cluster = Postgres(Path(folder, "postgres"))
        cluster.start()
        yield cluster
        cluster.stop("immediate")


@pytest.fixture(scope="module")
def redis() -> Iterator[Redis]:
    server = Redis()
    server.start()
    yield server
    server.thaw()
    server.stop()


@pytest.fixture(scope="module")
def site(postgres: Postgres, redis: Redis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SiteServer]:
    settings = {"DATABASE_URL": postgres.create("pixellift"), "REDIS_URL": redis.url()}
    with SiteServer(tmp_path_factory.mktemp("site"), **settings) as running:
        yield running


@pytest.fixture(scope="module")
def member(site: SiteServer) -> Member:
    return Member(site.url)


def ask(member: Member, path: str) -> tuple[int, dict[str, str], str]:
    """On a connection of its own, with an end to its patience."""
    connection = http.client.HTTPConnection(member.host, member.port, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", path, headers={"Cookie": member.cookie})
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read().decode()
    finally:
        connection.close()


def closing_code(socket: WebSocket) -> int:
    try:
        while True:
            socket.receive()
    except Closed as closed:
        return closed.code


def type_of_next(socket: WebSocket) -> str:
    message = socket.receive()
    assert isinstance(message, dict)
    return str(message["type"])


def refuses_in_words(member: Member) -> None:
    status, headers, page = ask(member, "/gallery/")
    assert (status, headers["Retry-After"]) == (503, "5")
    assert "Nothing of yours is lost" in page
    status, headers, text = ask(member, "/api/v1/images/")
    assert (status, headers["Retry-After"]) == (503, "5")
    assert "Nothing of yours is lost" in json.loads(text)["detail"]
    assert ask(member, "/healthz")[0] == 200
    assert ask(member, "/readyz?of=web")[0] == 503


def is_back(member: Member) -> None:
    for path in ("/gallery/", "/api/v1/images/", "/readyz?of=web"):
        wait_until(partial(answers, member, path), BACK_SECONDS, f"{path} is back")
    wait_until(partial(greets, member), BACK_SECONDS, "the socket of the jobs is back")


def answers(member: Member, path: str) -> bool:
    return ask(member, path)[0] == 200


def greets(member: Member) -> bool:
    """A page whose socket closes opens it again, and so does this."""
    try:
        with member.socket("/ws/jobs/") as socket:
            return type_of_next(socket) == "snapshot"
    except Closed:
        return False


def test_postgres_is_away_and_comes_back(site: SiteServer, member: Member, postgres: Postgres) -> None:
    is_back(member)
    postgres.stop()
    try:
        refuses_in_words(member)
    finally:
        postgres.start()
    is_back(member)


@pytest.mark.parametrize("how", ["stopped", "frozen"])
def test_redis_is_away_and_comes_back(member: Member, redis: Redis, how: str) -> None:
    is_back(member)
    if how == "frozen":
        redis.freeze()
    else:
        redis.stop()
    try:
        status, headers, text = ask(member, "/api/v1/images/")  # it counts how much a member asks
        assert (status, headers["Retry-After"]) == (503, "5")
        assert json.loads(text)["detail"].endswith(".")
        assert ask(member, "/healthz")[0] == 200
    finally:
        if how == "frozen":
            redis.thaw()
        else:
            redis.start()
    is_back(member)


def test_a_page_that_comes_while_redis_is_away_is_told_to_come_again(member: Member, redis: Redis) -> None:
    is_back(member)
    redis.stop()
    try:
        for _ in range(3):
            with member.socket("/ws/jobs/") as socket:
                assert closing_code(socket) == 1013
    finally:
        redis.start()
    is_back(member)


async def test_the_first_page_after_a_restart_of_redis_is_welcome(redis: Redis) -> None:
    """Its subscriptions are the first that notice that the connection broke."""
    layer = RedisChannelLayer(hosts=[redis.url()])
    kept = await layer.new_channel()
    await layer.group_add("others", kept)
    for number in range(5):
        with redis.client() as client:
            client.client_kill_filter(_type="pubsub")
        channel = await layer.new_channel()
        await layer.group_add(f"watchers-{number}", channel)
        await layer.group_send(f"watchers-{number}", {"type": "job.changed"})
        assert (await asyncio.wait_for(layer.receive(channel), BACK_SECONDS))["type"] == "job.changed"
        await asyncio.sleep(0.05 * number)
    await layer.group_send("others", {"type": "job.changed"})
    assert (await asyncio.wait_for(layer.receive(kept), BACK_SECONDS))["type"] == "job.changed"
    await layer.flush()


async def test_pages_that_come_while_redis_is_away_leave_nothing_behind(redis: Redis) -> None:
    layer = RedisChannelLayer(hosts=[redis.url()])
    channel = await layer.new_channel()
    await asyncio.to_thread(redis.stop)
    await asyncio.sleep(
        0.2
    )  # the layer notices: who comes before that is known to it, and listens again with the others
    try:
        for _ in range(3):
            with pytest.raises(ConnectionFailed):
                await layer.new_channel()
            with pytest.raises(ConnectionFailed):
                await layer.group_add("watchers", channel)
        assert set(layer.channels) == {channel}
        assert not any(layer.groups.values())
    finally:
        await asyncio.to_thread(redis.start)
        await layer.flush()


def test_a_watching_page_gets_a_new_snapshot_when_redis_is_back(member: Member, redis: Redis) -> None:
    is_back(member)
    with member.socket("/ws/jobs/") as socket:
        assert type_of_next(socket) == "snapshot"
        redis.stop()
        time.sleep(1)
        redis.start()
        assert type_of_next(socket) == "snapshot"


async def test_the_pulse_is_felt_again_and_groups_hear_again(redis: Redis) -> None:
    layer = RedisChannelLayer(hosts=[redis.url()])
    channel = await layer.new_channel()
    await layer.group_add("watchers", channel)
    looked = asyncio.Event()
    pulse = Pulse(layer)

    async def look_again() -> None:
        looked.set()

    pulse.join(look_again)
    await asyncio.sleep(2)
    assert not looked.is_set()
    await asyncio.to_thread(redis.stop)
    await asyncio.to_thread(redis.start)
    await asyncio.wait_for(looked.wait(), BACK_SECONDS)
    await layer.group_send("watchers", {"type": "job.changed"})
    assert (await asyncio.wait_for(layer.receive(channel), BACK_SECONDS))["type"] == "job.changed"
    pulse.leave(look_again)
    await layer.flush()


def test_a_server_that_is_asked_to_go_closes_its_sockets_and_finishes_what_it_answers(
    site: SiteServer, member: Member
) -> None:
    """Last in this file: it stops the server, and starts it again."""
    is_back(member)
    seen: list[int] = []

    def slow_request() -> None:
        seen.append(ask(member, "/gallery/")[0])

    with member.socket("/ws/jobs/") as socket:
        socket.receive()
        threads = [threading.Thread(target=slow_request) for _ in range(4)]
        for thread in threads:
            thread.start()
        time.sleep(0.1)
        stopping = threading.Thread(target=site.stop, args=(signal.SIGTERM,))
        stopping.start()
        assert closing_code(socket) == 1012
        for thread in threads:
            thread.join(ANSWER_SECONDS)
        stopping.join(ANSWER_SECONDS)
    assert seen == [200] * 4
    assert site.lines[-1] == "PixelLift has stopped.\n"
    site.start()
    is_back(member)
