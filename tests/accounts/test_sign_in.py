"""Signing in and out."""

from __future__ import annotations

from datetime import timedelta

import pytest
from axes.models import AccessAttempt
from django.test import Client
from django.utils import timezone
from pytest_django import Settings

from accounts.models import User
from tests.conftest import PASSWORD, ClientOf

URL = "/accounts/login/"
LOGOUT = "/accounts/logout/"
WRONG = "This name and this password do not belong together."

pytestmark = pytest.mark.django_db


def signed_in_as(client: Client) -> str | None:
    name: str | None = client.session.get("_auth_user_id")
    return name


@pytest.fixture
def five_tries(settings: Settings) -> None:
    settings.AXES_FAILURE_LIMIT = 5


@pytest.mark.parametrize("name", ["alice", "Alice", "alice@example.com", "ALICE@example.com", " alice "])
def test_a_member_signs_in_with_name_or_address(alice: User, client: Client, name: str) -> None:
    response = client.post(URL, {"username": name, "password": PASSWORD})
    assert (response.status_code, response["Location"]) == (302, "/gallery/")
    assert signed_in_as(client) == str(alice.pk)


def test_the_field_is_long_enough_for_any_address(client: Client) -> None:
    page = client.get(URL).content.decode()
    assert "User name or e-mail" in page
    assert 'maxlength="254"' in page


@pytest.mark.parametrize(
    ("name", "password"),
    [("alice", "wrong"), ("nobody", PASSWORD), ("nobody@example.com", PASSWORD), ("a\0b", PASSWORD)],
)
def test_a_wrong_name_and_a_wrong_password_are_answered_alike(
    alice: User, client: Client, name: str, password: str
) -> None:
    response = client.post(URL, {"username": name, "password": password})
    assert response.status_code == 200
    assert signed_in_as(client) is None
    if "\0" not in name:
        assert WRONG in response.content.decode()


def test_a_suspended_member_is_answered_like_a_stranger(alice: User, client: Client) -> None:
    User.objects.update(is_active=False)
    response = client.post(URL, {"username": "alice", "password": PASSWORD})
    assert WRONG in response.content.decode()
    assert signed_in_as(client) is None


@pytest.mark.parametrize(
    ("wanted", "lands"),
    [
        ("/saved/?page=2", "/saved/?page=2"),
        ("http://testserver/saved/", "http://testserver/saved/"),
        ("https://evil.example/", "/gallery/"),
        ("//evil.example", "/gallery/"),
        ("/\\evil.example", "/gallery/"),
        ("https:evil.example", "/gallery/"),
        ("javascript:alert(1)", "/gallery/"),
        ("\r\nSet-Cookie: a=b", "/gallery/"),
    ],
)
def test_next_leads_to_our_own_pages_only(alice: User, client: Client, wanted: str, lands: str) -> None:
    credentials = {"username": "alice", "password": PASSWORD, "next": wanted}
    assert client.post(URL, credentials)["Location"] == lands


def test_next_travels_from_the_address_through_the_form_and_to_the_sign_up(client: Client) -> None:
    page = client.get(URL, {"next": "/saved/"}).content.decode()
    assert '<input type="hidden" name="next" value="/saved/">' in page
    assert "/accounts/register/?next=/saved/" in page


def test_a_visitor_of_a_closed_page_is_asked_to_sign_in_and_brought_back(client: Client) -> None:
    assert client.get("/accounts/profile/")["Location"] == "/accounts/login/?next=/accounts/profile/"


def test_a_member_who_is_signed_in_is_sent_on(alice: User, client_of: ClientOf) -> None:
    assert client_of(alice).get(URL, {"next": "/saved/"})["Location"] == "/saved/"


def test_a_fragment_asked_for_after_the_session_ended_leads_to_the_whole_page(client: Client) -> None:
    headers = {"HX-Request": "true", "HX-Current-URL": "http://testserver/gallery/?page=2"}
    response = client.get("/accounts/profile/", headers=headers, follow=True)
    assert response["HX-Redirect"] == "/accounts/login/?next=%2Fgallery%2F%3Fpage%3D2"


def test_signing_out_ends_the_session(alice: User, client_of: ClientOf) -> None:
    client = client_of(alice)
    response = client.post(LOGOUT)
    assert (response.status_code, response["Location"]) == (302, "/")
    assert signed_in_as(client) is None


