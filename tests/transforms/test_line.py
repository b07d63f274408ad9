"""The order in which waiting jobs are served: round by round, interactive before batch, at a price that stays flat."""

from __future__ import annotations

import threading
import uuid
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.db.models import F
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from accounts.models import User
from tests.transforms.conftest import GENERATOR
from transforms import services, worker
from transforms.engine import engine
from transforms.line import BATCH_EVERY, Line
from transforms.models import Job, Operation, Priority, State

pytestmark = pytest.mark.django_db


def ask(user: User, generator: str = GENERATOR, priority: Priority = Priority.INTERACTIVE) -> Job:
    return services.enqueue(user, Operation.SAVE, title="", params={}, generator=generator, priority=priority)


def serve(line: Line | None = None, **options: object) -> Job | None:
    """The job that a worker takes next."""
    return (line or Line()).claim_next(uuid.uuid4(), "test/1", **options)


def finish(job: Job) -> None:
    assert Job.objects.filter(pk=job.pk).finish(State.SUCCEEDED)


def order(line: Line | None = None) -> list[str]:
    """Who is served when, by one worker, until nothing waits."""
    line, served = line or Line(), list[str]()
    while (job := serve(line)) is not None:
        served.append(job.user.user_name)
        finish(job)
    return served


def grow_old(seconds: float, **which: object) -> None:
    Job.objects.filter(**which).update(created_at=F("created_at") - timedelta(seconds=seconds))


# --- Fairness -----------------------------------------------------------------------------------------------


def test_members_are_served_in_turn(alice: User, ben: User) -> None:
    for user in (alice, alice, alice, ben, ben):
        ask(user)
    assert order() == ["alice", "ben", "alice", "ben", "alice"]


def test_the_oldest_job_of_a_member_comes_first(alice: User) -> None:
    jobs = [ask(alice) for _ in range(3)]
    assert [serve() for _ in range(3)] == jobs


def test_who_comes_while_others_are_served_comes_next(alice: User, ben: User, mo: User) -> None:
    for _ in range(20):
        ask(alice)
    line = Line()
    for _ in range(10):
        job = serve(line)
        assert job is not None
        finish(job)
    serve(line)
    for user in (ben, mo, ben):
        ask(user)
    assert order(line)[:4] == ["ben", "mo", "alice", "ben"]


def test_nobody_saves_up_turns_while_away(alice: User, ben: User) -> None:
    """Ben asks for the first time after alice was served a hundred times: they take turns from then on."""
    Job.objects.filter(pk=ask(alice).pk).update(turn=100)
    assert serve() is not None
    for user in (alice, alice, alice, ben, ben, ben):
        ask(user)
    assert order() == ["ben", "alice", "ben", "alice", "ben", "alice"]


def test_fifty_members_are_served_within_one_round(django_user_model: type[User]) -> None:
    members = [
        django_user_model.objects.create_user(f"member{number}", f"member{number}@example.com")
        for number in range(50)
    ]
    for member in members:
        for _ in range(2):
            ask(member)
    served = order()
    for start in (0, 50):
        assert len(set(served[start : start + 50])) == 50


def test_a_job_that_was_released_keeps_its_turn(alice: User) -> None:
    first, _ = ask(alice), ask(alice)
    assert serve() == first
    assert Job.objects.filter(pk=first.pk).release()
    assert serve() == first


def test_what_may_not_start_yet_holds_nobody_up(alice: User, ben: User) -> None:
    early, second = ask(alice), ask(ben)
    Job.objects.filter(pk=early.pk).update(not_before=timezone.now() + timedelta(minutes=1))
    assert serve() == second
    assert serve() is None


# --- Priority -----------------------------------------------------------------------------------------------


def test_interactive_jobs_go_before_batch_jobs(alice: User, ben: User) -> None:
    ask(ben, priority=Priority.BATCH)
    for _ in range(2):
        ask(alice)
    assert order() == ["alice", "alice", "ben"]


