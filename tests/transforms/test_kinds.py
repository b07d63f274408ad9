"""Generators of every kind in the product: with classes, with panoramas, that move pictures, that are not square."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from asgiref.sync import sync_to_async
from django.core.files.uploadedfile import SimpleUploadedFile
from PIL import Image as Pillow

from accounts.models import User
from gallery.models import Image, SavedImage
from gallery.png import read_recipe
from gallery.services import create_upload, open_image
from tests.conftest import ClientOf
from tests.transforms.conftest import Run, photo
from tests.transforms.kinds import CLASSES, SIDE_PX, drawn, make_kinds, saved_by
from tests.transforms.test_sockets import hear, listening
from transforms import previews, services
from transforms.engine import FileSource, LocalEngine, SeedSource, engine
from transforms.errors import InvalidParams, NotReady
from transforms.models import Job, State
from transforms.params import Edit, Look, Move
from transforms.recipes import Recipe
from transforms.worker import run_one

TILE_PX = SIDE_PX // 2


@pytest.fixture(scope="session")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_kinds(tmp_path_factory.mktemp("kinds"))


def pixels(picture: Any) -> Any:
    return np.asarray(picture, dtype=int)


# --- Classes ------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_class_is_drawn_and_remembered(alice: User) -> None:
    cat, owl = (drawn(alice, "kinds", class_index=index) for index in (0, 2))
    assert (cat.class_index, owl.class_index) == (0, 2)
    assert open_image(cat).tobytes() != open_image(owl).tobytes()


@pytest.mark.django_db
def test_a_class_that_is_not_there_is_refused_everywhere(alice: User) -> None:
    image = drawn(alice, "kinds")
    for wish in (
        lambda: services.request_random(alice, generator="kinds", class_index=3),
        lambda: services.request_save(alice, image, class_index=3),
        lambda: services.request_projection(alice, upload(alice), generator="kinds", class_index=3),
        lambda: previews.Editor.open(image).check_look(Look(class_index=3)),
    ):
        with pytest.raises(InvalidParams, match="class") as refusal:
            wish()
        assert refusal.value.field == "class_index"


@pytest.mark.django_db
def test_a_picture_is_saved_in_another_class_with_a_recipe_that_says_so(alice: User) -> None:
    image = drawn(alice, "kinds", class_index=0)
    saved = saved_by(services.request_save(alice, image, class_index=2))
    assert saved.recipe["source"] == {"kind": "seed", "seed": 5, "class": 2}
    source = SeedSource(image.generator_sha256, 5, 2, image.truncation_psi)
    assert open_image(saved).tobytes() == engine().render(source, ()).tobytes()


@pytest.mark.django_db
def test_a_photo_is_looked_for_near_a_class(alice: User) -> None:
    image = upload(alice)
    first = services.request_projection(alice, image, generator="kinds", steps=3, class_index=1)
    assert first is not None
    run_one(first.pk)
    assert Job.objects.get(pk=first.pk).state == State.SUCCEEDED
    image.refresh_from_db()
    again = services.request_projection(alice, image, generator="kinds", steps=3, class_index=1)
    assert again is None, "the same wish has the same answer"
    assert services.request_projection(alice, image, generator="kinds", steps=3) is not None


@pytest.mark.django_db(transaction=True)
async def test_the_editor_is_told_the_classes_and_draws_another_one(alice: User) -> None:
    image = await sync_to_async(drawn)(alice, "kinds", class_index=1)
    async with listening(f"/ws/transform/{image.pk}/", alice) as socket:
        ready = await hear(socket)
        assert (ready["classes"], ready["class_index"]) == (CLASSES, 1)
        frames = []
        for seq, index in enumerate((None, 1, 2), start=1):
            await socket.send_json_to({"type": "render", "seq": seq, "exact": True, "class_index": index})
            frames.append((await socket.receive_from(timeout=10))[8:])
        assert frames[0] == frames[1] != frames[2]
        await socket.send_json_to({"type": "render", "seq": 9, "class_index": 3})
        assert "no such class" in (await hear(socket))["text"]


# --- Panoramas ----------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_panorama_begins_with_the_picture_and_has_no_seams(alice: User) -> None:
    image = drawn(alice, "places")
    source = SeedSource(image.generator_sha256, 5, None, image.truncation_psi)
    edits = [Edit(0, 2.0, 0, 9)]
    whole = engine().panorama(source, edits, 0, 8 * SIDE_PX)
    assert whole.size == (8 * SIDE_PX, SIDE_PX)
    assert np.abs(pixels(whole)[:, :SIDE_PX] - pixels(engine().render(source, edits))).max() <= 1
    part = engine().panorama(source, edits, 77, 50)
    assert np.abs(pixels(part) - pixels(whole)[:, 77:127]).max() <= 1


@pytest.mark.django_db
def test_a_panorama_goes_on_with_the_seeds_that_follow(alice: User) -> None:
    sha256 = drawn(alice, "places").generator_sha256
    five, six = (engine().panorama(SeedSource(sha256, seed), (), 0, 8 * SIDE_PX) for seed in (5, 6))
    assert five.tobytes() != six.tobytes()
    last = SeedSource(sha256, 2**32 - 1)
    assert engine().panorama(last, (), 0, 6 * SIDE_PX).width == 6 * SIDE_PX, "after the largest comes 0"


@pytest.mark.django_db
def test_a_saved_panorama_is_as_wide_as_was_asked_and_its_recipe_draws_it_again(alice: User) -> None:
    image = drawn(alice, "places")
    job = services.request_save(
        alice,
        image,
        edits=[{"component": 1, "strength": 1, "start": 0, "end": 9}],
        panorama={"left": 40, "width": 1100},
    )
    saved = saved_by(job)
    assert (saved.width, saved.height) == (1100, SIDE_PX)
    recipe = Recipe.from_data(json.loads(json.dumps(saved.recipe)))
    assert recipe.panorama is not None
    source = SeedSource(recipe.generator_sha256, 5, None, recipe.truncation_psi)
    again = engine().panorama(source, recipe.edits, recipe.panorama.left, recipe.panorama.width)
    assert np.abs(pixels(open_image(saved)) - pixels(again)).max() <= 1


@pytest.mark.django_db
def test_the_widest_panorama_can_be_drawn(alice: User, run: Run) -> None:
    image = drawn(alice, "places")
    job = services.request_save(alice, image, panorama={"width": 16_384})
    done = run(job)
    assert done.state == State.SUCCEEDED, done.error
    assert SavedImage.objects.get(pk=done.result["saved_image"]).width == 16_384


@pytest.mark.django_db
@pytest.mark.parametrize(
    "panorama",
    [{"width": 0}, {"width": 16_385}, {"left": 1, "width": 16_384}, {"left": -1, "width": 5}, "wide", {}],
)
def test_a_panorama_beyond_its_bounds_is_refused(alice: User, panorama: Any) -> None:
    with pytest.raises(InvalidParams):
        services.request_save(alice, drawn(alice, "places"), panorama=panorama)


@pytest.mark.django_db
def test_a_panorama_that_would_be_too_large_is_not_enlarged(alice: User) -> None:
    saved = saved_by(services.request_save(alice, drawn(alice, "places"), panorama={"width": 5000}))
    with pytest.raises(NotReady, match="16,384 pixels"):
        services.request_upscale(alice, saved)


@pytest.mark.django_db(transaction=True)
async def test_tiles_come_in_the_order_asked_and_make_the_panorama(alice: User) -> None:
    image = await sync_to_async(drawn)(alice, "places")
    async with listening(f"/ws/transform/{image.pk}/", alice) as socket:
        ready = await hear(socket)
        assert ready["panorama"] == {"tile_px": TILE_PX, "height_px": SIDE_PX, "max_px": 16_384}
        assert (ready["scrolls"], ready["moves"], ready["has_noise"]) == (True, False, False)
        await socket.send_json_to({"type": "panorama", "seq": 4, "tiles": [2, 0, 1], "exact": True})
        tiles = {}
        for number in (2, 0, 1):
            frame = await socket.receive_from(timeout=10)
            kind, seq, index, total, flags = previews.HEADER.unpack(frame[:8])
            assert (kind, seq, index, total, flags) == (previews.Kind.PANORAMA, 4, number, 3, previews.EXACT)
            tiles[index] = pixels(Pillow.open(io.BytesIO(frame[8:])))
    source = SeedSource(image.generator_sha256, 5, None, image.truncation_psi)
    whole = await sync_to_async(engine().panorama)(source, (), 0, 3 * TILE_PX)
    assert np.abs(np.concatenate([tiles[k] for k in range(3)], axis=1) - pixels(whole)).max() <= 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("tiles", [None, [], [-1], [256], [True], ["1"], list(range(41)), 3])
async def test_tiles_that_cannot_be_are_refused(alice: User, tiles: object) -> None:
    image = await sync_to_async(drawn)(alice, "places")
    async with listening(f"/ws/transform/{image.pk}/", alice) as socket:
        await hear(socket)
        await socket.send_json_to({"type": "panorama", "seq": 1, "tiles": tiles})
        assert (await hear(socket))["type"] == "error"


@pytest.mark.django_db(transaction=True)
async def test_a_generator_without_panoramas_says_so(alice: User) -> None:
    image = await sync_to_async(drawn)(alice, "kinds")
    async with listening(f"/ws/transform/{image.pk}/", alice) as socket:
        assert (await hear(socket))["panorama"] is None
        await socket.send_json_to({"type": "panorama", "seq": 1, "tiles": [0]})
        assert "no panoramas" in (await hear(socket))["text"]
    with pytest.raises(InvalidParams, match="no panoramas"):
        await sync_to_async(services.request_save)(alice, image, panorama={"width": 64})


# --- Moves --------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_moved_picture_is_saved_as_it_was_seen(alice: User) -> None:
    image = drawn(alice, "shifts")
    move = {"x": 0.25, "y": -0.5, "degrees": 30}
    saved = saved_by(services.request_save(alice, image, move=move))
    assert saved.recipe["move"] == move
    source = SeedSource(image.generator_sha256, 5, None, image.truncation_psi)
    seen = engine().render(source, (), move=Move(0.25, -0.5, 30))
    assert open_image(saved).tobytes() == seen.tobytes()
    png = previews.Editor.open(image).draw(
        previews.Drawing(look=Look(move=Move(0.25, -0.5, 30)), format=previews.Format.PNG)
    )
    assert Recipe.from_data(read_recipe(png)).move == Move(0.25, -0.5, 30)


@pytest.mark.django_db
def test_a_move_that_the_generator_cannot_make_is_refused(alice: User) -> None:
    with pytest.raises(InvalidParams, match="cannot shift or turn"):
        services.request_save(alice, drawn(alice, "kinds"), move={"x": 0.1})


@pytest.mark.django_db
@pytest.mark.parametrize(
    "move", [{"x": 2}, {"degrees": 181}, {"y": "far"}, {"x": float("nan")}, [1, 2], "left"]
)
def test_a_move_out_of_range_is_refused(alice: User, move: Any) -> None:
    with pytest.raises(InvalidParams):
        services.request_save(alice, drawn(alice, "shifts"), move=move)


# --- Factors ------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_factors_are_sliders_of_their_own(alice: User) -> None:
    image = drawn(alice, "kinds")
    edits = [
        {"component": 0, "strength": 2.0, "start": 0, "end": 8},
        {"component": 0, "strength": 2.0, "start": 0, "end": 8, "basis": "factors"},
    ]
    both = saved_by(services.request_save(alice, image, edits=edits))
    one = saved_by(services.request_save(alice, image, edits=edits[:1]))
    assert both.recipe["edits"] == edits
    assert open_image(both).tobytes() != open_image(one).tobytes()


@pytest.mark.django_db
def test_a_basis_or_a_factor_that_is_not_there_is_refused(alice: User) -> None:
    image = drawn(alice, "kinds")
    edit = {"component": 5, "strength": 2.0, "start": 0, "end": 8}
    with pytest.raises(InvalidParams, match="4 components"):
        services.request_save(alice, image, edits=[edit])
    services.request_save(alice, image, edits=[{**edit, "basis": "factors"}])
    with pytest.raises(InvalidParams, match="6 factors"):
        services.request_save(alice, image, edits=[{**edit, "component": 6, "basis": "factors"}])
    with pytest.raises(InvalidParams, match="one of: components, factors"):
        services.request_save(alice, image, edits=[{**edit, "basis": "moods"}])


# --- Pictures that are not square ---------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_cropped_generator_draws_and_finds_pictures_without_edges(alice: User) -> None:
    image = drawn(alice, "wide")
    assert (image.width, image.height) == (32, 24)
    photo_of_it = upload(alice)
    job = services.request_projection(alice, photo_of_it, generator="wide", steps=3)
    assert job is not None
    run_one(job.pk)
    photo_of_it.refresh_from_db()
    assert photo_of_it.projection is not None
    source = FileSource(photo_of_it.generator_sha256, "test", photo_of_it.projection.file.read)
    assert engine().render(source, ()).size == (32, 24)


# --- The API ------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_the_api_saves_panoramas_and_moves_and_draws_classes(alice: User, client_of: ClientOf) -> None:
    client = client_of(alice)

    def post(image: Image, what: str, data: dict[str, Any]) -> Any:
        return client.post(f"/api/v1/images/{image.pk}/{what}/", data, content_type="application/json")

    places, kinds = drawn(alice, "places"), drawn(alice, "kinds")
    answer = post(places, "save", {"panorama": {"left": 3, "width": 77}})
    assert answer.status_code == 202
    assert saved_by(Job.objects.get(pk=answer.json()["id"])).width == 77
    assert post(kinds, "save", {"panorama": {"width": 77}}).status_code == 400
    pictures = [post(kinds, "render", {"class_index": index, "format": "webp"}) for index in (0, 2)]
    assert [picture.status_code for picture in pictures] == [200, 200]
    assert pictures[0].content != pictures[1].content
    assert post(kinds, "render", {"class_index": 3}).status_code == 400
    assert post(kinds, "render", {"move": {"x": 0.5}}).status_code in (400, 409)


def upload(alice: User) -> Image:
    return create_upload(alice, SimpleUploadedFile("a.jpg", photo(), "image/jpeg"), "A")


# --- Drafts -------------------------------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize("generator", ["kinds", "places"])
def test_a_draft_after_an_exact_picture_shows_what_the_picture_shows(alice: User, generator: str) -> None:
    image = drawn(alice, generator)
    source = SeedSource(image.generator_sha256, 5, image.class_index, image.truncation_psi)
    local = engine()
    assert isinstance(local, LocalEngine)
    local._library.generator(generator).draft_resolution = 16  # as if it were slow

    def picture(*, draft: bool, viewer: str = "alice's editor") -> Any:
        if generator == "places":
            return engine().panorama(source, (), 0, SIDE_PX, draft=draft, viewer=viewer)
        return engine().render(source, (), draft=draft, viewer=viewer)

    plain = pixels(picture(draft=True))
    exact = pixels(picture(draft=False).reduce(2))
    corrected = pixels(picture(draft=True))
    assert corrected.shape == (16, 16, 3)
    assert 4 * np.abs(corrected - exact).mean() < np.abs(plain - exact).mean()
    assert np.array_equal(pixels(picture(draft=True, viewer="ben's editor")), plain)
