"""Backups are made, verified and really restored, on whichever database the tests run."""

from __future__ import annotations

import io
import json
import os
import secrets
import subprocess
import sys
import tarfile
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone
from pytest_django import Settings

from accounts.models import User
from gallery.models import Image, SavedImage
from pixellift import archive, databases
from tests.conftest import PASSWORD
from tests.server import ROOT, environment
from tests.site.archives import rebuild, with_stranger
from transforms.models import CheckpointImport, ImportState, Job, Operation, State
from transforms.presence import JOBS, SignOfLife

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(300)]


@pytest.fixture(autouse=True)
def data(settings: Settings, tmp_path: Path) -> Path:
    """A data folder and models of its own for each test."""
    settings.DATA_DIR = tmp_path / "data"
    settings.MODELS_DIR = tmp_path / "data" / "models"
    settings.DATA_DIR.mkdir()
    return tmp_path / "data"


@pytest.fixture
def picture(alice: User) -> Image:
    """One with a file of some size, so that more than one block is copied."""
    image = Image(user=alice, source=Image.Source.UPLOAD, name="Beach “blue”", mime_type="image/png")
    image.file.save("original.png", ContentFile(os.urandom(archive.BLOCK_BYTES * 3 + 17)), save=False)
    image.thumbnail.save("thumbnail.webp", ContentFile(os.urandom(1000)), save=False)
    image.save()
    return image


@pytest.fixture
def site(alice: User, ben: User, picture: Image) -> dict[str, bytes]:
    """Members, pictures, jobs, and a checkpoint on its way in. Gives the files that a backup must hold."""
    saved = SavedImage(user=alice, parent_image=picture, name="Kept", recipe={"version": 1})
    saved.file.save("saved.png", ContentFile(b"saved"), save=False)
    saved.save()
    for state in State:
        Job.objects.create(user=ben, operation=Operation.SAVE, state=state, title=state, attempt=1)
    default_storage.save("probes/left", ContentFile(b"of no use"))
    default_storage.save("checkpoints/slice", ContentFile(b"of no use"))
    default_storage.save("images/.writing-abc", ContentFile(b"half"))
    return {
        str(name): default_storage.open(str(name)).read()
        for name in (picture.file.name, picture.thumbnail.name, saved.file.name)
    }


def media_files(media: Path) -> dict[str, bytes]:
    return {
        path.relative_to(media).as_posix(): path.read_bytes() for path in media.rglob("*") if path.is_file()
    }


def run(name: str, *args: object, **options: Any) -> str:
    out = io.StringIO()
    call_command(name, *map(str, args), stdout=out, **options)
    return out.getvalue()


def refused(name: str, *args: object, **options: Any) -> str:
    with pytest.raises(CommandError) as refusal:
        run(name, *args, **options)
    text = str(refusal.value)
    assert text.endswith(".")
    return text


def forget_everything(media: Path) -> None:
    """The machine is lost: rows and files."""
    Image.objects.all().delete()
    User.objects.all().delete()
    CheckpointImport.objects.all().delete()
    for path in media.rglob("*"):
        if path.is_file():
            path.unlink()


def names_in(path: Path) -> list[str]:
    with tarfile.open(path) as tar:
        return tar.getnames()


# --- There and back -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["tar", "tar.gz"])
def test_what_was_lost_comes_back_byte_for_byte(
    site: dict[str, bytes], media: Path, tmp_path: Path, ending: str, alice: User, picture: Image
) -> None:
    file = tmp_path / f"site.{ending}"
    before = databases.live_counts()
    said = run("backup", file)
    assert f"{file} is whole" in said
    forget_everything(media)
    assert not User.objects.exists()
    said = run("restore", file)
    assert "Restored and compared" in said
    assert databases.live_counts() == before
    assert media_files(media) == site
    again = User.objects.get(user_name="alice")
    assert again.pk == alice.pk
    assert again.check_password(PASSWORD)
    assert Image.objects.get().name == picture.name
    assert Image.objects.get().file.read() == site[picture.file.name]


def test_work_that_ran_waits_again(site: dict[str, bytes], media: Path, tmp_path: Path) -> None:
    token = uuid.uuid4()
    Job.objects.filter(state=State.RUNNING).update(
        lease_token=token, worker="gone/1", lease_until=timezone.now()
    )
    run("backup", tmp_path / "site.tar")
    forget_everything(media)
    run("restore", tmp_path / "site.tar")
    jobs = {job.title: job for job in Job.objects.all()}
    assert {title: job.state for title, job in jobs.items()} == {
        **{state.value: state.value for state in State},
        "running": "queued",
    }
    assert (jobs["running"].lease_token, jobs["running"].worker, jobs["running"].attempt) == (None, "", 0)


