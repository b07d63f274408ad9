"""A few hundred changed checkpoints. `python -m tests.ganworks.importing.fuzz` reads as many as one likes."""

import random
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from . import fuzz
from .instructions import changed_instructions

SETTINGS = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module", autouse=True)
def watched() -> None:
    """Python's audit events are looked at from now on, once all that reading needs is loaded."""
    for data in (*fuzz.seeds().values(), *fuzz.large_seeds().values()):
        fuzz.check(data)
    sys.addaudithook(fuzz.audit)


@pytest.mark.parametrize("name", fuzz.seeds())
def test_a_valid_file_is_read_and_nothing_else_happens(name: str) -> None:
    assert fuzz.check(fuzz.seeds()[name], measure=True) == "read" or name.startswith("rosinality")


@SETTINGS
@given(st.sampled_from(sorted(fuzz.seeds())), st.integers(0, 2**32))
def test_a_changed_file_is_read_or_refused(name: str, seed: int) -> None:
    fuzz.check(fuzz.changed(fuzz.seeds()[name], random.Random(seed)))


@SETTINGS
@given(st.data())
def test_a_file_with_any_bytes_in_any_place_is_read_or_refused(data: st.DataObject) -> None:
    whole = bytearray(fuzz.seeds()[data.draw(st.sampled_from(sorted(fuzz.seeds())))])
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(whole) - 1))
        piece = data.draw(st.binary(max_size=16))
        whole[place : place + data.draw(st.integers(0, 16))] = piece
    fuzz.check(bytes(whole))


@settings(SETTINGS, max_examples=30)
@given(st.sampled_from(sorted(fuzz.large_seeds())), st.integers(0, 2**32))
def test_a_changed_file_of_the_other_kinds_is_read_or_refused(name: str, seed: int) -> None:
    fuzz.check(fuzz.changed(fuzz.large_seeds()[name], random.Random(seed)), measure=seed % 5 == 0)


@SETTINGS
@given(st.integers(0, 2**32))
def test_a_pickle_of_changed_instructions_is_read_or_refused(seed: int) -> None:
    dice, pickles = random.Random(seed), fuzz.plain_pickles(fuzz.seeds().values())
    fuzz.check(changed_instructions(dice.choice(pickles), dice.choice(pickles), dice), measure=seed % 5 == 0)
