"""What the pages show of each kind of generator: only what it can do."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import User
from gallery.models import Image, SavedImage
from tests.conftest import ClientOf
from tests.transforms.conftest import SIDE_PX, Run
from tests.transforms.kinds import drawn, make_kinds, saved_by
from transforms import services
from transforms.engine import engine

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="session")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_kinds(tmp_path_factory.mktemp("kinds"))


@pytest.fixture
def member(alice: User, client_of: ClientOf) -> Client:
    return client_of(alice)


def page_of(member: Client, image: Image, query: str = "") -> str:
    response = member.get(reverse("transforms:edit", args=[image.pk]) + query)
    assert response.status_code == 200
    return response.content.decode()


def handed_over(body: str, name: str) -> Any:
    """What the page hands to its scripts under this id."""
    found = re.search(rf'<script id="{name}" type="application/json">(.*?)</script>', body, re.DOTALL)
    assert found is not None
    return json.loads(found.group(1))


SHOWN = {
    "kinds": {"data-class", "data-noise"},
    "places": {"data-panorama"},
    "shifts": {"data-move"},
    "wide": {"data-noise"},
}


@pytest.mark.parametrize("generator", SHOWN)
def test_the_editor_shows_what_the_generator_can_do(member: Client, alice: User, generator: str) -> None:
    body = page_of(member, drawn(alice, generator))
    attributes = {"data-class", "data-noise", "data-panorama", "data-move"}
    assert {name for name in attributes if re.search(rf'[ "]{name}[ =>]', body)} == SHOWN[generator]


def test_the_class_of_the_picture_is_chosen_in_the_editor(member: Client, alice: User) -> None:
    body = page_of(member, drawn(alice, "kinds", class_index=1))
    assert '<option value="dog" selected>dog</option>' in body
    assert "tabby &lt;cat&gt;" in body
    assert handed_over(body, "editor-config")["class_index"] == 1
    assert "from seed 5, as “dog”" in body


def test_a_picture_that_is_not_square_has_its_own_size(member: Client, alice: User) -> None:
    config = handed_over(page_of(member, drawn(alice, "wide")), "editor-config")
    assert (config["width"], config["height"]) == (SIDE_PX, SIDE_PX * 3 // 4)
    assert config["frame"] == [0, 0.125, 1, 0.875]


def test_the_square_of_a_photo_says_what_each_generator_cuts_off(
    member: Client, upload: Image, alice: User, run: Run
) -> None:
    body = page_of(member, upload)
    assert 'data-crop="0,4,32,28"' in body
    assert body.count('data-crop=""') == body.count('name="generator"') - 1
    job = services.request_projection(alice, upload, generator="wide", steps=2)
    assert job is not None
    assert handed_over(page_of(member, upload), "frame-data") == [0, 0.125, 1, 0.875]
    run(job)
    config = handed_over(page_of(member, upload), "editor-config")
    assert (config["width"], config["height"], config["class_index"]) == (32, 24, None)


def test_a_photo_is_looked_for_in_one_class_or_in_all(member: Client, upload: Image) -> None:
    body = page_of(member, upload)
    assert '<option value="All classes" selected>All classes</option>' in body
    wish = {"generator": "kinds", "x": 0, "y": 0, "size": 40, "class_kinds": "owl", "steps": 2}
    address = reverse("transforms:crop_and_project", args=[upload.pk])
    response = member.post(address, wish, headers={"Accept": "application/json"})
    assert response.status_code == 202
    assert upload.jobs.get().params["class_index"] == 2


def test_a_photo_is_looked_for_in_all_classes_unless_one_is_named(member: Client, upload: Image) -> None:
    wish = {"generator": "kinds", "x": 0, "y": 0, "size": 40, "class_kinds": "All classes", "steps": 2}
    response = member.post(reverse("transforms:crop_and_project", args=[upload.pk]), wish)
    assert response.status_code == 302
    assert upload.jobs.get().params["class_index"] is None


def test_one_goes_back_to_an_earlier_search_in_another_class(
    member: Client, alice: User, upload: Image, run: Run
) -> None:
    for class_index in (2, None):
        job = services.request_projection(alice, upload, generator="kinds", steps=2, class_index=class_index)
        assert job is not None
        run(job)
        upload.refresh_from_db()
        if class_index:
            saved = saved_by(services.request_save(alice, upload, name="First"))
    body = page_of(member, upload, f"?saved={saved.pk}")
    form = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', body)
    fields = {name: value for name, value in form if name != "csrfmiddlewaretoken"}
    assert fields["kept"] == saved.recipe["source"]["projection"]
    member.post(reverse("transforms:crop_and_project", args=[upload.pk]), fields)
    upload.refresh_from_db()
    assert str(upload.projection_id) == saved.recipe["source"]["projection"]


def test_a_page_of_a_generator_that_is_gone_still_opens(
    member: Client, alice: User, settings: Any, tmp_path: Path
) -> None:
    image = drawn(alice, "kinds")
    settings.MODELS_DIR = tmp_path
    engine.cache_clear()
    config = handed_over(page_of(member, image), "editor-config")
    assert (config["width"], config["scrolls"], config["class_index"]) == (SIDE_PX, False, None)


# --- Saved pictures -----------------------------------------------------------------------------------------


def facts_of(member: Client, saved: SavedImage) -> dict[str, str]:
    body = member.get(reverse("gallery:saved_detail", args=[saved.pk])).content.decode()
    return dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", body))


def test_a_saved_picture_tells_its_class_and_its_sliders_by_their_names(member: Client, alice: User) -> None:
    image = drawn(alice, "kinds")
    edits = [
        {"component": 1, "strength": 2.0, "start": 0, "end": 8},
        {"basis": "factors", "component": 4, "strength": -1.5, "start": 2, "end": 3},
    ]
    facts = facts_of(member, saved_by(services.request_save(alice, image, edits=edits, class_index=2)))
    assert facts["Class"] == "owl"
    assert facts["Component 2"] == "+2 σ on all layers"  # noqa: RUF001  (the field's own sign)
    assert facts["Factor 5"] == "−1.5 σ on layer 3"  # noqa: RUF001
    assert facts["Fine detail"] == "The same grain each time"


def test_a_moved_picture_tells_where_it_lies(member: Client, alice: User) -> None:
    image = drawn(alice, "shifts")
    move = {"x": 0.25, "y": -0.1, "degrees": -30}
    facts = facts_of(member, saved_by(services.request_save(alice, image, move=move)))
    assert facts["Moved"] == "25 % to the right, 10 % up, turned by −30°"  # noqa: RUF001
    assert "Fine detail" not in facts


def test_a_panorama_is_shown_as_a_strip_and_enlarged_only_if_it_can_be(member: Client, alice: User) -> None:
    image = drawn(alice, "places")
    saved = saved_by(services.request_save(alice, image, panorama={"left": 16, "width": 200}, name="Hills"))
    address = reverse("gallery:saved_detail", args=[saved.pk])
    assert facts_of(member, saved)["Panorama"] == "200 pixels wide, from pixel 16 on"
    body = member.get(address).content.decode()
    assert "saved__strip" in body
    assert "Faithful (×4)" in body  # noqa: RUF001  (as the page says it)
    assert "picture--strip" in member.get(reverse("gallery:saved")).content.decode()
    SavedImage.objects.filter(pk=saved.pk).update(width=4097)
    body = member.get(address).content.decode()
    assert "(×4)" not in body  # noqa: RUF001
    assert body.index("Faithful (×2)") < body.index("Crisp (×2)")  # noqa: RUF001
    SavedImage.objects.filter(pk=saved.pk).update(width=8193)
    body = member.get(address).content.decode()
    assert "(×2)" not in body  # noqa: RUF001
    assert "save less of it" in body


def test_a_saved_picture_of_a_generator_that_is_gone_still_tells_its_recipe(
    member: Client, alice: User, settings: Any, tmp_path: Path
) -> None:
    edits = [{"component": 1, "strength": 2.0, "start": 0, "end": 8}]
    saved = saved_by(services.request_save(alice, drawn(alice, "kinds"), edits=edits, class_index=2))
    settings.MODELS_DIR = tmp_path
    engine.cache_clear()
    facts = facts_of(member, saved)
    assert (facts["Class"], facts["Slider 2"]) == ("2", "+2 σ on layers 1 to 8")  # noqa: RUF001
