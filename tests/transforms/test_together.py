"""Random batches that wait side by side are drawn in one pass; each job keeps its own end."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from PIL import ImageChops
from pytest_django import Settings

from accounts.models import User
from gallery.models import Image
from gallery.services import open_image
from tests.transforms.conftest import GENERATOR
from transforms import services, worker
from transforms.broker import stopping
from transforms.engine import LocalEngine, engine
from transforms.models import Job, RunTime, State
from transforms.together import take_along

pytestmark = pytest.mark.django_db


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The seeds of each call of the engine."""
    draw, calls = LocalEngine.draw, list[list[int]]()

    def watched(self: LocalEngine, name: str, seeds: Sequence[int], **look: Any) -> Iterator[Any]:
        calls.append(list(seeds))
        yield from draw(self, name, seeds, **look)

    monkeypatch.setattr(LocalEngine, "draw", watched)
    return calls


def ask(user: User, seed: int, count: int = 1, **wish: Any) -> Job:
    return services.request_random(user, generator=GENERATOR, seed=seed, count=count, **wish)


def states() -> dict[str, int]:
    found = list(Job.objects.values_list("state", flat=True))
    return {state: found.count(state) for state in set(found)}


def test_what_waits_side_by_side_is_drawn_together(alice: User, ben: User, passes: list[list[int]]) -> None:
    for user, seed in ((alice, 1), (ben, 2), (alice, 3)):
        ask(user, seed)
    assert worker.drain() == 3
    assert passes == [[1, 2, 3]]
    assert states() == {State.SUCCEEDED: 3}
    owners = dict(Image.objects.exclude(file="").values_list("seed", "user__user_name"))
    assert owners == {1: "alice", 2: "ben", 3: "alice"}


def test_together_and_alone_give_the_same_pictures(alice: User, settings: Settings) -> None:
    for seed in (1, 2, 3):
        ask(alice, seed)
    worker.drain()
    settings.ENGINE_BATCH_PIXELS = 0
    for image in Image.objects.all():
        seeds = [image.seed or 0]
        alone = next(iter(engine().draw(GENERATOR, seeds, truncation_psi=0.7, class_index=None)))
        difference = np.asarray(ImageChops.difference(open_image(image), alone))
        assert difference.max() <= 1  # rounding


def test_only_equal_wishes_go_together(alice: User, ben: User, passes: list[list[int]]) -> None:
    ask(alice, 1)
    ask(ben, 2, truncation_psi=0.5)
    ask(ben, 3)
    worker.drain()
    assert passes == [[1, 3], [2]]


def test_no_more_goes_together_than_fits(alice: User, ben: User, passes: list[list[int]]) -> None:
    ask(alice, 10, count=5)
    ask(ben, 20, count=5)
    ask(ben, 30, count=3)
    worker.drain()
    assert passes == [[*range(10, 15), *range(30, 33)], [*range(20, 25)]]


def test_large_pictures_are_drawn_alone(alice: User, settings: Settings, passes: list[list[int]]) -> None:
    settings.ENGINE_BATCH_PIXELS = 32 * 32
    for seed in (1, 2):
        ask(alice, seed)
    worker.drain()
    assert passes == [[1], [2]]


def test_what_was_tried_before_is_tried_alone(alice: User, ben: User) -> None:
    first, second = ask(alice, 1), ask(ben, 2)
    token = uuid.uuid4()
    Job.objects.claim(second.pk, token)
    Job.objects.held(second.pk, token).release(killed=True)
    Job.objects.claim(first.pk, uuid.uuid4())
    assert take_along(Job.objects.get(pk=first.pk), "", uuid.uuid4) == []


def test_one_that_is_canceled_meanwhile_takes_nothing_from_the_others(
    alice: User, ben: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("transforms.context.ASK_EVERY_SECONDS", 0)
    ask(alice, 1)
    canceled = ask(ben, 2, count=2)
    ask(alice, 4)

    def cancel_one(*args: Any) -> Any:
        found = take_along(*args)
        services.cancel(ben, canceled)
        return found

    monkeypatch.setattr("transforms.worker.take_along", cancel_one)
    worker.drain()
    assert states() == {State.SUCCEEDED: 2, State.CANCELED: 1}
    assert set(Image.objects.exclude(file="").values_list("seed", flat=True)) == {1, 4}


def test_if_the_pass_fails_the_others_are_drawn_apart(
    alice: User, ben: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = LocalEngine.draw

    def too_many(self: LocalEngine, name: str, seeds: Sequence[int], **look: Any) -> Iterator[Any]:
        if len(seeds) > 1:
            raise MemoryError
        yield from draw(self, name, seeds, **look)

    monkeypatch.setattr(LocalEngine, "draw", too_many)
    first, second = ask(alice, 1), ask(ben, 2)
    worker.drain()
    assert Job.objects.get(pk=first.pk).state == State.FAILED
    assert Job.objects.get(pk=second.pk).state == State.SUCCEEDED


def test_a_worker_that_stops_gives_all_of_them_back(
    alice: User, ben: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [ask(alice, 1), ask(ben, 2), ask(alice, 3)]

    def interrupt(*args: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("transforms.operations.random.prepare_image", interrupt)
    with pytest.raises(KeyboardInterrupt):
        worker.drain()
    assert states() == {State.QUEUED: 3}
    assert {job.attempt for job in Job.objects.filter(pk__in=[job.pk for job in jobs])} == {0}
    assert not stopping.is_set()


def test_the_time_of_what_is_drawn_together_is_not_learned(alice: User, ben: User) -> None:
    ask(alice, 1)
    ask(ben, 2)
    worker.drain()
    assert not RunTime.objects.exists()
