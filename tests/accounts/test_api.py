"""/api/v1/me/ and /api/v1/tokens/."""

from __future__ import annotations

import uuid
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client
from pytest_django import Settings

from accounts import services
from accounts.models import ApiToken, User
from tests.conftest import ClientOf

ME = "/api/v1/me/"
TOKENS = "/api/v1/tokens/"

pytestmark = pytest.mark.django_db


def program_of(user: User) -> Client:
    _, secret = ApiToken.objects.issue(user, "program")
    return Client(headers={"Authorization": f"Bearer {secret}"})


@pytest.mark.parametrize(("method", "url"), [("get", ME), ("get", TOKENS), ("post", TOKENS)])
def test_a_visitor_is_refused(client: Client, method: str, url: str) -> None:
    response = getattr(client, method)(url)
    assert response.status_code == 401
    assert response["Content-Type"] == "application/json"
    assert response.json()["detail"]


def test_me_says_who_asks_and_how_much_is_stored(
    alice: User, client_of: ClientOf, settings: Settings
) -> None:
    settings.QUOTA_BYTES = 5000
    for client in (client_of(alice), program_of(alice)):
        me = client.get(ME).json()
        assert me.pop("date_joined")
        assert me == {
            "id": str(alice.pk),
            "user_name": "alice",
            "email": "alice@example.com",
            "is_moderator": False,
            "storage": {"used_bytes": 0, "limit_bytes": 5000, "free_bytes": 5000},
        }


def test_me_cannot_be_written_to(alice: User) -> None:
    for method in ("post", "put", "patch", "delete"):
        assert getattr(program_of(alice), method)(ME).status_code == 405


def test_a_token_is_made_with_its_secret_and_listed_without(alice: User, client_of: ClientOf) -> None:
    client = client_of(alice)
    made = client.post(TOKENS, {"name": "backup"}, content_type="application/json")
    assert made.status_code == 201
    assert made["Cache-Control"] == "no-store"
    secret = made.json()["secret"]
    listed = client.get(TOKENS).json()
    assert listed["count"] == 1
    assert listed["results"][0] == {key: value for key, value in made.json().items() if key != "secret"}
    assert Client().get(ME, headers={"Authorization": f"Bearer {secret}"}).status_code == 200


@pytest.mark.parametrize("body", [{}, {"name": ""}, {"name": "x" * 61}, {"name": None}, []])
def test_a_bad_name_is_refused(alice: User, body: Any) -> None:
    response = program_of(alice).post(TOKENS, body, content_type="application/json")
    assert response.status_code == 400
    assert response.json()
    assert ApiToken.objects.count() == 1


def test_there_is_an_end_to_the_number_of_tokens(alice: User) -> None:
    client = program_of(alice)
    for number in range(services.TOKENS_PER_MEMBER - 1):
        ApiToken.objects.issue(alice, f"token {number}")
    response = client.post(TOKENS, {"name": "one more"}, content_type="application/json")
    assert response.status_code == 409
    assert "revoke one" in response.json()["detail"]


def test_a_token_is_revoked(alice: User) -> None:
    token, _ = ApiToken.objects.issue(alice, "old")
    client = program_of(alice)
    assert client.delete(f"{TOKENS}{token.pk}/").status_code == 204
    assert client.delete(f"{TOKENS}{token.pk}/").status_code == 404


def test_somebody_elses_tokens_are_neither_listed_nor_revoked(alice: User, ben: User) -> None:
    token, _ = ApiToken.objects.issue(alice, "backup")
    client = program_of(ben)
    assert [found["name"] for found in client.get(TOKENS).json()["results"]] == ["program"]
    assert client.delete(f"{TOKENS}{token.pk}/").status_code == 404
    assert client.delete(f"{TOKENS}{uuid.uuid4()}/").status_code == 404
    assert ApiToken.objects.filter(pk=token.pk).exists()


def test_a_session_needs_its_csrf_token_and_a_program_does_not(alice: User) -> None:
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(alice, backend="accounts.backends.NameOrEmailBackend")
    assert browser.post(TOKENS, {"name": "stolen"}).status_code == 403
    _, secret = ApiToken.objects.issue(alice, "program")
    program = Client(enforce_csrf_checks=True, headers={"Authorization": f"Bearer {secret}"})
    assert program.post(TOKENS, {"name": "backup"}).status_code == 201


def test_the_list_asks_the_database_the_same_number_of_times(
    alice: User, client_of: ClientOf, django_assert_max_num_queries: Any
) -> None:
    client = client_of(alice)
    for number in range(15):
        ApiToken.objects.issue(alice, f"token {number}")
    with django_assert_max_num_queries(4):
        assert client.get(TOKENS).json()["count"] == 15


def test_the_schema_knows_the_parts_and_their_refusals(db: None) -> None:
    import yaml

    out = StringIO()
    call_command("spectacular", stdout=out)
    schema = yaml.safe_load(out.getvalue())
    me = schema["paths"]["/api/v1/me/"]["get"]
    assert me["operationId"] == "me_retrieve"
    assert me["responses"]["200"]["content"]["application/json"]["schema"] == {
        "$ref": "#/components/schemas/Me"
    }
    make = schema["paths"]["/api/v1/tokens/"]["post"]
    assert set(make["responses"]) == {"201", "400", "401", "409"}
    assert {"token": []} in make["security"]
    assert schema["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
