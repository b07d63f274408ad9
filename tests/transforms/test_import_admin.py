"""Staff bring generators in through the admin, see what was in the file, and remove what nothing needs."""

from __future__ import annotations

from html import unescape
from pathlib import Path

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from accounts.models import User
from gallery.models import Image, Status
from tests.conftest import ClientOf
from tests.transforms.conftest import Run
from transforms import imports
from transforms.models import CheckpointImport, ImportState, Job, Operation, State

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("own_models")]
LIST = "admin:transforms_checkpointimport_changelist"
ADD = "admin:transforms_checkpointimport_add"
NAMES = ["<script>a", "<b>b</b>", "&c;", "d"]


@pytest.fixture
def staff(mo: User, client_of: ClientOf) -> Client:
    return client_of(mo)


@pytest.fixture
def installed(mo: User, checkpoint_files: dict[str, bytes], run: Run) -> CheckpointImport:
    content = checkpoint_files["classes"]
    wish = {
        "name": "mine",
        "label": "<script>label",
        "license": "<script>licence",
        "classes": NAMES,
        "file_name": "mine.pkl",
        "bytes": len(content),
    }
    row, _ = imports.begin(mo, wish)
    imports.receive(mo, row.pk, 0, content)
    run(Job.objects.get(operation=Operation.IMPORT))
    run(Job.objects.get(operation=Operation.DIRECTIONS))
    return CheckpointImport.objects.get(pk=row.pk)


def address(name: str, row: CheckpointImport) -> str:
    return reverse(f"admin:transforms_checkpointimport_{name}", args=[row.pk])


def page(client: Client, url: str) -> str:
    answer = client.get(url)
    assert answer.status_code == 200
    return answer.content.decode()


def test_the_upload_page_says_what_it_takes_and_what_it_needs(staff: Client) -> None:
    text = page(staff, reverse(ADD))
    assert "<noscript>" in text
    assert 'data-api="/api/v1/imports/"' in text
    assert "js/checkpoint-upload.js" in text
    assert "ffhq.pkl" in unescape(text)


def test_the_upload_page_lists_what_can_be_gone_on_with(staff: Client, mo: User, alice: User) -> None:
    for user, name in ((mo, "my-own"), (alice, "hers")):
        imports.begin(user, {"name": name, "file_name": "<b>.pkl", "bytes": 5})
    text = page(staff, reverse(ADD))
    assert "my-own" in text
    assert "hers" not in text


def test_pages_run_no_inline_scripts_or_styles(staff: Client, installed: CheckpointImport) -> None:
    for url in (reverse(ADD), address("change", installed), address("remove", installed)):
        text = page(staff, url)
        assert " style=" not in text
        assert " onclick=" not in text


def test_the_page_of_a_generator_shows_what_was_in_its_file(
    staff: Client, installed: CheckpointImport
) -> None:
    text = page(staff, address("change", installed))
    for part in (
        "stylegan2",
        "32 x 32",
        installed.source_sha256,
        installed.generator_sha256,
        "synthesis.b4.const",
        "/generators/mine/sheet/?v=",
        "Contact sheet, components and factors are there.",
    ):
        assert part in text
    assert f"{installed.report['parameters']:,}" in text


def test_what_was_typed_or_read_is_escaped(staff: Client, installed: CheckpointImport) -> None:
    CheckpointImport.objects.filter(pk=installed.pk).update(
        report={
            **installed.report,
            "ignored": ["<script>x"],
            "layers": [["<script>y", [1]]],
            "format": "<script>z",
        },
        error="<script>e",
    )
    for url in (reverse(LIST), address("change", installed), address("remove", installed)):
        text = page(staff, url)
        for name in ("a", "label", "licence", "x", "y", "z", "e"):
            assert f"<script>{name}" not in text
    assert "&lt;script&gt;a, &lt;b&gt;b&lt;/b&gt;" in page(staff, address("change", installed))


def test_its_contact_sheet_can_be_looked_at(staff: Client, installed: CheckpointImport) -> None:
    answer = staff.get("/generators/mine/sheet/")
    assert answer.headers["Content-Type"] == "image/webp"


