"""Members in the admin, and the door to it."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.core.management import CommandError, call_command
from django.test import Client
from pytest_django import Settings

from accounts.models import ApiToken, User
from tests.conftest import PASSWORD, ClientOf

USERS = "/admin/accounts/user/"
LOGIN = "/admin/login/"

pytestmark = pytest.mark.django_db


@pytest.fixture
def helper(db: None) -> User:
    """A moderator with the right to change members, and no more."""
    user = User.objects.create_user("helper", "helper@example.com", PASSWORD, is_staff=True)
    user.user_permissions.set(Permission.objects.filter(content_type__app_label="accounts"))
    return user


def act(client: Client, action: str, *users: User) -> str:
    data = {"action": action, "_selected_action": [str(user.pk) for user in users]}
    return client.post(USERS, data, follow=True).content.decode()


@pytest.mark.parametrize("name", ["mo", "mo@example.com"])
def test_a_moderator_signs_in_with_name_or_address(mo: User, client: Client, name: str) -> None:
    response = client.post(f"{LOGIN}?next=/admin/", {"username": name, "password": PASSWORD})
    assert (response.status_code, response["Location"]) == (302, "/admin/")
    assert "PixelLift moderation" in client.get("/admin/").content.decode()


def test_a_member_who_is_no_moderator_stays_out(alice: User, client: Client, client_of: ClientOf) -> None:
    page = client.post(LOGIN, {"username": "alice", "password": PASSWORD}).content.decode()
    assert "Only moderators can sign in here." in page
    assert client_of(alice).get(USERS).status_code == 302


def test_the_door_of_the_admin_is_throttled_too(mo: User, client: Client, settings: Settings) -> None:
    settings.AXES_FAILURE_LIMIT = 3
    for _ in range(2):
        client.post(LOGIN, {"username": "mo", "password": "wrong"})
    client.post("/accounts/login/", {"username": "mo@example.com", "password": "wrong"})
    assert client.post(LOGIN, {"username": "mo", "password": PASSWORD}).status_code == 429


def test_members_are_found_by_name_and_address(mo: User, alice: User, ben: User, client_of: ClientOf) -> None:
    client = client_of(mo)
    for query in ("alice", "ALICE@exa"):
        page = client.get(USERS, {"q": query}).content.decode()
        assert "alice@example.com" in page
        assert "ben@example.com" not in page


def test_members_are_filtered_by_state(mo: User, alice: User, ben: User, client_of: ClientOf) -> None:
    User.objects.filter(pk=ben.pk).update(is_active=False)
    page = client_of(mo).get(USERS, {"is_active__exact": "0"}).content.decode()
    assert "ben@example.com" in page
    assert "alice@example.com" not in page


def test_the_list_asks_the_database_the_same_number_of_times(
    mo: User, client_of: ClientOf, django_assert_max_num_queries: Any
) -> None:
    client = client_of(mo)
    User.objects.bulk_create(
        User(user_name=f"member{number}", email=f"m{number}@example.com", password="!")
        for number in range(49)
    )
    with django_assert_max_num_queries(12):
        assert client.get(USERS).status_code == 200


def test_a_suspended_member_is_signed_out_and_comes_back_when_reactivated(
    mo: User, alice: User, client_of: ClientOf
) -> None:
    of_alice, of_mo = client_of(alice), client_of(mo)
    assert "1 suspended" in act(of_mo, "suspend", alice)
    assert of_alice.get("/accounts/profile/").status_code == 302
    assert "1 may sign in again" in act(of_mo, "reactivate", alice)
    assert Client().post("/accounts/login/", {"username": "alice", "password": PASSWORD}).status_code == 302


def test_moderators_cannot_suspend_themselves(mo: User, client_of: ClientOf) -> None:
    assert "0 suspended" in act(client_of(mo), "suspend", mo)
    mo.refresh_from_db()
    assert mo.is_active


def test_the_page_of_a_member_lists_tokens_to_read_only(mo: User, alice: User, client_of: ClientOf) -> None:
    token, secret = ApiToken.objects.issue(alice, "backup script")
    page = client_of(mo).get(f"{USERS}{alice.pk}/change/").content.decode()
    assert "backup script" in page
    assert secret not in page
    assert token.digest not in page
    assert 'name="api_tokens-0-name"' not in page


def change(client: Client, user: User, **changes: Any) -> str:
    form = client.get(f"{USERS}{user.pk}/change/").context["adminform"].form
    data = {name: value for name, value in form.initial.items() if value not in (None, False, [])}
    inline = {f"api_tokens-{name}": 0 for name in ("TOTAL_FORMS", "INITIAL_FORMS")}
    response = client.post(f"{USERS}{user.pk}/change/", data | inline | changes, follow=True)
    return response.content.decode()


def test_a_moderator_changes_a_members_quota(mo: User, alice: User, client_of: ClientOf) -> None:
    page = change(client_of(mo), alice, quota_bytes=12345)
    assert "was changed successfully" in page
    alice.refresh_from_db()
    assert (alice.quota_bytes, alice.check_password(PASSWORD)) == (12345, True)


def test_a_name_in_use_is_refused_in_any_case_with_one_sentence(
    mo: User, alice: User, ben: User, client_of: ClientOf
) -> None:
    for name in ("ALICE", "alice"):
        assert change(client_of(mo), ben, user_name=name).count("Somebody already uses this name") == 1


def test_a_moderator_makes_a_member(mo: User, client_of: ClientOf) -> None:
    data = {
        "user_name": "carla",
        "email": "carla@example.com",
        "usable_password": "true",
        "password1": PASSWORD,
        "password2": PASSWORD,
    }
    client = client_of(mo)
    assert client.get(f"{USERS}add/").status_code == 200
    assert "was added successfully" in client.post(f"{USERS}add/", data, follow=True).content.decode()
    assert User.objects.get(user_name="carla").check_password(PASSWORD)


def test_a_moderator_sets_a_new_password_for_a_member(mo: User, alice: User, client_of: ClientOf) -> None:
    data = {"usable_password": "true", "password1": "another-one-5", "password2": "another-one-5"}
    client_of(mo).post(f"{USERS}{alice.pk}/password/", data)
    alice.refresh_from_db()
    assert alice.check_password("another-one-5")


def test_a_moderator_deletes_a_member(mo: User, alice: User, client_of: ClientOf) -> None:
    client_of(mo).post(f"{USERS}{alice.pk}/delete/", {"post": "yes"})
    assert not User.objects.filter(pk=alice.pk).exists()


def test_a_helper_cannot_hand_out_rights_or_touch_a_superuser(
    helper: User, mo: User, alice: User, client_of: ClientOf
) -> None:
    client = client_of(helper)
    change(client, alice, is_staff="on", is_superuser="on", quota_bytes=7)
    alice.refresh_from_db()
    assert (alice.is_staff, alice.is_superuser, alice.quota_bytes) == (False, False, 7)
    assert client.post(f"{USERS}{mo.pk}/change/", {}).status_code == 403
    assert client.post(f"{USERS}{mo.pk}/password/", {}).status_code == 403
    assert client.post(f"{USERS}{mo.pk}/delete/", {"post": "yes"}).status_code == 403
    assert "0 suspended" in act(client, "suspend", mo)
    act(client, "delete_selected", mo)
    client.post(USERS, {"action": "delete_selected", "_selected_action": [str(mo.pk)], "post": "yes"})
    mo.refresh_from_db()
    assert mo.is_active


# --- The first moderator ---


def make_moderator(monkeypatch: pytest.MonkeyPatch, name: str, email: str) -> None:
    monkeypatch.setenv("DJANGO_SUPERUSER_USER_NAME", name)
    monkeypatch.setenv("DJANGO_SUPERUSER_EMAIL", email)
    monkeypatch.setenv("DJANGO_SUPERUSER_PASSWORD", PASSWORD)
    call_command("createsuperuser", interactive=False, stdout=StringIO())


def test_the_first_moderator_is_made_by_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    make_moderator(monkeypatch, "olga", "olga@example.com")
    olga = User.objects.get()
    assert olga.is_superuser
    assert Client().post(LOGIN, {"username": "olga", "password": PASSWORD}).status_code == 302


@pytest.mark.parametrize(
    ("name", "email", "sentence"),
    [
        ("olga", "ALICE@example.com", "There is already an account with this e-mail address"),
        ("ALICE", "olga@example.com", "already"),
        ("o", "olga@example.com", "A user name has 3 to 30 letters"),
    ],
)
def test_the_command_says_what_is_wrong(
    alice: User, monkeypatch: pytest.MonkeyPatch, name: str, email: str, sentence: str
) -> None:
    with pytest.raises(CommandError, match=sentence):
        make_moderator(monkeypatch, name, email)
