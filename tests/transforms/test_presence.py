"""Workers' signs of life in the cache: each is counted once, the dead are forgotten."""

from __future__ import annotations

import threading

import pytest
from django.core.cache import cache

from tests.transforms.conftest import GENERATOR
from transforms import presence
from transforms.engine import SeedSource, engine
from transforms.presence import JOBS, PREVIEWS, SignOfLife


def names(kind: str | None = None) -> list[str]:
    return [worker.name for worker in presence.alive(kind)]


def test_nobody_is_there_at_first() -> None:
    assert presence.alive() == []


def test_a_worker_is_counted_once_however_often_it_beats() -> None:
    sign = SignOfLife(JOBS, "one", 7)
    for _ in range(3):
        sign.beat()
    assert names() == ["one/7"]


def test_each_says_what_it_is_and_what_it_keeps_loaded() -> None:
    SignOfLife(JOBS, "one", 7).beat(["portraits", "faces"])
    SignOfLife(PREVIEWS, "two", 8).beat()
    jobs, previews = presence.alive()
    assert (jobs.kind, jobs.host, jobs.generators) == (JOBS, "one", ("faces", "portraits"))
    assert (previews.kind, previews.host, previews.generators) == (PREVIEWS, "two", ())
    assert names(PREVIEWS) == ["two/8"]


def test_who_leaves_is_counted_no_more_even_after_a_late_beat() -> None:
    stays, leaves = SignOfLife(JOBS, "one", 7), SignOfLife(JOBS, "one", 8)
    stays.beat()
    leaves.beat()
    leaves.leave()
    leaves.beat()
    assert names() == ["one/7"]


def test_who_never_beat_may_leave() -> None:
    SignOfLife(JOBS, "one", 7).leave()
    assert presence.alive() == []


def test_the_dead_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "ALIVE_SECONDS", 0)
    SignOfLife(JOBS, "one", 7).beat()
    assert presence.alive() == []


def test_a_cache_that_lost_everything_fills_again() -> None:
    sign = SignOfLife(JOBS, "one", 7)
    sign.beat()
    cache.clear()
    sign.beat()
    assert names() == ["one/7"]


def test_who_slept_while_another_took_the_place_takes_a_new_one() -> None:
    sleeper, other = SignOfLife(JOBS, "one", 7), SignOfLife(JOBS, "one", 8)
    sleeper.beat()
    cache.clear()
    other.beat()
    sleeper.beat()
    assert names() == ["one/7", "one/8"]
    sleeper.leave()
    assert names() == ["one/8"]


def test_many_that_start_at_once_are_all_counted() -> None:
    signs = [SignOfLife(JOBS, "one", number) for number in range(20)]
    gate = threading.Barrier(len(signs))

    def start(sign: SignOfLife) -> None:
        gate.wait()
        sign.beat()

    threads = [threading.Thread(target=start, args=(sign,)) for sign in signs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(presence.alive()) == len(signs)


def test_more_workers_than_places_disturb_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "PLACES", 2)
    for number in range(3):
        SignOfLife(JOBS, "one", number).beat()
    assert names() == ["one/0", "one/1"]


def test_an_engine_tells_which_generators_it_keeps_loaded() -> None:
    assert engine().resident() == []
    engine().render(SeedSource(engine().generator(GENERATOR).sha256, 1), ())
    assert engine().resident() == [GENERATOR]