def test_the_list_says_what_and_who_and_when(
    staff: Client, installed: CheckpointImport, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(10):
        CheckpointImport.objects.create(
            user=installed.user, name=f"n{number}", file_name="a.pkl", bytes_total=5, state=ImportState.FAILED
        )
    with django_assert_max_num_queries(9):
        text = page(staff, reverse(LIST))
    for part in ("mine", installed.report["format"], "32 x 32", "Installed", "mo"):
        assert part in text


def test_a_failed_import_points_to_the_generator_that_the_file_is(
    staff: Client, mo: User, installed: CheckpointImport, checkpoint_files: dict[str, bytes], run: Run
) -> None:
    content = checkpoint_files["classes"]
    row, _ = imports.begin(mo, {"name": "twin", "file_name": "twin.pkl", "bytes": len(content)})
    imports.receive(mo, row.pk, 0, content)
    assert run(row.jobs.get()).state == State.FAILED
    text = page(staff, address("change", row))
    assert "imported before" in text
    assert address("change", installed) in text


def test_an_import_under_way_shows_how_far_it_is_and_can_be_canceled(staff: Client, mo: User) -> None:
    row, _ = imports.begin(mo, {"name": "mine", "file_name": "a.pkl", "bytes": 5})
    assert "0\xa0bytes of 5\xa0bytes" in page(staff, address("change", row))
    imports.receive(mo, row.pk, 0, b"12345")
    text = page(staff, address("change", row))
    assert "data-active" in text
    assert "<progress" in text
    staff.post(address("cancel", row))
    assert CheckpointImport.objects.get().state == ImportState.CANCELED


def test_directions_are_computed_again_from_page_and_list(
    staff: Client, installed: CheckpointImport, run: Run
) -> None:
    staff.post(address("directions", installed))
    job = Job.objects.get(operation=Operation.DIRECTIONS, state=State.QUEUED)
    run(job)
    staff.post(reverse(LIST), {"action": "compute_directions", "_selected_action": [str(installed.pk)]})
    assert CheckpointImport.objects.get().status_directions == Status.QUEUED


def test_a_generator_is_removed_after_a_question(
    staff: Client, installed: CheckpointImport, own_models: Path
) -> None:
    assert "Remove it" in page(staff, address("remove", installed))
    assert (own_models / "mine").exists()
    answer = staff.post(address("remove", installed), follow=True)
    assert "is removed" in answer.content.decode()
    assert not (own_models / "mine").exists()


def test_a_generator_that_pictures_need_is_not_removed_and_says_how_many(
    staff: Client, installed: CheckpointImport, alice: User, own_models: Path
) -> None:
    for name in "ab":
        Image.objects.create(
            user=alice, source=Image.Source.RANDOM, name=name, generator_sha256=installed.generator_sha256
        )
    assert "2 pictures need this generator" in page(staff, address("remove", installed))
    answer = staff.post(address("remove", installed), follow=True)
    assert "2 pictures need this generator" in answer.content.decode()
    assert (own_models / "mine").exists()


def test_a_folder_that_was_taken_away_is_said(
    staff: Client, installed: CheckpointImport, own_models: Path
) -> None:
    (own_models / "mine").rename(own_models.parent / "away")
    assert "not in MODELS_DIR any more" in page(staff, address("change", installed))
    staff.post(address("remove", installed))
    assert CheckpointImport.objects.get().state == ImportState.REMOVED


def test_rows_are_neither_typed_nor_deleted(staff: Client, installed: CheckpointImport) -> None:
    assert staff.post(address("delete", installed)).status_code == 403
    text = page(staff, address("change", installed))
    assert 'name="label"' not in text


def test_anonymous_visitors_and_members_do_not_enter(
    client: Client, alice: User, client_of: ClientOf, installed: CheckpointImport
) -> None:
    for who in (client, client_of(alice)):
        for url in (reverse(LIST), reverse(ADD), address("change", installed), address("remove", installed)):
            assert who.get(url).status_code == 302
        for name in ("directions", "cancel", "discard", "remove"):
            assert who.post(address(name, installed)).status_code == 302
    assert CheckpointImport.objects.get().is_installed


def test_staff_without_the_right_is_refused(
    alice: User, client_of: ClientOf, installed: CheckpointImport
) -> None:
    alice.is_staff = True
    alice.save()
    alice.user_permissions.set(Permission.objects.filter(codename="view_checkpointimport"))
    viewer = client_of(alice)
    assert viewer.get(reverse(ADD)).status_code == 403
    text = page(viewer, address("change", installed))
    assert "Remove generator" not in text
    assert "Compute directions again" not in text
    for name in ("directions", "cancel", "discard", "remove"):
        assert viewer.post(address(name, installed)).status_code == 403


def test_buttons_answer_to_post_only(staff: Client, installed: CheckpointImport) -> None:
    for name in ("directions", "cancel", "discard"):
        assert staff.get(address(name, installed)).status_code == 405
    missing = CheckpointImport(pk="00000000-0000-0000-0000-000000000000")
    assert staff.post(address("directions", missing)).status_code == 404


def test_an_upload_is_discarded_by_its_sender(staff: Client, mo: User) -> None:
    row, _ = imports.begin(mo, {"name": "mine", "file_name": "a.pkl", "bytes": 5})
    staff.post(address("discard", row))
    assert CheckpointImport.objects.get().state == ImportState.CANCELED


def test_the_job_is_on_the_staff_members_own_list(staff: Client, installed: CheckpointImport) -> None:
    text = page(staff, reverse("transforms:jobs"))
    assert "Import “mine” from mine.pkl" in text or "Import “&lt;script&gt;label” from" in text
    assert address("change", installed) in text


def test_the_help_page_tells_everybody_which_models_there_are_to_get(client: Client) -> None:
    text = page(client, reverse("help"))
    for part in ("ffhq.pkl", "lhq1024-snapshot.pkl", "NVIDIA Source Code License", "--name faces"):
        assert part in text
    assert reverse(ADD) not in text


def test_the_help_page_leads_staff_to_the_upload(staff: Client) -> None:
    text = page(staff, reverse("help"))
    assert reverse(ADD) in text
    assert '<details class="catalogue" open>' in text


def test_the_help_page_says_what_is_installed_already(client: Client, own_models: Path) -> None:
    from ganworks.generator import save_generator
    from ganworks.networks.stylegan2 import Generator

    network = Generator(8, 8, 256, num_layers=2, channel_base=1024, channel_max=4)
    file = own_models / "old-churches" / "generator.safetensors"
    save_generator(network, file, source_name="stylegan2-church-config-f.pkl")
    text = page(client, reverse("help"))
    assert "Installed as old-churches" in text
    assert "import_generator stylegan2-church-config-f.pkl" not in text
    assert "import_generator ffhq.pkl" in text
