"""API tokens: made, shown once, used, revoked."""

from __future__ import annotations

import json
import re
import uuid
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from accounts import services
from accounts.models import ApiToken, User
from tests.conftest import ClientOf

URL = "/accounts/tokens/"
ME = "/api/v1/me/"
HTMX = {"HX-Request": "true"}

pytestmark = pytest.mark.django_db


def secret_in(page: str) -> str:
    found = re.search(r"plt_[\w-]{43}", page)
    assert found
    return found[0]


def ask_with(secret: str, word: str = "Bearer") -> int:
    return Client().get(ME, headers={"Authorization": f"{word} {secret}"}).status_code


def test_a_new_token_is_shown_once_and_works(alice: User, client_of: ClientOf) -> None:
    client = client_of(alice)
    response = client.post(URL, {"name": "backup"})
    secret = secret_in(response.content.decode())
    assert "no-store" in response["Cache-Control"]
    assert ask_with(secret) == ask_with(secret, "Token") == 200
    later = client.get("/accounts/profile/").content.decode()
    assert secret not in later
    assert "backup" in later
    assert secret[-4:] in later


def test_only_a_hash_of_the_secret_is_stored(alice: User) -> None:
    token, secret = ApiToken.objects.issue(alice, "backup")
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM accounts_apitoken")
        stored = str(cursor.fetchall())
    assert secret not in stored
    assert secret[4:-4] not in stored
    assert token.digest in stored


def test_with_htmx_only_the_section_comes_back(alice: User, client_of: ClientOf) -> None:
    response = client_of(alice).post(URL, {"name": "backup"}, headers=HTMX)
    page = response.content.decode()
    assert "<html" not in page
    assert secret_in(page)
    assert "HX-Request" in response["Vary"]


def test_a_token_needs_a_name(alice: User, client_of: ClientOf) -> None:
    client = client_of(alice)
    assert "This field is required." in client.post(URL, {"name": " "}).content.decode()
    assert client.post(URL, {"name": "x" * 61}, headers=HTMX).status_code == 422
    assert not ApiToken.objects.exists()


def test_a_name_is_text_and_not_markup(alice: User, client_of: ClientOf) -> None:
    page = client_of(alice).post(URL, {"name": "<script>alert(1)</script>"}).content.decode()
    assert "<script>alert" not in page


def test_there_is_an_end_to_the_number_of_tokens(alice: User, client_of: ClientOf) -> None:
    for number in range(services.TOKENS_PER_MEMBER):
        ApiToken.objects.issue(alice, f"token {number}")
    page = client_of(alice).post(URL, {"name": "one more"}).content.decode()
    assert "You already have 20 API tokens: revoke one" in page
    assert ApiToken.objects.count() == services.TOKENS_PER_MEMBER


def test_a_revoked_token_is_refused_at_once(alice: User, client_of: ClientOf) -> None:
    token, secret = ApiToken.objects.issue(alice, "backup")
    assert ask_with(secret) == 200
    assert client_of(alice).post(f"{URL}{token.pk}/delete/")["Location"] == "/accounts/profile/"
    assert ask_with(secret) == 401


def test_revoking_with_htmx_shows_the_list_and_a_toast(alice: User, client_of: ClientOf) -> None:
    token, _ = ApiToken.objects.issue(alice, "old laptop")
    response = client_of(alice).post(f"{URL}{token.pk}/delete/", headers=HTMX)
    assert "old laptop" not in response.content.decode()
    assert json.loads(response["HX-Trigger"])["toast"]["level"] == "success"


def test_somebody_elses_token_is_not_there(alice: User, ben: User, client_of: ClientOf) -> None:
    token, secret = ApiToken.objects.issue(alice, "backup")
    assert client_of(ben).post(f"{URL}{token.pk}/delete/").status_code == 404
    assert client_of(ben).post(f"{URL}{uuid.uuid4()}/delete/").status_code == 404
    assert ask_with(secret) == 200


def test_tokens_are_not_made_or_revoked_by_following_a_link(alice: User, client_of: ClientOf) -> None:
    token, _ = ApiToken.objects.issue(alice, "backup")
    for url in (URL, f"{URL}{token.pk}/delete/"):
        assert client_of(alice).get(url).status_code == 405


@pytest.mark.parametrize("header", ["Bearer", "Bearer plt_wrong", "Bearer a b", "Token \xff\xfe", "Bearer "])
def test_a_wrong_token_is_refused_with_a_sentence(db: None, header: str) -> None:
    response = Client().get(ME, headers={"Authorization": header})
    assert response.status_code == 401
    assert response.json()["detail"].startswith("This API token is not valid")
    assert response["WWW-Authenticate"].startswith("Bearer")


def test_the_token_of_a_suspended_member_is_refused(alice: User) -> None:
    _, secret = ApiToken.objects.issue(alice, "backup")
    User.objects.update(is_active=False)
    assert ask_with(secret) == 401


def test_the_last_use_is_remembered_to_five_minutes(alice: User) -> None:
    token, secret = ApiToken.objects.issue(alice, "backup")
    ask_with(secret)
    token.refresh_from_db()
    first = token.last_used_at
    assert first is not None
    ask_with(secret)
    token.refresh_from_db()
    assert token.last_used_at == first
    ApiToken.objects.update(last_used_at=timezone.now() - timedelta(minutes=6))
    ask_with(secret)
    token.refresh_from_db()
    assert token.last_used_at > first
