"""Making an account."""

from __future__ import annotations

import pytest
from django.contrib.auth import get_user
from django.test import Client
from pytest_django import Settings

from accounts.forms import RegisterForm
from accounts.models import User
from tests.conftest import PASSWORD, ClientOf

URL = "/accounts/register/"
CARLA = {"user_name": "carla", "email": "Carla@Example.COM", "password": PASSWORD}

pytestmark = pytest.mark.django_db


def test_a_visitor_registers_and_lands_in_the_gallery_signed_in(client: Client) -> None:
    response = client.post(URL, CARLA)
    assert (response.status_code, response["Location"]) == (302, "/gallery/")
    carla = User.objects.get(user_name="carla")
    assert carla.email == "Carla@example.com"
    assert carla.check_password(PASSWORD)
    assert not carla.is_staff
    assert get_user(client) == carla


def test_a_password_is_kept_as_argon2(client: Client, settings: Settings) -> None:
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.Argon2PasswordHasher"]
    client.post(URL, CARLA)
    assert User.objects.get().password.startswith("argon2$argon2id$")


def test_the_form_is_shown_to_a_visitor(client: Client) -> None:
    page = client.get(URL).content.decode()
    assert 'name="user_name"' in page
    assert 'autocomplete="new-password"' in page


def test_a_member_who_is_signed_in_is_sent_on(alice: User, client_of: ClientOf) -> None:
    assert client_of(alice).get(URL)["Location"] == "/gallery/"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"user_name": "ALICE"}, "Somebody already uses this name: choose another."),
        ({"email": "ALICE@example.com"}, "There is already an account with this e-mail address"),
        ({"user_name": "al"}, "A user name has 3 to 30 letters"),
        ({"user_name": "a@b.c"}, "A user name has 3 to 30 letters"),
        ({"email": "nowhere"}, "Enter a valid email address."),
        ({"password": "short"}, "This password is too short. It must contain at least 10 characters."),
        ({"password": "1234567890"}, "This password is too common."),
        ({"password": "carla@example"}, "The password is too similar to the e-mail address."),
        ({"password": ""}, "This field is required."),
    ],
)
def test_what_cannot_be_taken_is_said_beside_the_field(
    alice: User, client: Client, changes: dict[str, str], sentence: str
) -> None:
    response = client.post(URL, CARLA | changes)
    assert response.status_code == 200
    page = response.content.decode()
    assert page.count(sentence) == 1
    assert User.objects.count() == 1
    assert CARLA["password"] not in page


def test_a_name_taken_between_the_check_and_the_saving_is_an_error_in_the_form() -> None:
    form = RegisterForm(CARLA)
    assert form.is_valid()
    User.objects.create_user("CARLA", "first@example.com", PASSWORD)
    assert form.create() is None
    assert form.errors == {"user_name": ["Somebody already uses this name: choose another."]}
    assert User.objects.count() == 1


@pytest.mark.parametrize(
    ("wanted", "lands"),
    [
        ("/saved/", "/saved/"),
        ("https://evil.example/", "/gallery/"),
        ("//evil.example/", "/gallery/"),
        ("javascript:alert(1)", "/gallery/"),
    ],
)
def test_next_leads_to_our_own_pages_only(client: Client, wanted: str, lands: str) -> None:
    assert client.post(URL, CARLA | {"next": wanted})["Location"] == lands


def test_one_address_makes_a_limited_number_of_accounts(client: Client, settings: Settings) -> None:
    settings.SIGN_UPS_PER_HOUR = 2
    for _ in range(2):
        assert client.post(URL, {}).status_code == 200
    refused = client.post(URL, CARLA)
    assert refused.status_code == 429
    assert refused["Retry-After"] == "3600"
    assert "Too many accounts were made from your network. Wait an hour" in refused.content.decode()
    assert not User.objects.exists()
    assert client.post(URL, CARLA, REMOTE_ADDR="10.1.2.3").status_code == 302


def test_a_form_from_another_site_is_refused() -> None:
    assert Client(enforce_csrf_checks=True).post(URL, CARLA).status_code == 403
    assert not User.objects.exists()