def test_an_import_whose_upload_is_not_in_the_backup_ends_with_a_sentence(
    alice: User, media: Path, tmp_path: Path
) -> None:
    sending = CheckpointImport.objects.create(user=alice, name="a", file_name="a.pkl", bytes_total=9)
    reading = CheckpointImport.objects.create(
        user=alice, name="b", file_name="b.pkl", bytes_total=9, state=ImportState.IMPORTING
    )
    Job.objects.create(user=alice, operation=Operation.IMPORT, checkpoint_import=reading)
    run("backup", tmp_path / "site.tar")
    forget_everything(media)
    run("restore", tmp_path / "site.tar")
    job = Job.objects.get()
    assert (job.state, "Upload the file again" in job.error) == (State.FAILED, True)
    assert CheckpointImport.objects.get(pk=reading.pk).state == ImportState.FAILED
    assert CheckpointImport.objects.get(pk=sending.pk).state == ImportState.CANCELED


def test_models_and_the_key_come_along_if_asked_for(
    site: dict[str, bytes], data: Path, media: Path, tmp_path: Path
) -> None:
    weights = data / "models" / "faces" / "generator.safetensors"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"weights")
    (data / "models" / ".drafts").mkdir()
    (data / "models" / ".drafts" / "half").write_bytes(b"half")
    (data / "secret_key").write_text("k" * 64)
    run("backup", tmp_path / "all.tar", with_models=True, with_secrets=True)
    run("backup", tmp_path / "plain.tar")
    assert not [name for name in names_in(tmp_path / "plain.tar") if name.startswith(("models", "secrets"))]
    forget_everything(media)
    weights.unlink()
    (data / "secret_key").write_text("another" * 9)
    run("restore", tmp_path / "all.tar")
    assert weights.read_bytes() == b"weights"
    assert (data / "secret_key").read_text() == "another" * 9
    run("restore", tmp_path / "all.tar", force=True, with_secrets=True)
    assert (data / "secret_key").read_text() == "k" * 64
    assert (data / "secret_key").stat().st_mode & 0o777 == 0o600


def test_a_model_that_is_another_one_is_not_replaced_by_chance(data: Path, tmp_path: Path) -> None:
    weights = data / "models" / "faces" / "generator.safetensors"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"weights")
    run("backup", tmp_path / "site.tar", with_models=True)
    weights.write_bytes(b"others!")
    assert str(weights) in refused("restore", tmp_path / "site.tar")
    assert weights.read_bytes() == b"others!"
    run("restore", tmp_path / "site.tar", force=True)
    assert weights.read_bytes() == b"weights"


def test_a_link_among_the_models_leads_nowhere(data: Path, tmp_path: Path) -> None:
    (data / "models" / "faces").mkdir(parents=True)
    (data / "models" / "faces" / "generator.safetensors").write_bytes(b"weights")
    run("backup", tmp_path / "site.tar", with_models=True)
    (data / "models" / "faces" / "generator.safetensors").unlink()
    (data / "models" / "faces").rmdir()
    (tmp_path / "elsewhere").mkdir()
    (data / "models" / "faces").symlink_to(tmp_path / "elsewhere")
    assert "leads out of" in refused("restore", tmp_path / "site.tar", force=True)
    assert list((tmp_path / "elsewhere").iterdir()) == []


# --- Making one ---------------------------------------------------------------------------------------------


def test_a_backup_holds_what_it_says(site: dict[str, bytes], tmp_path: Path) -> None:
    run("backup", tmp_path / "site.tar")
    names = names_in(tmp_path / "site.tar")
    assert names[0] == databases.engine().member
    assert names[-2:] == [archive.MEMBERS, archive.MANIFEST]
    assert sorted(names[1:-2]) == sorted(f"media/{name}" for name in site)
    with tarfile.open(tmp_path / "site.tar") as tar:
        manifest = json.load(tar.extractfile(archive.MANIFEST))
    assert manifest["tables"]["transforms_job"] == len(State)
    assert manifest["files"] == {"database": 1, "media": 3, "models": 0, "secrets": 0}
    assert manifest["engine"] == connection.vendor


def test_only_its_owner_may_read_it_and_nothing_else_is_left(site: dict[str, bytes], tmp_path: Path) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    run("backup", folder / "site.tar")
    assert [path.name for path in folder.iterdir()] == ["site.tar"]
    assert (folder / "site.tar").stat().st_mode & 0o777 == 0o600


def test_an_earlier_backup_is_never_overwritten(alice: User, tmp_path: Path) -> None:
    (tmp_path / "site.tar").write_bytes(b"precious")
    assert "is there already" in refused("backup", tmp_path / "site.tar")
    assert (tmp_path / "site.tar").read_bytes() == b"precious"


