"""`manage.py restore`: a site as a backup holds it. Everything is checked before anything is touched."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from django.conf import settings
from django.core.files.base import File
from django.core.files.storage import default_storage
from django.core.management import call_command
from django.db import Error, connection
from django.db.migrations.loader import MigrationLoader

from pixellift import archive, databases
from pixellift.archive import BadBackup, Manifest, Member
from pixellift.backup import SECRET, Tell, storage_answers
from pixellift.health import first_line
from transforms import lifecycle, presence
from transforms.models import CheckpointImport, ImportState, Job, Operation, State

NOT_KEPT = "The site was restored from a backup, which keeps no unfinished uploads. Upload the file again."


def restore(source: Path, tell: Tell, *, force: bool = False, with_secrets: bool = False) -> Manifest:
    """
    Put the site's database and files in the state that a backup holds. BadBackup with a sentence if the backup is damaged or
    does not fit, or if there is something here already; `force`: replace it.
    """
    with _scratch_folder() as scratch:
        if not force:
            _demand_nobody_here()
        tell("Checking the backup ...")
        found = _Found(scratch / "database", with_secrets)
        manifest = archive.read(source, scratch, found.see)
        _demand_fit(manifest, found, force)
        tell("The database ...")
        engine = databases.engine()
        engine.restore(found.dump)
        databases.demand_restored(manifest.tables)
        call_command("migrate", interactive=False, verbosity=0)
        _resume_jobs()
        tell("The files ...")
        again = archive.read(source, scratch, _Placing(with_secrets).see)
        if again != manifest:
            raise BadBackup("The backup changed while it was being restored: restore it again, with --force.")
        tell("Comparing ...")
        archive.read(source, scratch, _demand_kept)
    return manifest


@contextmanager
def _scratch_folder() -> Iterator[Path]:
    """In the data folder, where there is room for what is about to come there."""
    try:
        settings.DATA_DIR.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=settings.DATA_DIR, prefix=".restore-") as folder:
            yield Path(folder)
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        raise BadBackup(f"The backup cannot be restored ({error.strerror or error}{where}).") from error


def _demand_nobody_here() -> None:
    try:
        empty = databases.is_empty()
    except Error as error:
        raise BadBackup(f"The database does not answer ({first_line(error)}): check DATABASE_URL.") from error
    if not empty:
        raise BadBackup(
            "The database is not empty: restore into a new one, or replace everything with --force."
        )
    try:
        workers = presence.alive()
    except Exception:
        return  # no cache, so no workers that could be heard
    if workers:
        raise BadBackup(f"A worker runs ({workers[0].name}): stop all servers and workers first.")


@dataclass
class _Found:
    """What the first reading found, beside what the archive checks itself. The database is laid into `dump`."""

    dump: Path
    with_secrets: bool
    sizes: dict[str, int] = field(default_factory=lambda: dict.fromkeys(archive.FOLDERS, 0))
    database: str = ""
    others: list[Path] = field(default_factory=list)
    """Models that are here under the same names, and are not those of the backup."""

    def see(self, member: Member, source: IO[bytes]) -> None:
        self.sizes[member.folder] += member.size
        if member.folder == "database":
            if self.database:
                raise BadBackup("This backup holds two databases: it cannot be trusted.")
            self.database = member.name
            with self.dump.open("wb") as target:
                archive.copy(source, target)
            return
        path = _place_of(member, self.with_secrets)
        if path is not None and path.exists() and not _is_same(path, member) and member.folder == "models":
            self.others.append(path)


def _place_of(member: Member, with_secrets: bool) -> Path | None:
    """Where a model or a key belongs; None for all else. Never outside its folder, whatever links lie there."""
    if member.folder == "models":
        return _inside(settings.MODELS_DIR, member.path)
    if member.folder == "secrets" and with_secrets:
        if member.name != SECRET:
            raise BadBackup(f"{member.name} is no secret of this site: the backup cannot be trusted.")
        return _inside(settings.DATA_DIR, member.path)
    return None


def _inside(root: Path, path: str) -> Path:
    place = (root / path).resolve()
    if not place.is_relative_to(root.resolve()):
        raise BadBackup(f"{root / path} leads out of {root}: remove the link that lies there.")
    return place


def _is_same(path: Path, member: Member) -> bool:
    if not path.is_file() or path.stat().st_size != member.size:
        return False
    with path.open("rb") as stream:
        return _sha256(stream) == member.sha256


def _sha256(stream: Any) -> str:
    with open(os.devnull, "wb") as nowhere:
        return archive.copy(stream, nowhere)[1]


def _demand_fit(manifest: Manifest, found: _Found, force: bool) -> None:
    engine = databases.engine()
    if manifest.engine != engine.name:
        raise BadBackup(
            f"The backup holds a database of {manifest.engine}, but this site has {engine.name}: "
            "set DATABASE_URL accordingly."
        )
    if found.database != engine.member:
        raise BadBackup(f"The backup lacks {engine.member}: it cannot be trusted.")
    known = set(MigrationLoader(None).disk_migrations)
    if unknown := sorted({(app, name) for app, name in manifest.migrations} - known):
        app, name = unknown[0]
        raise BadBackup(
            f"The backup was made by a newer PixelLift (it knows {app}.{name}): bring the code up to date first."
        )
    if found.others and not force:
        raise BadBackup(
            f"{found.others[0]} is here already, and is another one: move it away, or replace it with --force."
        )
    _demand_room(found)
    engine.check(found.dump, manifest.tables)


def _demand_room(found: _Found) -> None:
    """On disks of this machine. What is replaced makes no room before it is."""
    wanted: dict[Path, int] = {}
    if connection.vendor == "sqlite":
        wanted[settings.DATA_DIR] = found.sizes["database"]
    if not settings.MEDIA_S3_BUCKET:
        wanted[settings.MEDIA_ROOT] = found.sizes["media"]
    wanted[settings.MODELS_DIR] = found.sizes["models"]
    for folder, size in wanted.items():
        there = next(path for path in (folder, *folder.parents) if path.exists())
        free = shutil.disk_usage(there).free
        if free < size:
            raise BadBackup(
                f"{folder} needs {size:,} bytes, but only {free:,} are free there: make room first."
            )


def _resume_jobs() -> None:
    """What ran when the backup was made waits again. Uploads on their way in are not in a backup, so they end."""
    for job in Job.objects.active().filter(operation=Operation.IMPORT).defer("preview"):
        lifecycle.fail(Job.objects.filter(pk=job.pk), job, NOT_KEPT)
    CheckpointImport.objects.all().end(ImportState.CANCELED, NOT_KEPT)
    for job in Job.objects.filter(state=State.RUNNING).defer("preview"):
        lifecycle.release(Job.objects.filter(pk=job.pk), job, refund=True)


@dataclass
class _Placing:
    """The second reading: every file goes where it belongs. The database is there by now."""

    with_secrets: bool

    def see(self, member: Member, source: IO[bytes]) -> None:
        if member.folder == "media":
            with storage_answers():
                name = default_storage.save(member.path, File(source, member.path))
            if name != member.path:
                default_storage.delete(name)
                raise BadBackup(
                    f"The storage would not take the name {member.path}: empty it, and try again."
                )
        elif (path := _place_of(member, self.with_secrets)) and not _is_same(path, member):
            _replace(path, source, mode=0o600 if member.folder == "secrets" else 0o644)


def _replace(path: Path, source: IO[bytes], mode: int) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, scratch = tempfile.mkstemp(dir=path.parent, prefix=".restoring-")
    try:
        with os.fdopen(handle, "wb") as target:
            archive.copy(source, target)
        Path(scratch).chmod(mode)
        Path(scratch).replace(path)
    except BaseException:
        Path(scratch).unlink(missing_ok=True)
        raise


def _demand_kept(member: Member, source: IO[bytes]) -> None:
    """Read a picture back from where it was put."""
    if member.folder != "media":
        return
    with storage_answers(), default_storage.open(member.path, "rb") as stored:
        sha256 = _sha256(stored)
    if sha256 != member.sha256:
        raise BadBackup(f"{member.path} is not what was put there: check the storage, and restore again.")
