"""Changing a password, and choosing a new one when it is forgotten."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

import pytest
from axes.models import AccessAttempt
from django.contrib.auth.tokens import PasswordResetTokenGenerator, default_token_generator
from django.core.mail import EmailMessage
from django.test import Client
from pytest_django import Settings

from accounts import mail
from accounts.models import User
from tests.conftest import PASSWORD, ClientOf

CHANGE = "/accounts/password/"
RESET = "/accounts/reset/"
NEW = "entirely-new-7"
CHANGED = {"old_password": PASSWORD, "new_password1": NEW, "new_password2": NEW}

pytestmark = pytest.mark.django_db


def ask_for_a_link(client: Client, address: str, outbox: list[EmailMessage]) -> str:
    """Asks, and returns the path in the mail that came."""
    client.post(RESET, {"email": address})
    mail.wait_until_sent()
    found = re.search(r"http://testserver(/accounts/reset/\S+)", str(outbox[-1].body))
    assert found
    return found[1]


def without_csrf(page: bytes) -> bytes:
    return re.sub(rb'("X-CSRFToken": |csrfmiddlewaretoken" value=)"[^"]*"', b"", page)


# --- Changing it ---


def test_a_member_changes_the_password_and_stays_signed_in(alice: User, client_of: ClientOf) -> None:
    client = client_of(alice)
    assert client.post(CHANGE, CHANGED)["Location"] == "/accounts/profile/"
    alice.refresh_from_db()
    assert alice.check_password(NEW)
    assert client.get("/accounts/profile/").status_code == 200


def test_changing_the_password_ends_the_other_sessions(alice: User, client_of: ClientOf) -> None:
    here, elsewhere = client_of(alice), client_of(alice)
    assert elsewhere.get("/accounts/profile/").status_code == 200
    here.post(CHANGE, CHANGED)
    assert elsewhere.get("/accounts/profile/").status_code == 302


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"old_password": "wrong"}, "Your old password was entered incorrectly."),
        (
            {"new_password2": "something-else-1"},
            "The two password fields didn\N{RIGHT SINGLE QUOTATION MARK}t match.",
        ),
        ({"new_password1": "alice@example", "new_password2": "alice@example"}, "too similar to the e-mail"),
    ],
)
def test_a_bad_change_is_explained(
    alice: User, client_of: ClientOf, changes: dict[str, str], sentence: str
) -> None:
    response = client_of(alice).post(CHANGE, CHANGED | changes)
    assert sentence in response.content.decode()
    alice.refresh_from_db()
    assert alice.check_password(PASSWORD)


def test_an_open_browser_cannot_be_used_to_guess_the_password(
    alice: User, client_of: ClientOf, settings: Settings
) -> None:
    settings.AXES_FAILURE_LIMIT = 3
    client = client_of(alice)
    for _ in range(3):
        assert client.post(CHANGE, CHANGED | {"old_password": "wrong"}).status_code == 200
    assert client.post(CHANGE, CHANGED).status_code == 429
    alice.refresh_from_db()
    assert alice.check_password(PASSWORD)


def test_the_page_is_for_members(client: Client) -> None:
    assert client.get(CHANGE)["Location"] == f"/accounts/login/?next={CHANGE}"


# --- Forgetting it ---


def test_a_link_in_a_mail_sets_a_new_password(
    alice: User, client: Client, mailoutbox: list[EmailMessage]
) -> None:
    path = ask_for_a_link(client, "ALICE@example.com", mailoutbox)
    assert mailoutbox[0].to == ["alice@example.com"]
    assert mailoutbox[0].subject == "Choose a new PixelLift password"
    assert "alice" in str(mailoutbox[0].body)

    form = client.get(path, follow=True)
    page = form.request["PATH_INFO"]
    assert page.endswith("/set-password/"), "the token stays out of the address bar"
    response = client.post(page, {"new_password1": NEW, "new_password2": NEW})
    assert response["Location"] == "/accounts/reset/done/"
    assert client.get("/accounts/reset/done/").status_code == 200
    assert client.post("/accounts/login/", {"username": "alice", "password": NEW}).status_code == 302


def test_a_link_works_once(alice: User, client: Client, mailoutbox: list[EmailMessage]) -> None:
    path = ask_for_a_link(client, alice.email, mailoutbox)
    page = client.get(path, follow=True).request["PATH_INFO"]
    client.post(page, {"new_password1": NEW, "new_password2": NEW})
    again = Client().get(path, follow=True).content.decode()
    assert "This link does not work any more" in again
    assert "new_password1" not in again


def test_a_link_expires(
    alice: User, client: Client, mailoutbox: list[EmailMessage], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = ask_for_a_link(client, alice.email, mailoutbox)
    assert "for 2 hours" in str(mailoutbox[0].body)
    later = datetime.now() + timedelta(hours=2, seconds=5)
    monkeypatch.setattr(PasswordResetTokenGenerator, "_now", lambda self: later)
    assert "This link does not work any more" in client.get(path, follow=True).content.decode()


def test_a_link_dies_with_the_address_it_was_sent_to(alice: User) -> None:
    token = default_token_generator.make_token(alice)
    alice.email = "elsewhere@example.com"
    assert not default_token_generator.check_token(alice, token)


def test_a_made_up_link_is_explained(client: Client) -> None:
    for path in ("/accounts/reset/AAAA/bbbb-cccc/", "/accounts/reset/%00/set-password/"):
        response = client.get(path)
        assert "This link does not work any more" in response.content.decode()


def test_the_answer_does_not_tell_who_has_an_account(
    alice: User, client: Client, mailoutbox: list[EmailMessage]
) -> None:
    known = client.post(RESET, {"email": "alice@example.com"}, follow=True)
    unknown = client.post(RESET, {"email": "nobody@example.com"}, follow=True)
    assert known.redirect_chain == unknown.redirect_chain == [("/accounts/reset/sent/", 302)]
    assert without_csrf(known.content) == without_csrf(unknown.content)
    mail.wait_until_sent()
    assert len(mailoutbox) == 1


def test_a_suspended_member_gets_no_mail(alice: User, client: Client, mailoutbox: list[EmailMessage]) -> None:
    User.objects.update(is_active=False)
    client.post(RESET, {"email": "alice@example.com"})
    mail.wait_until_sent()
    assert mailoutbox == []


def test_one_mailbox_is_not_flooded(alice: User, mailoutbox: list[EmailMessage]) -> None:
    for number in range(8):
        response = Client(REMOTE_ADDR=f"10.0.0.{number}").post(RESET, {"email": "alice@example.com"})
        assert response["Location"] == "/accounts/reset/sent/"
    mail.wait_until_sent()
    assert len(mailoutbox) == 5


def test_one_address_asks_a_limited_number_of_times(client: Client, settings: Settings) -> None:
    settings.PASSWORD_RESETS_PER_HOUR = 2
    for _ in range(2):
        assert client.post(RESET, {"email": "a@example.com"}).status_code == 302
    refused = client.post(RESET, {"email": "a@example.com"})
    assert refused.status_code == 429
    assert "Too many links were asked for" in refused.content.decode()


def test_a_new_password_ends_a_lock_and_all_sessions(
    alice: User, client: Client, client_of: ClientOf, mailoutbox: list[EmailMessage], settings: Settings
) -> None:
    settings.AXES_FAILURE_LIMIT = 2
    elsewhere = client_of(alice)
    for _ in range(2):
        client.post("/accounts/login/", {"username": "alice", "password": "wrong"})
    assert AccessAttempt.objects.exists()
    page = client.get(ask_for_a_link(client, alice.email, mailoutbox), follow=True).request["PATH_INFO"]
    client.post(page, {"new_password1": NEW, "new_password2": NEW})
    assert client.post("/accounts/login/", {"username": "alice", "password": NEW}).status_code == 302
    assert elsewhere.get("/accounts/profile/").status_code == 302


def test_a_mail_server_that_fails_does_not_fail_the_page(
    alice: User, client: Client, settings: Settings
) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT, settings.EMAIL_TIMEOUT = "127.0.0.1", 1, 2
    assert client.post(RESET, {"email": "alice@example.com"}).status_code == 302
    mail.wait_until_sent()


def test_the_sent_page_says_where_mails_go_when_there_is_no_mail_server(
    client: Client, settings: Settings
) -> None:
    url = "/accounts/reset/sent/"
    assert "prints them in the terminal" not in client.get(url).content.decode()
    settings.EMAIL_BACKEND = "django.core.mail.backends.console.EmailBackend"
    assert "prints them in the terminal" in client.get(url).content.decode()