def test_a_link_cannot_sign_anybody_out(alice: User, client_of: ClientOf) -> None:
    client = client_of(alice)
    assert client.get(LOGOUT).status_code == 405
    assert signed_in_as(client) == str(alice.pk)


@pytest.mark.usefixtures("five_tries")
def test_too_many_failures_close_the_door_even_for_the_right_password(alice: User, client: Client) -> None:
    for _ in range(4):
        assert client.post(URL, {"username": "alice", "password": "wrong"}).status_code == 200
    fifth = client.post(URL, {"username": "alice", "password": "wrong"})
    after = client.post(URL, {"username": "alice", "password": PASSWORD})
    for response in (fifth, after):
        assert response.status_code == 429
        assert "Too many sign-ins failed" in response.content.decode()
        assert response["Retry-After"] == "900"
    assert signed_in_as(client) is None


@pytest.mark.usefixtures("five_tries")
def test_name_and_address_count_toward_the_same_lock(alice: User, client: Client) -> None:
    for name in ("alice", "ALICE", "alice@example.com", " Alice@Example.com", "alice"):
        client.post(URL, {"username": name, "password": "wrong"})
    assert client.post(URL, {"username": "alice", "password": PASSWORD}).status_code == 429
    assert client.post(URL, {"username": "alice@example.com", "password": PASSWORD}).status_code == 429


@pytest.mark.usefixtures("five_tries")
def test_a_lock_holds_neither_other_members_nor_other_addresses(
    alice: User, ben: User, client: Client
) -> None:
    for _ in range(5):
        client.post(URL, {"username": "alice", "password": "wrong"})
    assert client.post(URL, {"username": "ben", "password": PASSWORD}).status_code == 302
    elsewhere = Client(REMOTE_ADDR="10.1.2.3")
    assert elsewhere.post(URL, {"username": "alice", "password": PASSWORD}).status_code == 302


@pytest.mark.usefixtures("five_tries")
def test_a_lock_ends_by_itself_and_trying_on_does_not_lengthen_it(alice: User, client: Client) -> None:
    for _ in range(5):
        client.post(URL, {"username": "alice", "password": "wrong"})
    AccessAttempt.objects.update(attempt_time=timezone.now() - timedelta(minutes=14))
    assert client.post(URL, {"username": "alice", "password": PASSWORD}).status_code == 429
    AccessAttempt.objects.update(attempt_time=timezone.now() - timedelta(minutes=16))
    client.cookies.clear()
    assert client.post(URL, {"username": "alice", "password": PASSWORD}).status_code == 302


@pytest.mark.usefixtures("five_tries")
def test_a_successful_sign_in_forgives_the_failures_before_it(alice: User, client: Client) -> None:
    for _ in range(2):
        for _ in range(4):
            client.post(URL, {"username": "alice@example.com", "password": "wrong"})
        assert client.post(URL, {"username": "alice", "password": PASSWORD}).status_code == 302
        client.post(LOGOUT)


def test_a_name_longer_than_any_is_only_wrong(client: Client) -> None:
    assert client.post(URL, {"username": "x" * 5000, "password": "wrong"}).status_code == 200


def test_no_password_is_kept_with_a_failed_sign_in(alice: User, client: Client) -> None:
    client.post(URL, {"username": "alice", "password": "almost-right-1"})
    attempt = AccessAttempt.objects.get()
    assert attempt.username == "alice"
    assert "almost-right-1" not in f"{attempt.post_data}{attempt.get_data}"


def test_one_address_cannot_try_many_names(client: Client, settings: Settings) -> None:
    settings.SIGN_IN_FAILURES_PER_ADDRESS = 3
    for number in range(3):
        assert client.post(URL, {"username": f"name-{number}", "password": "wrong"}).status_code == 200
    assert client.post(URL, {"username": "name-4", "password": "wrong"}).status_code == 429


def test_an_address_that_a_client_made_up_does_not_open_the_door(client: Client, settings: Settings) -> None:
    settings.SIGN_IN_FAILURES_PER_ADDRESS = 1
    client.post(URL, {"username": "a", "password": "b"})
    pretended = {"X-Forwarded-For": "10.9.9.9"}
    assert client.post(URL, {"username": "a", "password": "b"}, headers=pretended).status_code == 429


def test_a_suspended_member_is_out_at_the_next_click(alice: User, client_of: ClientOf) -> None:
    client = client_of(alice)
    assert client.get("/accounts/profile/").status_code == 200
    User.objects.update(is_active=False)
    assert client.get("/accounts/profile/").status_code == 302
