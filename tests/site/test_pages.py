"""The pages that belong to no app, and what is shown when something goes wrong."""

from __future__ import annotations

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory
from django.urls import URLPattern, URLResolver, get_resolver
from pytest_django import Settings

from accounts.models import User
from pixellift import views
from tests.conftest import ClientOf

PUBLIC = {
    "landing",
    "help",
    "healthz",
    "readyz",
    "metrics",  # has a door of its own
    "schema",
    "api-docs",
    "accounts:login",
    "accounts:logout",
    "accounts:register",
    "accounts:password_reset",
    "accounts:password_reset_done",
    "accounts:password_reset_confirm",
    "accounts:password_reset_complete",
}


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/", "/help/", "/healthz", "/api/schema/", "/api/docs/"])
def test_a_visitor_sees_the_public_pages(client: Client, path: str) -> None:
    assert client.get(path).status_code == 200


@pytest.mark.django_db
def test_members_see_the_landing_page_too(client_of: ClientOf, alice: User) -> None:
    assert client_of(alice).get("/").status_code == 200


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/", "/help/", "/healthz", "/readyz"])
def test_public_pages_refuse_to_be_posted_to(client: Client, path: str) -> None:
    assert client.post(path).status_code == 405


def test_everything_else_asks_for_a_sign_in() -> None:
    """Looks at each view of the site itself, so that a new one cannot be forgotten. The API asks by its permissions."""
    open_views = {
        name
        for name, pattern in _named_views(get_resolver().url_patterns)
        if not getattr(pattern.callback, "login_required", True) and not name.startswith("api:")
    }
    assert open_views - PUBLIC - _of_the_api() == set()


def _of_the_api() -> set[str]:
    api = [p for p in get_resolver().url_patterns if str(p.pattern) == "api/"]
    return {name for name, _ in _named_views(api)}


def _named_views(patterns: list[URLPattern | URLResolver], space: str = "") -> list[tuple[str, URLPattern]]:
    found: list[tuple[str, URLPattern]] = []
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            inner = f"{space}{pattern.namespace}:" if pattern.namespace else space
            if pattern.namespace != "admin":  # has its own door
                found += _named_views(pattern.url_patterns, inner)
        else:
            found.append((f"{space}{pattern.name}", pattern))
    return found


@pytest.mark.django_db
def test_no_page_may_run_scripts_of_others(client: Client) -> None:
    policy = client.get("/").headers["Content-Security-Policy"]
    assert "script-src 'self';" in f"{policy};"
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy


@pytest.mark.django_db
def test_only_the_schema_browser_may_style_inline(client: Client) -> None:
    policy = client.get("/api/docs/").headers["Content-Security-Policy"]
    assert "style-src 'self' 'unsafe-inline'" in policy
    assert "script-src 'self';" in f"{policy};"


@pytest.mark.django_db
def test_a_missing_page_says_so_in_words(client_of: ClientOf, alice: User) -> None:
    answer = client_of(alice).get("/nothing/here/")
    assert answer.status_code == 404
    assert "text/html" in answer.headers["Content-Type"]


@pytest.mark.django_db
def test_a_missing_address_of_the_api_answers_in_json(client: Client) -> None:
    answer = client.get("/api/v1/nothing/")
    assert answer.status_code == 404
    assert answer.json()["detail"].startswith(views.ERRORS[404][0])


@pytest.mark.django_db
@pytest.mark.parametrize("status", [400, 403, 404, 500])
def test_each_error_has_a_page(rf: RequestFactory, alice: User, status: int) -> None:
    request = rf.get("/gallery/")
    request.user = alice
    answer = _error_page(request, status)
    assert answer.status_code == status
    assert b"</html>" in answer.content


@pytest.mark.django_db
def test_a_form_without_its_token_is_told_to_reload() -> None:
    answer = Client(enforce_csrf_checks=True).post("/accounts/login/", {})
    assert answer.status_code == 403
    assert views.ERRORS[403][1] in answer.content.decode()
    assert "site-header" in answer.content.decode()


def _error_page(request: HttpRequest, status: int) -> HttpResponse:
    if status == 500:
        return views.server_error(request)
    handler = {400: views.bad_request, 403: views.permission_denied, 404: views.not_found}[status]
    return handler(request, Exception())


def test_an_error_page_that_cannot_be_drawn_is_said_in_plain_text(
    rf: RequestFactory, settings: Settings
) -> None:
    settings.TEMPLATES = [{**settings.TEMPLATES[0], "DIRS": [], "APP_DIRS": False}]
    answer = views.server_error(rf.get("/gallery/"))
    assert answer.status_code == 500
    assert answer.headers["Content-Type"] == "text/plain"
    assert answer.content.decode().startswith(views.ERRORS[500][0])


def test_an_unknown_host_is_refused(client: Client) -> None:
    assert client.get("/", headers={"host": "evil.example"}).status_code == 400