def test_batch_work_that_waited_long_gets_one_turn_of_four(
    alice: User, ben: User, settings: Settings
) -> None:
    for _ in range(3):
        ask(ben, priority=Priority.BATCH)
    grow_old(settings.BATCH_PATIENCE_SECONDS + 1)
    for _ in range(20):
        ask(alice)
    served = order()
    places = [index for index, name in enumerate(served) if name == "ben"]
    assert places == [BATCH_EVERY - 1, 2 * BATCH_EVERY - 1, 3 * BATCH_EVERY - 1]


# --- Routing ------------------------------------------------------------------------------------------------


def test_a_worker_prefers_what_it_has_loaded_within_a_round(alice: User, ben: User, mo: User) -> None:
    first, second, third = ask(alice, "faces"), ask(ben, "cats"), ask(mo, "cats")
    later = ask(ben, "cats")
    line = Line()
    assert [serve(line, resident=["cats"]) for _ in range(4)] == [second, third, first, later]


def test_a_job_that_waited_too_long_goes_to_whoever_comes(alice: User, ben: User, settings: Settings) -> None:
    first, _ = ask(alice, "faces"), ask(ben, "cats")
    grow_old(settings.ROUTING_PATIENCE_SECONDS + 1, pk=first.pk)
    assert serve(resident=["cats"]) == first


def test_a_worker_with_generators_of_its_own_leaves_the_others_for_a_while(
    alice: User, ben: User, settings: Settings
) -> None:
    settings.WORKER_GENERATORS = ["cats"]
    other, own, none = ask(alice, "faces"), ask(ben, "cats"), ask(ben, "")
    assert [serve(), serve(), serve()] == [own, none, None]
    grow_old(settings.ROUTING_PATIENCE_SECONDS + 1, pk=other.pk)
    assert serve() == other


def test_the_engine_tells_what_it_has_loaded(alice: User) -> None:
    assert engine().resident() == []
    worker.run_one(services.request_random(alice, generator=GENERATOR).pk)
    assert engine().resident() == [GENERATOR]
    engine().free_memory()
    assert engine().resident() == []


# --- The price ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("waiting", [5, 500])
def test_taking_a_job_costs_the_same_queries_however_many_wait(
    alice: User, waiting: int, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    job = ask(alice)
    Job.objects.bulk_create(
        Job(user=alice, operation=Operation.SAVE, turn=turn) for turn in range(1, waiting)
    )
    with django_assert_max_num_queries(7):
        assert serve() == job


def test_the_head_of_the_line_is_found_by_an_index(alice: User) -> None:
    Job.objects.bulk_create(Job(user=alice, operation=Operation.SAVE, turn=turn) for turn in range(2000))
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    plan = Job.objects.in_line().due()[:1].explain()
    assert "job_line" in plan
    assert not any(word in plan.lower() for word in ("sort", "temp b-tree"))


@pytest.mark.postgres
@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no locks for rows")
@pytest.mark.django_db(transaction=True)
def test_a_worker_does_not_wait_for_the_row_that_another_one_is_taking(alice: User, ben: User) -> None:
    first, second = ask(alice), ask(ben)
    found: list[Job | None] = []

    def other() -> None:
        found.append(serve())
        connection.close()

    with transaction.atomic():
        assert Job.objects.claim(first.pk, uuid.uuid4())
        thread = threading.Thread(target=other)
        thread.start()
        thread.join(10)
        assert found == [second], "the other worker waited"


@pytest.mark.django_db(transaction=True)
def test_many_workers_take_each_job_once(alice: User, ben: User) -> None:
    jobs = [ask(user) for user in (alice, ben) * 15]
    taken: list[Job] = []

    def work() -> None:
        line = Line()
        while (job := serve(line)) is not None:
            taken.append(job)
        connection.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(job.pk for job in taken) == sorted(job.pk for job in jobs)
