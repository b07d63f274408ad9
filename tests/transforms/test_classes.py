"""Classes in words: what a member types, and which class that is."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from accounts.models import User
from gallery.models import Image
from tests.transforms.conftest import SIDE_PX, Run
from transforms.classes import class_labels, class_named
from transforms.engine import engine
from transforms.models import Job

HTMX = {"HX-Request": "true"}
BREEDS = [f"breed {number:02}" for number in range(30)]


def test_a_class_without_a_name_is_called_by_its_number() -> None:
    assert class_labels(3, ["cat", " "]) == ["cat", "Class 1", "Class 2"]


def test_classes_of_the_same_name_can_be_told_apart() -> None:
    assert class_labels(3, ["crane", "cat", "Crane"]) == ["crane (0)", "cat", "Crane (2)"]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("cat", 0),
        (" CAT ", 0),
        ("2", 2),
        ("tabb", 2),
        ("bird", None),
        ("dog", None),
        ("", None),
        ("9", None),
        ("9" * 5000, None),
    ],
)
def test_a_class_is_found_by_its_name_its_number_or_a_part_that_is_its_own(
    words: str, found: int | None
) -> None:
    assert class_named(words, ["cat", "hot dog", "tabby", "sled dog"]) == found


@pytest.fixture(scope="session")
def class_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generator of two classes, and one of thirty."""
    import torch

    from ganworks.generator import save_generator
    from ganworks.networks.stylegan2 import Generator

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models")
    for name, classes in (("pets", ["cat", "dog"]), ("breeds", BREEDS)):
        network = Generator(
            16, 32, SIDE_PX, num_layers=2, c_dim=len(classes), channel_base=256, channel_max=16
        )
        save_generator(
            network, folder / name / "generator.safetensors", label=name.capitalize(), classes=classes
        )
    return folder


@pytest.fixture
def with_classes(settings: Settings, class_models: Path) -> None:
    settings.MODELS_DIR = class_models
    engine.cache_clear()


@pytest.fixture
def member(client: Client, alice: User, with_classes: None) -> Client:
    client.force_login(alice)
    return client


def generate(member: Client, **fields: object) -> int:
    wish = {"generator": "pets", "count": 1, "seed": 5, "truncation_psi": 0.7, **fields}
    return member.post(reverse("transforms:generate"), wish, headers=HTMX).status_code


def test_each_generator_with_classes_offers_its_own(member: Client) -> None:
    body = member.get(reverse("transforms:generate"), headers=HTMX).content.decode()
    assert 'data-class-of="pets"' in body
    assert '<option value="dog">dog</option>' in body
    assert '<input type="text" name="class_breeds" value="breed 00"' in body
    assert body.count("breed 29") == 1
    assert 'data-class-of="portraits"' not in body


def test_the_class_is_drawn_and_told(member: Client, run: Run) -> None:
    assert generate(member, class_pets="dog", class_breeds="nonsense") == 200
    run(Job.objects.get())
    image = Image.objects.get()
    assert image.class_index == 1
    card = member.get(reverse("gallery:card", args=[image.pk])).content.decode()
    assert 'seed <span class="numeric">5</span>, dog' in card


def test_one_class_of_many_is_found_by_a_part_of_its_name(member: Client) -> None:
    assert generate(member, generator="breeds", class_breeds="breed 2", class_pets="cat") == 422
    assert generate(member, generator="breeds", class_breeds="27") == 200
    assert Image.objects.get().class_index == 27


def test_a_class_that_is_not_there_is_refused_beside_its_field(member: Client) -> None:
    wish = {"generator": "pets", "count": 1, "seed": 5, "truncation_psi": 0.7, "class_pets": "horse"}
    response = member.post(reverse("transforms:generate"), wish, headers=HTMX)
    assert response.status_code == 422
    assert "Pets has no class “horse”. Choose one of its list." in response.content.decode()
    assert not Job.objects.exists()


def test_without_a_word_the_first_class_is_drawn(member: Client) -> None:
    assert generate(member) == 200
    assert Image.objects.get().class_index == 0


def test_a_card_of_a_generator_that_is_gone_still_tells_the_class(
    member: Client, alice: User, settings: Settings, tmp_path: Path
) -> None:
    generate(member, class_pets="dog")
    settings.MODELS_DIR = tmp_path
    engine.cache_clear()
    card = member.get(reverse("gallery:card", args=[Image.objects.get().pk])).content.decode()
    assert "class 1" in card
