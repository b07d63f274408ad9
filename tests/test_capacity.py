"""The simulation of the line: right where theory knows the answer, and by the rules of the line."""

from __future__ import annotations

import random
import statistics

import pytest

from bench.capacity import (
    BATCH,
    STARTERS,
    Aim,
    Fleet,
    Wish,
    enough_workers,
    simulate,
)
from bench.report import percentile


def poisson(rate: float, count: int, seconds: float, seed: int = 1) -> list[Wish]:
    chance = random.Random(seed)
    made, at = list[Wish](), 0.0
    for _ in range(count):
        at += chance.expovariate(rate)
        made.append(Wish(at, chance.randrange(50), "job", seconds))
    return made


@pytest.mark.parametrize("busy", [0.3, 0.6, 0.8])
def test_one_worker_waits_as_the_formula_of_pollaczek_and_khinchine_says(busy: float) -> None:
    served = simulate(poisson(busy, 60_000, 1.0), Fleet(1, overhead_seconds=0))
    expected = busy / (2 * (1 - busy))
    assert statistics.fmean(one.waited for one in served) == pytest.approx(expected, rel=0.06)


def test_nobody_waits_for_a_member_who_asked_for_a_hundred_things() -> None:
    greedy = [Wish(0, 0, "many", 1.0) for _ in range(100)]
    served = simulate([*greedy, Wish(0.5, 1, "one", 1.0)], Fleet(1, overhead_seconds=0))
    [late] = [one for one in served if one.wish.member == 1]
    assert late.waited <= 2


def test_interactive_work_goes_first_and_old_batch_work_is_not_starved() -> None:
    batch = [Wish(0, 0, "batch", 1.0, priority=BATCH) for _ in range(5)]
    people = [Wish(number * 0.9, 1 + number % 7, "now", 1.0) for number in range(1000)]
    served = simulate([*batch, *people], Fleet(1, overhead_seconds=0, batch_patience_seconds=100))
    begun = [one.begun for one in served if one.wish.kind == "batch"]
    assert begun[0] >= 100
    assert begun[-1] <= 130


def test_a_worker_goes_on_with_the_generator_that_it_has_loaded() -> None:
    wishes = [Wish(0, number, "job", 1.0, generator=number % 2) for number in range(40)]
    changing = simulate(wishes, Fleet(1, resident=1, load_seconds=5, routing_patience_seconds=0))
    staying = simulate(wishes, Fleet(1, resident=1, load_seconds=5, routing_patience_seconds=1000))
    assert changing[-1].ended > 40 * 6 > 2 * staying[-1].ended


def test_every_wish_is_served_once_and_the_same_seed_says_the_same() -> None:
    wishes = STARTERS.busiest_hour(500, seed=4)
    served = simulate(wishes, Fleet(2))
    assert sorted(one.wish.at for one in served) == sorted(wish.at for wish in wishes)
    assert served == simulate(STARTERS.busiest_hour(500, seed=4), Fleet(2))
    assert served != simulate(STARTERS.busiest_hour(500, seed=5), Fleet(2))


def test_enough_workers_are_enough_and_one_less_is_not() -> None:
    aim = Aim(waited_seconds=2)
    enough = enough_workers(STARTERS, 3000, Fleet(1), aim)
    wishes = STARTERS.busiest_hour(3000)

    def late(workers: int) -> float:
        return percentile([one.waited for one in simulate(wishes, Fleet(workers))], 0.95)

    assert late(enough) <= aim.waited_seconds < late(enough - 1)