def test_a_folder_that_is_not_there_is_named(alice: User, tmp_path: Path) -> None:
    assert "cannot be made (No such file" in refused("backup", tmp_path / "nowhere" / "site.tar")


def test_a_picture_that_is_missing_is_told(
    site: dict[str, bytes], media: Path, picture: Image, tmp_path: Path
) -> None:
    (media / picture.file.name).unlink()
    said = run("backup", tmp_path / "site.tar")
    assert f"1 files that rows speak of are not there, for example {picture.file.name}." in said
    assert "is whole" in said


def test_rows_that_come_while_it_is_made_are_not_in_it(
    site: dict[str, bytes], media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the database holds is of one moment, also where the counting comes after the copying."""
    before = User.objects.count()
    count = databases.count

    def count_later(snapshot: databases.Snapshot) -> dict[str, int]:
        add_member_elsewhere()
        return count(snapshot)

    monkeypatch.setattr(databases, "count", count_later)
    run("backup", tmp_path / "site.tar")
    monkeypatch.undo()
    assert User.objects.count() == before + 1
    run("restore", tmp_path / "site.tar", force=True)
    assert User.objects.count() == before


def add_member_elsewhere() -> None:
    """As another process would: over a connection of its own."""
    import threading

    def add() -> None:
        User.objects.create_user("late", "late@example.com", "x")
        connection.close()

    thread = threading.Thread(target=add)
    thread.start()
    thread.join()


# --- When not to restore ------------------------------------------------------------------------------------


def test_a_site_that_somebody_uses_is_not_replaced_by_chance(site: dict[str, bytes], tmp_path: Path) -> None:
    run("backup", tmp_path / "site.tar")
    User.objects.create_user("cleo", "cleo@example.com", "x")
    assert "not empty" in refused("restore", tmp_path / "site.tar")
    assert User.objects.filter(user_name="cleo").exists()
    run("restore", tmp_path / "site.tar", force=True)
    assert not User.objects.filter(user_name="cleo").exists()


def test_nothing_is_restored_while_workers_run(media: Path, tmp_path: Path) -> None:
    run("backup", tmp_path / "site.tar")
    SignOfLife(JOBS, "gpu-1", 7).beat()
    assert "gpu-1/7" in refused("restore", tmp_path / "site.tar")


def test_a_backup_of_a_newer_version_is_refused(alice: User, tmp_path: Path) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO django_migrations (app, name, applied) VALUES ('gallery', '9999_future', CURRENT_TIMESTAMP)"
        )
    try:
        run("backup", tmp_path / "site.tar")
        assert "gallery.9999_future" in refused("restore", tmp_path / "site.tar", force=True)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM django_migrations WHERE name = '9999_future'")


def test_a_failed_restore_leaves_the_database_as_it_was(
    site: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What lies about the database inside is found too late for the checks before: the dump itself is broken."""
    run("backup", tmp_path / "site.tar")
    User.objects.create_user("cleo", "cleo@example.com", "x")
    engine = type(databases.engine())
    monkeypatch.setattr(engine, "check", lambda *args: None)
    dump = b"SQLite format 3\0 and then nonsense" * 400
    rebuilt = rebuild(
        tmp_path / "site.tar", lambda name, content: dump if name.startswith("database/") else content
    )
    refused("restore", rebuilt, force=True)
    assert User.objects.filter(user_name="cleo").exists()


# --- Damage and malice: what an archive alone shows is in test_archive -------------------------------------


@pytest.fixture
def made(site: dict[str, bytes], tmp_path: Path) -> Path:
    run("backup", tmp_path / "site.tar")
    return tmp_path / "site.tar"


def test_a_whole_backup_is_found_whole(made: Path) -> None:
    assert "is whole" in run("backup", made, verify=True)


def test_a_single_changed_bit_is_found_out(made: Path, site: dict[str, bytes]) -> None:
    content = bytearray(made.read_bytes())
    place = content.index(max(site.values(), key=len)[:64])
    content[place] ^= 1
    made.write_bytes(content)
    assert "damaged" in refused("backup", made, verify=True)
    assert "damaged" in refused("restore", made, force=True)


def test_nothing_is_written_for_an_archive_that_cannot_be_trusted(made: Path, tmp_path: Path) -> None:
    strange = with_stranger(made, "media/../../outside")
    before = sorted(tmp_path.rglob("*"))
    User.objects.create_user("cleo", "cleo@example.com", "x")
    assert "cannot be trusted" in refused("restore", strange, force=True)
    assert sorted(tmp_path.rglob("*")) == before
    assert User.objects.filter(user_name="cleo").exists()


def test_rows_that_the_manifest_does_not_know_are_refused_before_anything_is_touched(
    made: Path, tmp_path: Path
) -> None:
    def change(name: str, content: bytes) -> bytes:
        if name != archive.MANIFEST:
            return content
        manifest = json.loads(content)
        manifest["tables"] |= {"accounts_user": 17, "no_such_table": 1}
        return json.dumps(manifest).encode()

    cleo = User.objects.create_user("cleo", "cleo@example.com", "x")
    said = refused("restore", rebuild(made, change), force=True)
    assert ("accounts_user has" if connection.vendor == "sqlite" else "no_such_table") in said
    assert User.objects.filter(pk=cleo.pk).exists()


def test_a_key_under_another_name_is_refused(made: Path, tmp_path: Path, data: Path) -> None:
    (data / "secret_key").write_text("k" * 64)
    run("backup", tmp_path / "key.tar", with_secrets=True)
    target = with_stranger(tmp_path / "key.tar", "secrets/pixellift.sqlite3")
    assert "cannot be trusted" in refused("restore", target, force=True, with_secrets=True)


def test_a_backup_of_another_kind_of_database_is_refused(made: Path, tmp_path: Path) -> None:
    def change(name: str, content: bytes) -> bytes:
        if name == archive.MANIFEST:
            return json.dumps({**json.loads(content), "engine": "oracle"}).encode()
        return content

    assert "set DATABASE_URL accordingly" in refused("restore", rebuild(made, change), force=True)


def test_a_storage_that_fails_is_told_in_a_sentence(
    site: dict[str, bytes], media: Path, tmp_path: Path, settings: Settings
) -> None:
    run("backup", tmp_path / "site.tar")
    forget_everything(media)
    for path in sorted(media.rglob("*"), reverse=True):
        path.rmdir()
    (media / "images").write_text("in the way")
    assert "cannot be restored" in refused("restore", tmp_path / "site.tar")
    (media / "images").unlink()
    run("restore", tmp_path / "site.tar", force=True)
    assert media_files(media) == site


# --- Whole processes on PostgreSQL --------------------------------------------------------------------------


@pytest.mark.postgres
@pytest.mark.timeout(300)
def test_a_site_moves_from_one_postgresql_database_to_another(tmp_path: Path) -> None:
    """As operators do it: by command, with databases that are made and dropped here.

    The backup's transaction waits for pg_dump, longer than others may be idle.
    """
    server = os.environ["TEST_DATABASE_URL"]
    names = [f"pixellift_{secrets.token_hex(4)}" for _ in range(2)]
    with psycopg.connect(server, autocommit=True) as admin:
        for name in names:
            admin.execute(f'CREATE DATABASE "{name}"')
        try:
            old, new = (urlsplit(server)._replace(path=f"/{name}").geturl() for name in names)
            manage(tmp_path / "old", old, "migrate", "-v", "0")
            manage(tmp_path / "old", old, "shell", "-v", "0", "-c", POPULATE)
            hasty = f"{old}?options=-c%20idle_in_transaction_session_timeout%3D10ms"
            manage(tmp_path / "old", hasty, "backup", str(tmp_path / "site.tar"), "--with-secrets")
            said = manage(tmp_path / "new", new, "restore", str(tmp_path / "site.tar"), "--with-secrets")
            assert "Restored and compared" in said
            assert rows(new) == rows(old)
            assert media_files(tmp_path / "new" / "media") == media_files(tmp_path / "old" / "media")
            key = Path("secret_key")
            assert (tmp_path / "new" / key).read_text() == (tmp_path / "old" / key).read_text()
            assert "Restored" in manage(
                tmp_path / "new", new, "restore", str(tmp_path / "site.tar"), "--force"
            )
            assert rows(new) == rows(old)
        finally:
            for name in names:
                admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


POPULATE = """
from django.core.files.base import ContentFile
from accounts.models import User
from gallery.models import Image
from transforms.models import Job
user = User.objects.create_user("alice", "alice@example.com", "x")
for number in range(50):
    image = Image(user=user, source="upload", name=f"Number {number}")
    image.file.save("original.png", ContentFile(bytes([number]) * 5000), save=False)
    image.save()
    Job.objects.create(user=user, operation="project", image=image, state="succeeded", result={"number": number})
"""


def manage(data: Path, database: str, *args: str) -> str:
    done = subprocess.run(
        [sys.executable, "manage.py", *args],
        cwd=ROOT,
        env=environment(data, DATABASE_URL=database),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def rows(database: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(database) as opened:
        sql = "SELECT i.id, i.name, i.file, i.created_at, j.id, j.state, j.result FROM gallery_image i "
        return opened.execute(sql + "JOIN transforms_job j ON j.image_id = i.id ORDER BY i.name").fetchall()
