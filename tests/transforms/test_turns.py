"""Who may compute: one job of a process, while others are stored."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection
from pytest_django import Settings

from accounts.models import User
from gallery.services import prepare_image
from tests.transforms.conftest import GENERATOR
from transforms import services, turns, worker
from transforms.broker import stopping
from transforms.models import Job, State
from transforms.operations import random as random_operation
from transforms.turns import Turns

WAIT_SECONDS = 20


@pytest.fixture
def stopped() -> Iterator[threading.Event]:
    yield stopping
    stopping.clear()


def test_as_many_have_a_turn_as_are_allowed(
    monkeypatch: pytest.MonkeyPatch, stopped: threading.Event
) -> None:
    ours = Turns()
    ours.allow(2)
    first, second = ours.take(), ours.take()
    assert first
    assert second
    second.end()
    second.end()  # that gave back one place, not two
    assert ours.take()
    monkeypatch.setattr(turns, "LOOK_EVERY_SECONDS", 0.01)
    threading.Timer(0.05, stopped.set).start()
    assert ours.take() is None


def test_a_turn_ends_with_its_block() -> None:
    ours = Turns()
    turn = ours.take()
    assert turn
    with pytest.raises(ValueError, match="broken"), turn:
        raise ValueError("broken")
    assert ours.take()


@pytest.mark.django_db(transaction=True)
def test_while_one_job_is_stored_the_next_is_computed(
    alice: User, ben: User, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    """The first picture waits, encoded, until another thread has stored the second one."""
    settings.ENGINE_BATCH_PIXELS = 0  # none are drawn together
    jobs = [services.request_random(user, generator=GENERATOR) for user in (alice, ben)]
    second_is_done, order = threading.Event(), list[str]()

    def prepare(image: Any, picture: Any) -> Any:
        order.append(str(image.pk))
        if len(order) == 1:
            other.start()
            assert second_is_done.wait(WAIT_SECONDS)
        return prepare_image(image, picture)

    def drain() -> None:
        try:
            assert worker.drain() == 1
            second_is_done.set()
        finally:
            connection.close()

    other = threading.Thread(target=drain)
    monkeypatch.setattr(random_operation, "prepare_image", prepare)
    assert worker.drain() == 1
    other.join(WAIT_SECONDS)
    assert order == [job.result["images"][0] for job in jobs]
    assert set(Job.objects.values_list("state", flat=True)) == {State.SUCCEEDED}
