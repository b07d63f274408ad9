"""The schemas of operations take what they should, and say why they refuse the rest."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.errors import InvalidParams
from transforms.params import (
    MAX_SEED,
    Crop,
    Edit,
    ProjectParams,
    RandomParams,
    SaveParams,
    SeriesParams,
    edits_from,
)
from transforms.recipes import Recipe

EDIT = {"component": 3, "strength": 2.0, "start": 0, "end": 6}
RECIPE = {
    "schema": 1,
    "generator": {"name": "tiny", "sha256": "a" * 64},
    "source": {"kind": "seed", "seed": 5, "class": None},
    "truncation_psi": 0.7,
    "truncation_cutoff": None,
    "edits": [EDIT],
    "noise_mode": "const",
}


@pytest.mark.parametrize("name", ["\ud800", "half \udfff", "\x7f", "\x9b31m", "\0"])
def test_a_text_that_no_database_or_terminal_takes_is_refused(name: str) -> None:
    with pytest.raises(InvalidParams, match="must be a text"):
        RandomParams.from_data({"generator": name})


@pytest.mark.parametrize("words", ["²", "--5", "5-", "٤٤", "9" * 5000, "0x1", "1_0", "+1"])
def test_what_only_looks_like_a_whole_number_is_refused(words: str) -> None:
    with pytest.raises(InvalidParams, match="must be a whole number"):
        RandomParams.from_data({"generator": "tiny", "count": words})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("count", 0),
        ("count", 11),
        ("count", True),
        ("count", 1.5),
        ("seed", -1),
        ("seed", MAX_SEED + 1),
        ("seed", "x"),
        ("truncation_psi", math.nan),
        ("truncation_psi", math.inf),
        ("truncation_psi", 1.6),
        ("truncation_psi", "nan"),
        ("generator", ""),
        ("generator", "a\nb"),
        ("generator", "x" * 101),
    ],
)
def test_a_bad_parameter_is_named_in_a_sentence(field: str, value: Any) -> None:
    with pytest.raises(InvalidParams) as caught:
        RandomParams.from_data({"generator": "tiny", field: value})
    assert caught.value.field == field
    assert str(caught.value).endswith(".")


def test_a_batch_beyond_the_largest_seed_goes_on_at_zero() -> None:
    assert RandomParams.from_data({"generator": "tiny", "count": 3}).seeds(MAX_SEED) == [MAX_SEED, 0, 1]


@pytest.mark.parametrize(
    "change",
    [
        {"strength": 10.5},
        {"strength": math.nan},
        {"component": -1},
        {"start": 6, "end": 6},
        {"end": 65},
        {"start": None},
    ],
)
def test_a_bad_edit_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidParams):
        edits_from([{**EDIT, **change}])


@pytest.mark.parametrize("value", ["text", {"a": 1}, [1], [EDIT] * 65])
def test_edits_must_be_a_short_list_of_objects(value: Any) -> None:
    with pytest.raises(InvalidParams):
        edits_from(value)


def test_params_survive_json() -> None:
    project = ProjectParams.from_data({"generator": "tiny", "crop": {"x": 1, "y": 2, "size": 3}})
    assert ProjectParams.from_data(project.as_data()) == project
    save = SaveParams.from_data({"edits": [EDIT], "name": "Kept"})
    assert SaveParams.from_data(save.as_data()) == save


def test_the_middle_square_lies_within_the_picture() -> None:
    crop = Crop.middle_of(640, 481)
    crop.check_within(640, 481)
    assert crop == Crop(79, 0, 481)
    with pytest.raises(InvalidParams, match="640 x 481"):
        Crop(200, 0, 481).check_within(640, 481)


def test_a_series_moves_one_slider_and_leaves_the_others() -> None:
    other = {**EDIT, "component": 1}
    series = SeriesParams.from_data(
        {"edits": [EDIT, other], "component": 3, "start": 0, "end": 6, "from": -3, "to": 3, "steps": 3}
    )
    assert series.frames() == [(Edit(1, 2.0, 0, 6), Edit(3, strength, 0, 6)) for strength in (-3.0, 0.0, 3.0)]


def test_a_recipe_survives_json() -> None:
    assert Recipe.from_data(RECIPE).as_data() == RECIPE


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 2},
        {"generator": None},
        {"generator": {"name": "tiny", "sha256": "XYZ"}},
        {"source": {"kind": "file", "path": "/etc/passwd"}},
        {"truncation_psi": math.inf},
        {"noise_mode": "loud"},
        {"edits": [{**EDIT, "strength": 1e9}]},
    ],
)
def test_a_bad_recipe_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidParams):
        Recipe.from_data({**RECIPE, **change})


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    )
)
def test_whatever_is_sent_is_taken_or_refused_with_a_sentence(value: Any) -> None:
    for schema in (edits_from, Recipe.from_data):
        with suppress(InvalidParams):
            schema(value)
