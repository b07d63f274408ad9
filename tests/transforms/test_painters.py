"""Previews of several people that wait side by side: who is drawn with whom, and that nobody notices."""

from __future__ import annotations

import io
import secrets
import shutil
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow
from pytest_django import Settings

from ganworks.errors import OutOfMemory
from tests.transforms.kinds import make_kinds
from transforms.drawing import Drawing, Editor, Format
from transforms.engine import FileSource, LocalEngine, Rendering, SeedSource, engine
from transforms.errors import InvalidParams, PreviewsAway, Superseded
from transforms.painters import Order, Painters
from transforms.params import Edit, Look, Move
from transforms.preview_messages import PATIENCE_SECONDS
from transforms.recipes import LatentSource, Recipe
from transforms.recipes import SeedSource as SeedOfRecipe

WAIT_SECONDS = 30
SLIDER = (Edit(1, 2.0, 0, 4),)
EXACT = Drawing(SLIDER, format=Format.EXACT)


@pytest.fixture(scope="session")
def models_dir(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny generator, and one of each kind: with classes, that moves, that scrolls."""
    folder = tmp_path_factory.mktemp("models-of-all-kinds")
    shutil.copytree(models_dir, folder, dirs_exist_ok=True)
    return make_kinds(folder)


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The viewers (for PNGs nobody) of each pass of the engine."""
    render, calls = LocalEngine.render_together, list[list[str]]()

    def watched(self: LocalEngine, renderings: Sequence[Rendering]) -> Any:
        calls.append([rendering.viewer for rendering in renderings])
        return render(self, renderings)

    monkeypatch.setattr(LocalEngine, "render_together", watched)
    return calls


def editor_of(seed: int, generator: str = "tiny", viewer: str = "", **source: Any) -> Editor:
    sha256 = engine().generator(generator).sha256
    recipe = Recipe(generator, sha256, SeedOfRecipe(seed))
    return Editor.of(SeedSource(sha256, seed, **source), recipe, viewer or f"{generator} {seed}")


def found_editor(*, faithful: bool = False) -> Editor:
    """The editor of a photo that was projected; its noise maps are its own."""
    found = engine().project(
        "tiny",
        Pillow.new("RGB", (32, 32), "olive"),
        space="w+",
        steps=2,
        class_index=None,
        faithful=faithful,
        on_step=lambda *_: None,
        should_stop=lambda: False,
    )
    sha256 = engine().generator("tiny").sha256
    source = FileSource(sha256, secrets.token_hex(4), lambda: found.data)
    return Editor.of(source, Recipe("tiny", sha256, LatentSource("1", "0" * 64)), secrets.token_hex(4))


@contextmanager
def busy() -> Iterator[Painters]:
    """Painters whose one thread is busy until the end of the block; what was put is drawn then."""
    at_work, done = threading.Event(), threading.Event()

    def wait() -> Editor:
        at_work.set()
        assert done.wait(WAIT_SECONDS)
        return editor_of(1)

    only = Painters(threads=1)
    only.put(Order("somebody else", Drawing(), wait))
    assert at_work.wait(WAIT_SECONDS)
    try:
        yield only
    finally:
        done.set()


def put(to: Painters, editor: Editor, drawing: Drawing = EXACT) -> Future[bytes]:
    order = Order.of(editor, drawing)
    to.put(order)
    return order.answer


def pixels(data: bytes) -> Any:
    return np.asarray(Pillow.open(io.BytesIO(data)), dtype=int)


def differ(first: bytes, second: bytes) -> int:
    """The largest difference of two encoded pictures, in levels."""
    return int(np.abs(pixels(first) - pixels(second)).max())


# --- Together -----------------------------------------------------------------------------------------------


def test_what_waits_when_a_thread_is_free_is_drawn_in_one_pass(passes: list[list[str]]) -> None:
    with busy() as only:
        answers = [put(only, editor_of(seed)) for seed in (2, 3, 4)]
    pictures = [answer.result(WAIT_SECONDS) for answer in answers]
    assert passes == [["tiny 1"], ["tiny 2", "tiny 3", "tiny 4"]]
    assert [
        differ(picture, editor_of(seed).draw(EXACT)) <= 1 for seed, picture in enumerate(pictures, 2)
    ] == [True] * 3


def test_one_alone_waits_for_nobody(passes: list[list[str]]) -> None:
    assert put(Painters(), editor_of(2)).result(WAIT_SECONDS) == editor_of(2).draw(EXACT)
    assert passes[0] == ["tiny 2"]


def test_pictures_are_the_same_whatever_each_of_them_wants(settings: Settings) -> None:
    """Sliders, truncation, size of the change, noise of a photo, draft, exact or PNG: all of it is each picture's own."""
    photo = found_editor()
    photo.draw(EXACT)  # its latent is read
    wishes = [
        (editor_of(2), Drawing()),
        (editor_of(3), Drawing((Edit(0, -3.0, 2, 8), Edit(5, 1.5, 0, 8)))),
        (editor_of(2, viewer="beside"), Drawing(SLIDER, Look(truncation_psi=0.3), Format.EXACT)),
        (photo, Drawing(SLIDER, format=Format.EXACT)),
        (editor_of(5), Drawing(SLIDER, format=Format.PNG)),
        (editor_of(6, truncation_psi=0.5, truncation_cutoff=3), Drawing(SLIDER, format=Format.JPEG)),
    ]
    assert len({editor.kin(drawing) for editor, drawing in wishes}) == 1
    with busy() as only:
        answers = [put(only, *wish) for wish in wishes]
    for (editor, drawing), answer in zip(wishes, answers, strict=True):
        lossy = drawing.format in {
            Format.DRAFT,
            Format.JPEG,
        }  # rounding moves a coefficient of JPEG by a step at most
        assert differ(answer.result(WAIT_SECONDS), editor.draw(drawing)) <= (3 if lossy else 1)


@pytest.mark.parametrize(
    ("generator", "look"),
    [
        ("kinds", Look(class_index=2)),
        ("kinds", Look(noise_mode="none")),
        ("shifts", Look(move=Move(0.25, -0.5, 30))),
        ("places", Look()),
    ],
)
def test_generators_of_every_kind_draw_the_same_together(generator: str, look: Look) -> None:
    wishes = [
        (editor_of(seed, generator), Drawing((Edit(0, float(seed), 0, 4),), look, Format.EXACT))
        for seed in (2, 3, 4)
    ]
    with busy() as only:
        answers = [put(only, *wish) for wish in wishes]
    for (editor, drawing), answer in zip(wishes, answers, strict=True):
        assert differ(answer.result(WAIT_SECONDS), editor.draw(drawing)) <= 1


def test_drafts_of_a_slow_generator_are_corrected_by_their_own_viewers_picture() -> None:
    local = engine()
    assert isinstance(local, LocalEngine)
    local._library.generator("tiny").draft_resolution = 16  # as if it were slow
    mine, theirs = editor_of(2), editor_of(2, viewer="theirs")
    mine.draw(Drawing(format=Format.EXACT))
    with busy() as only:
        answers = [put(only, editor, Drawing(SLIDER)) for editor in (mine, theirs)]
    for editor, answer in zip((mine, theirs), answers, strict=True):
        assert differ(answer.result(WAIT_SECONDS), editor.draw(Drawing(SLIDER))) <= 3
    assert differ(answers[0].result(), answers[1].result()) > 3


# --- Alone --------------------------------------------------------------------------------------------------


def test_a_tuned_generator_draws_for_its_own_picture_only(
    monkeypatch: pytest.MonkeyPatch, passes: list[list[str]]
) -> None:
    monkeypatch.setattr("transforms.engine.TUNING_STEPS", 4)
    tuned = found_editor(faithful=True)
    alone = tuned.draw(EXACT)
    passes.clear()
    with busy() as only:
        answers = [put(only, editor) for editor in (editor_of(2), tuned, editor_of(3))]
    assert [answer.result(WAIT_SECONDS) for answer in answers][1] == alone
    assert passes == [["tiny 1"], ["tiny 2", "tiny 3"], [tuned.viewer]]


def test_a_latent_that_was_not_read_yet_makes_nobody_else_wait(passes: list[list[str]]) -> None:
    photo = found_editor()
    for _ in range(2):
        with busy() as only:
            answers = [put(only, editor) for editor in (editor_of(2), photo)]
        for answer in answers:
            answer.result(WAIT_SECONDS)
    assert passes == [["tiny 1"], ["tiny 2"], [photo.viewer], ["tiny 1"], ["tiny 2", photo.viewer]]


@pytest.mark.parametrize(
    "drawing",
    [
        Drawing(SLIDER, Look(noise_mode="random"), Format.EXACT),
        Drawing(SLIDER, Look(noise_mode="none"), Format.EXACT),
    ],
)
def test_other_noise_goes_into_another_pass(drawing: Drawing, passes: list[list[str]]) -> None:
    with busy() as only:
        answers = [put(only, editor_of(2)), put(only, editor_of(3), drawing), put(only, editor_of(4))]
    assert answers[1].result(WAIT_SECONDS) == editor_of(3).draw(drawing)
    assert passes[:3] == [["tiny 1"], ["tiny 2", "tiny 4"], ["tiny 3"]]


def test_large_pictures_are_drawn_alone(settings: Settings, passes: list[list[str]]) -> None:
    settings.ENGINE_BATCH_PIXELS = 3 * 32 * 32  # so few are not quicker together
    with busy() as only:
        answers = [put(only, editor_of(seed)) for seed in (2, 3)]
    for answer in answers:
        answer.result(WAIT_SECONDS)
    assert passes == [["tiny 1"], ["tiny 2"], ["tiny 3"]]


# --- Fair ---------------------------------------------------------------------------------------------------


def test_the_newest_order_of_an_editor_is_the_one_that_is_drawn(passes: list[list[str]]) -> None:
    eager = editor_of(2)
    with busy() as only:
        older = [put(only, eager, Drawing((Edit(1, step / 10, 0, 4),))) for step in range(20)]
        newest, other = put(only, eager), put(only, editor_of(3))
    assert newest.result(WAIT_SECONDS) == eager.draw(EXACT)
    assert other.result(WAIT_SECONDS)
    assert all(isinstance(answer.exception(WAIT_SECONDS), Superseded) for answer in older)
    assert passes[:2] == [["tiny 1"], ["tiny 2", "tiny 3"]]


def test_no_more_go_together_than_a_pass_holds(settings: Settings, passes: list[list[str]]) -> None:
    settings.ENGINE_BATCH_PIXELS = 4 * 32 * 32
    with busy() as only:
        answers = [put(only, editor_of(seed)) for seed in range(2, 12)]
    for answer in answers:
        answer.result(WAIT_SECONDS)
    assert [len(viewers) for viewers in passes] == [1, 4, 4, 2]


def test_generators_take_turns_by_the_age_of_what_waits(settings: Settings, passes: list[list[str]]) -> None:
    settings.ENGINE_BATCH_PIXELS = 4 * 32 * 32
    with busy() as only:
        many = [put(only, editor_of(seed)) for seed in range(2, 6)]
        few = [put(only, editor_of(1, "kinds"))]
        many += [put(only, editor_of(seed)) for seed in (6, 7, 8)]
        few += [put(only, editor_of(2, "kinds"))]
    for answer in [*many, *few]:
        answer.result(WAIT_SECONDS)
    assert passes[1:] == [
        ["tiny 2", "tiny 3", "tiny 4", "tiny 5"],
        ["kinds 1", "kinds 2"],
        ["tiny 6", "tiny 7", "tiny 8"],
    ]


def test_what_nobody_waits_for_takes_no_seat(settings: Settings, passes: list[list[str]]) -> None:
    settings.ENGINE_BATCH_PIXELS = 4 * 32 * 32
    with busy() as only:
        stale = Order.of(editor_of(2), EXACT)
        stale.ordered -= 2 * PATIENCE_SECONDS
        only.put(stale)
        gone = put(only, editor_of(3))
        assert gone.cancel()
        assert only.waiting() == {"tiny 2"}
        rest = [put(only, editor_of(seed)) for seed in range(4, 8)]
    for answer in rest:
        assert answer.result(WAIT_SECONDS)
    with pytest.raises(PreviewsAway, match="by itself"):
        stale.answer.result(WAIT_SECONDS)
    with pytest.raises(CancelledError):
        gone.result(WAIT_SECONDS)
    assert passes == [["tiny 1"], ["tiny 4", "tiny 5", "tiny 6", "tiny 7"]]


def test_who_stops_refuses_what_waits_and_finishes_what_is_drawn() -> None:
    with busy() as only:
        waiting = put(only, editor_of(2))
        only.close()
        assert only.waiting() == set()
    with pytest.raises(PreviewsAway):
        waiting.result(WAIT_SECONDS)


# --- Failing ------------------------------------------------------------------------------------------------


def test_a_frame_that_fails_takes_the_others_not_with_it() -> None:
    bad = Drawing((Edit(1, 2.0, 0, 60),), format=Format.EXACT)  # past the last layer
    with busy() as only:
        answers = [put(only, editor_of(2)), put(only, editor_of(3), bad), put(only, editor_of(4))]
    assert answers[0].result(WAIT_SECONDS) == editor_of(2).draw(EXACT)
    assert answers[2].result(WAIT_SECONDS) == editor_of(4).draw(EXACT)
    with pytest.raises(InvalidParams, match=r"\.$"):
        answers[1].result(WAIT_SECONDS)


def test_a_pass_that_finds_no_memory_is_drawn_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    render, tried = LocalEngine.render_together, list[int]()

    def scarce(self: LocalEngine, renderings: Sequence[Rendering]) -> Any:
        tried.append(len(renderings))
        if len(renderings) > 1 or renderings[0].viewer == "tiny 3":
            raise OutOfMemory("There is not enough memory for this.")
        return render(self, renderings)

    monkeypatch.setattr(LocalEngine, "render_together", scarce)
    with busy() as only:
        answers = [put(only, editor_of(seed)) for seed in (2, 3, 4)]
    assert [answer.exception(WAIT_SECONDS) is None for answer in answers] == [True, False, True]
    assert str(answers[1].exception()) == "There is not enough memory for this."
    assert tried == [1, 3, 1, 1, 1]
