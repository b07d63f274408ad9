"""The profile: who I am, what I store, my address, and leaving."""

from __future__ import annotations

import pytest
from django.core.mail import EmailMessage
from django.test import Client
from pytest_django import Settings

from accounts import mail, quota
from accounts.models import ApiToken, User
from tests.conftest import PASSWORD, ClientOf

URL = "/accounts/profile/"
EMAIL = "/accounts/email/"
DELETE = "/accounts/delete/"

pytestmark = pytest.mark.django_db


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """How many bytes each member stores, as some other app would measure it."""
    bytes_of: dict[str, int] = {}
    monkeypatch.setattr(quota, "_measures", [])
    quota.register_usage(lambda user: bytes_of.get(user.user_name, 0))
    return bytes_of


@pytest.mark.parametrize("url", [URL, EMAIL, DELETE, "/accounts/tokens/"])
def test_a_visitor_is_asked_to_sign_in(client: Client, url: str) -> None:
    for response in (client.get(url), client.post(url)):
        assert (response.status_code, response["Location"]) == (302, f"/accounts/login/?next={url}")


def test_a_member_sees_who_they_are_and_nobody_else(alice: User, ben: User, client_of: ClientOf) -> None:
    ApiToken.objects.issue(ben, "ben's backup")
    response = client_of(alice).get(URL)
    page = response.content.decode()
    assert "alice@example.com" in page
    assert "ben" not in page
    assert "no-store" in response["Cache-Control"]


def test_the_storage_bar_shows_what_is_used_of_the_limit(
    alice: User, client_of: ClientOf, stored: dict[str, int]
) -> None:
    alice.quota_bytes = 200 * 1024 * 1024
    alice.save()
    stored |= {"alice": 50 * 1024 * 1024, "ben": 10**12}
    page = client_of(alice).get(URL).content.decode()
    assert 'value="25"' in page
    assert "50.0\xa0MB" in page
    assert "of 200.0\xa0MB used" in page
    assert "Hardly anything more fits" not in page


def test_a_member_is_warned_before_nothing_more_fits(
    alice: User, client_of: ClientOf, stored: dict[str, int], settings: Settings
) -> None:
    settings.QUOTA_BYTES = 1000
    stored["alice"] = 900
    assert "Hardly anything more fits" in client_of(alice).get(URL).content.decode()


@pytest.mark.parametrize(
    ("used", "limit", "percent", "free"),
    [(0, 1000, 0, 1000), (999, 1000, 99, 1), (1000, 1000, 100, 0), (5000, 1000, 100, 0), (0, 0, 100, 0)],
)
def test_usage_is_full_only_when_nothing_more_fits(used: int, limit: int, percent: int, free: int) -> None:
    usage = quota.Usage(used, limit)
    assert (usage.percent, usage.free_bytes) == (percent, free)


def test_a_measure_counts_once_however_often_it_is_registered(alice: User, stored: dict[str, int]) -> None:
    def ten(user: User) -> int:
        return 10

    quota.register_usage(ten)
    quota.register_usage(ten)
    stored["alice"] = 5
    assert quota.usage(alice).used_bytes == 15


def test_the_number_of_queries_does_not_grow_with_the_tokens(
    alice: User, client_of: ClientOf, django_assert_max_num_queries: object
) -> None:
    client = client_of(alice)
    for number in range(10):
        ApiToken.objects.issue(alice, f"token {number}")
    with django_assert_max_num_queries(8):  # type: ignore[operator]  # the fixture's type is private
        assert client.get(URL).status_code == 200


# --- The address ---


def test_a_member_changes_the_address_and_the_old_one_is_told(
    alice: User, client_of: ClientOf, mailoutbox: list[EmailMessage]
) -> None:
    response = client_of(alice).post(EMAIL, {"email": "New@Example.com", "password": PASSWORD}, follow=True)
    assert "Your e-mail address is now New@example.com." in response.content.decode()
    alice.refresh_from_db()
    assert alice.email == "New@example.com"
    mail.wait_until_sent()
    assert [message.to for message in mailoutbox] == [["alice@example.com"]]
    assert "New@example.com" in str(mailoutbox[0].body)


@pytest.mark.parametrize(
    ("email", "password", "sentence"),
    [
        ("new@example.com", "wrong", "This is not your password"),
        ("BEN@example.com", PASSWORD, "Another account uses this e-mail address"),
        ("nowhere", PASSWORD, "Enter a valid email address."),
    ],
)
def test_a_bad_address_or_password_is_explained_and_changes_nothing(
    alice: User, ben: User, client_of: ClientOf, email: str, password: str, sentence: str
) -> None:
    response = client_of(alice).post(EMAIL, {"email": email, "password": password})
    assert sentence in response.content.decode()
    alice.refresh_from_db()
    assert alice.email == "alice@example.com"


def test_without_the_password_nobody_learns_which_addresses_have_accounts(
    alice: User, ben: User, client_of: ClientOf
) -> None:
    response = client_of(alice).post(EMAIL, {"email": "ben@example.com", "password": "wrong"})
    assert "Another account" not in response.content.decode()


def test_the_same_address_in_another_case_is_still_ones_own(alice: User, client_of: ClientOf) -> None:
    client_of(alice).post(EMAIL, {"email": "Alice@example.com", "password": PASSWORD})
    alice.refresh_from_db()
    assert alice.email == "Alice@example.com"


def test_an_open_browser_cannot_be_used_to_guess_the_password(
    alice: User, client_of: ClientOf, settings: Settings
) -> None:
    settings.AXES_FAILURE_LIMIT = 3
    client = client_of(alice)
    for _ in range(3):
        client.post(DELETE, {"password": "wrong"})
    page = client.post(DELETE, {"password": PASSWORD}).content.decode()
    assert "This was tried too often. Wait 15 minutes, then try again." in page
    assert User.objects.filter(pk=alice.pk).exists()


# --- Leaving ---


def test_a_member_deletes_the_account_with_everything_in_it(
    alice: User, ben: User, client_of: ClientOf
) -> None:
    ApiToken.objects.issue(alice, "backup")
    ApiToken.objects.issue(ben, "backup")
    client, elsewhere = client_of(alice), client_of(alice)
    assert "cannot be undone" in client.get(DELETE).content.decode()
    response = client.post(DELETE, {"password": PASSWORD})
    assert (response.status_code, response["Location"]) == (302, "/")
    assert list(User.objects.all()) == [ben]
    assert ApiToken.objects.count() == 1
    assert client.get(URL).status_code == elsewhere.get(URL).status_code == 302


def test_an_account_is_not_deleted_without_the_password(alice: User, client_of: ClientOf) -> None:
    response = client_of(alice).post(DELETE, {"password": "wrong"})
    assert "This is not your password" in response.content.decode()
    assert User.objects.filter(pk=alice.pk).exists()


def test_a_name_is_free_again_when_its_account_is_gone(alice: User, client_of: ClientOf) -> None:
    client_of(alice).post(DELETE, {"password": PASSWORD})
    data = {"user_name": "alice", "email": "alice@example.com", "password": PASSWORD}
    assert Client().post("/accounts/register/", data).status_code == 302
