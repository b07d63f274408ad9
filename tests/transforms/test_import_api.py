"""Staff send a checkpoint through the API; nobody else does, and nobody into somebody else's upload."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from accounts.models import ApiToken, User
from tests.conftest import ClientOf
from tests.transforms.conftest import Run
from transforms import slices
from transforms.engine import engine
from transforms.models import CheckpointImport, ImportState, Job, Operation, State

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("own_models")]
LIST = "/api/v1/imports/"
SLICE = 200_000
Allow = Callable[..., User]


@pytest.fixture(autouse=True)
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "SLICE_BYTES", SLICE)


@pytest.fixture
def allow() -> Allow:
    """Make somebody staff with these rights only."""

    def make(user: User, *rights: str, staff: bool = True) -> User:
        user.is_staff = staff
        user.save()
        names = [f"{right}_checkpointimport" for right in rights]
        user.user_permissions.set(Permission.objects.filter(codename__in=names))
        return User.objects.get(pk=user.pk)

    return make


@pytest.fixture
def staff(mo: User, client_of: ClientOf) -> Client:
    return client_of(mo)


def announce(client: Client, content: bytes, **changes: Any) -> Any:
    wish = {"name": "mine", "file_name": "mine.pkl", "bytes": len(content), **changes}
    return client.post(LIST, wish, content_type="application/json")


def put(client: Client, row: dict[str, Any] | str, offset: int, data: bytes) -> Any:
    pk = row if isinstance(row, str) else row["id"]
    return client.put(f"{LIST}{pk}/slices/{offset}/", data, content_type="application/octet-stream")


def test_a_file_is_announced_sent_and_imported(
    staff: Client, mo: User, checkpoint_files: dict[str, bytes], run: Run
) -> None:
    content = checkpoint_files["classes"]
    answer = announce(staff, content, label="Mine", classes=list("abcd"))
    assert answer.status_code == 201
    row = answer.json()
    assert (row["state"], row["bytes_received"], row["slice_bytes"], row["user"]) == (
        "uploading",
        0,
        SLICE,
        "mo",
    )
    while row["state"] == "uploading":
        offset = row["bytes_received"]
        answer = put(staff, row, offset, content[offset : offset + row["slice_bytes"]])
        assert answer.status_code == 200
        row = answer.json()
    assert row["state"] == "importing"
    job = Job.objects.get(operation=Operation.IMPORT)
    assert staff.get(f"/api/v1/jobs/{job.pk}/").json()["checkpoint_import"] == row["id"]
    assert run(job).state == State.SUCCEEDED
    row = staff.get(f"{LIST}{row['id']}/").json()
    assert (row["state"], row["report"]["c_dim"]) == ("installed", 4)
    detail = staff.get("/api/v1/generators/mine/").json()
    assert (detail["label"], detail["classes"]) == ("Mine", list("abcd"))
    assert (detail["architecture"], detail["picture_size"]) == ("stylegan2", [32, 32])
    assert staff.post(f"{LIST}{row['id']}/directions/").status_code == 202
    assert staff.delete(f"{LIST}{row['id']}/").status_code == 409
    Job.objects.all().delete()
    assert staff.delete(f"{LIST}{row['id']}/").status_code == 204
    assert "mine" not in {info.name for info in engine().generators()}


def test_a_token_of_staff_will_do(mo: User, checkpoint_files: dict[str, bytes]) -> None:
    _, token = ApiToken.objects.issue(mo, "script")
    client = Client(headers={"Authorization": f"Bearer {token}"})
    content = checkpoint_files["plain"]
    row = announce(client, content).json()
    assert put(client, row, 0, content[:SLICE]).status_code == 200


def test_who_is_out_of_step_is_told_where_to_go_on(staff: Client) -> None:
    content = b"x" * (2 * SLICE)
    row = announce(staff, content).json()
    put(staff, row, 0, content[:SLICE])
    for offset in (0, 5, 2 * SLICE, 999_999_999_999_999):
        answer = put(staff, row, offset, content[:SLICE])
        assert answer.status_code == 409
        assert answer.json()["bytes_received"] == SLICE
        assert str(SLICE) in answer.json()["detail"]


def test_an_upload_that_was_interrupted_goes_on(staff: Client) -> None:
    content = b"x" * (2 * SLICE)
    row = announce(staff, content).json()
    put(staff, row, 0, content[:SLICE])
    answer = announce(staff, content)
    assert answer.status_code == 200
    assert (answer.json()["id"], answer.json()["bytes_received"]) == (row["id"], SLICE)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"name": "../x"}, "name"),
        ({"name": ""}, "name"),
        ({"name": "portraits"}, "name"),
        ({"bytes": 0}, "bytes"),
        ({"bytes": 2**60}, "bytes"),
        ({"bytes": "many"}, "bytes"),
        ({"file_name": "x" * 300}, "file_name"),
        ({"classes": "a"}, "classes"),
        ({"classes": [""]}, "classes"),
        ({"classes": [["a"]]}, "classes"),
        ({"label": "x" * 81}, "label"),
        ({"license": "x" * 301}, "license"),
    ],
)
def test_what_is_announced_wrongly_is_refused_at_its_field(
    staff: Client, changes: dict[str, Any], field: str
) -> None:
    answer = announce(staff, b"x", **changes)
    assert answer.status_code == 400
    assert list(answer.json()) == [field]
    assert not CheckpointImport.objects.exists()


@pytest.mark.parametrize("length", [0, 1, SLICE + 1, SLICE * 3])
def test_a_slice_of_another_size_is_refused(staff: Client, length: int) -> None:
    row = announce(staff, b"x" * (2 * SLICE)).json()
    assert put(staff, row, 0, b"x" * length).status_code == 400
    assert CheckpointImport.objects.get().bytes_received == 0


def test_a_slice_must_be_bytes(staff: Client) -> None:
    row = announce(staff, b"x" * 5).json()
    address = f"{LIST}{row['id']}/slices/0/"
    assert staff.put(address, {"a": 1}, content_type="application/json").status_code == 415


@pytest.mark.parametrize("offset", ["-1", "x", "1e3", "9" * 16])
def test_an_offset_must_be_a_number(staff: Client, offset: str) -> None:
    row = announce(staff, b"x" * 5).json()
    answer = staff.put(
        f"{LIST}{row['id']}/slices/{offset}/", b"x" * 5, content_type="application/octet-stream"
    )
    assert answer.status_code == 404


def test_a_full_disk_is_the_sites_fault(staff: Client, settings: Any) -> None:
    settings.CHECKPOINT_MAX_BYTES = 2**50
    answer = announce(staff, b"", bytes=2**50)
    assert answer.status_code == 507
    assert "disk" in answer.json()["detail"]


def test_anonymous_visitors_and_members_do_not_import(
    client: Client, alice: User, client_of: ClientOf
) -> None:
    pk = "00000000-0000-0000-0000-000000000000"
    for who, status in ((client, 401), (client_of(alice), 403)):
        assert announce(who, b"x").status_code == status
        assert put(who, pk, 0, b"x").status_code == status
        assert who.get(LIST).status_code == status
        assert who.get(f"{LIST}{pk}/").status_code == status
        assert who.post(f"{LIST}{pk}/directions/").status_code == status
        assert who.delete(f"{LIST}{pk}/").status_code == status


def test_each_right_opens_its_own_door_only(alice: User, client_of: ClientOf, allow: Allow) -> None:
    viewer = client_of(allow(alice, "view"))
    assert viewer.get(LIST).status_code == 200
    assert announce(viewer, b"x").status_code == 403
    sender = client_of(allow(alice, "add"))
    assert sender.get(LIST).status_code == 403
    row = announce(sender, b"xy").json()
    assert sender.delete(f"{LIST}{row['id']}/").status_code == 204
    no_staff = client_of(allow(alice, "add", "view", staff=False))
    assert announce(no_staff, b"x").status_code == 403


def test_the_upload_of_another_is_not_there(
    staff: Client, alice: User, client_of: ClientOf, allow: Allow
) -> None:
    row = announce(staff, b"x" * 5).json()
    other = client_of(allow(alice, "add"))
    assert put(other, row, 0, b"x" * 5).status_code == 404
    assert other.delete(f"{LIST}{row['id']}/").status_code == 403
    assert CheckpointImport.objects.get().state == ImportState.UPLOADING


def test_who_only_imports_does_not_remove(
    alice: User,
    client_of: ClientOf,
    allow: Allow,
    checkpoint_files: dict[str, bytes],
    run: Run,
    own_models: Path,
) -> None:
    sender = client_of(allow(alice, "add"))
    content = checkpoint_files["plain"]
    row = announce(sender, content).json()
    for offset in range(0, len(content), SLICE):
        put(sender, row, offset, content[offset : offset + SLICE])
    assert run(Job.objects.get()).state == State.SUCCEEDED
    Job.objects.all().delete()
    assert sender.delete(f"{LIST}{row['id']}/").status_code == 403
    assert (own_models / "mine").is_dir()


def test_a_foreign_site_cannot_send_in_staffs_name(mo: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(mo, backend="accounts.backends.NameOrEmailBackend")
    assert announce(client, b"x").status_code == 403
    row = CheckpointImport.objects.create(user=mo, name="mine", file_name="a.pkl", bytes_total=1)
    assert put(client, str(row.pk), 0, b"x").status_code == 403


def test_the_list_asks_a_constant_number_of_queries(
    staff: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(8):
        announce(staff, b"x", name=f"n{number}")
    with django_assert_max_num_queries(5):
        assert len(staff.get(LIST).json()["results"]) == 8


def test_the_slices_are_served_by_no_address(staff: Client) -> None:
    row = announce(staff, b"x" * (2 * SLICE)).json()
    put(staff, row, 0, b"x" * SLICE)
    for address in (f"/media/{slices.folder_of(row['id'])}/{0:014d}", f"{LIST}{row['id']}/slices/0/"):
        assert staff.get(address).status_code in (404, 405)


def test_the_list_is_the_admins_address_too() -> None:
    assert reverse("checkpoint-import-list") == LIST
