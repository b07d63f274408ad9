"""`manage.py backup`: database and files of the site in one file, while the site runs.

The database comes first, as it is at one moment; then the files. What arrives in between is a file without a row, which does
no harm. What was deleted in between is missing, and is told.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from django.conf import settings
from django.core.files.storage import default_storage
from django.db import Error

import pixellift
from pixellift import archive, databases
from pixellift.archive import BadBackup, Manifest
from pixellift.health import first_line

# Of no use elsewhere: probes of /readyz, and checkpoints on their way in.
LEFT_OUT = {"probes", "checkpoints"}
SCRATCH_PREFIX = ".writing-"  # files of gallery.storage that are not whole yet
SECRET = "secrets/secret_key"  # noqa: S105

Tell = Callable[[str], object]


def make(target: Path, tell: Tell, *, with_models: bool = False, with_secrets: bool = False) -> Manifest:
    """Write a backup into `target`, which must not be there yet, and read it again. BadBackup if that is not possible.

    The file appears when it is whole, and is readable by its owner only: it holds password hashes.
    """
    if target.exists():
        raise BadBackup(f"{target} is there already: choose another name, or delete it.")
    try:
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".pixellift-backup-") as folder:
            scratch = Path(folder)
            whole = scratch / target.name
            _write(whole, scratch, tell, with_models, with_secrets)
            tell("Reading it again ...")
            manifest = archive.read(whole, scratch)
            whole.chmod(0o600)
            _keep(whole, target)
    except OSError as error:
        where = f", {error.filename}" if error.filename else ""
        raise BadBackup(f"The backup cannot be made ({error.strerror or error}{where}).") from error
    return manifest


def _write(target: Path, scratch: Path, tell: Tell, with_models: bool, with_secrets: bool) -> None:
    engine = databases.engine()
    dump = scratch / "database"
    with archive.Writer(target, scratch) as writer, closing(_Names()) as archived:
        tell("The database ...")
        try:
            with engine.snapshot(dump) as snapshot:
                tables, migrations = databases.count(snapshot), databases.migrations(snapshot)
                archived.want(databases.file_names(snapshot))
        except Error as error:
            raise BadBackup(f"The database cannot be read ({first_line(error)}).") from error
        with dump.open("rb") as stream:
            writer.add(engine.member, stream)
        dump.unlink()
        tell("The pictures ...")
        with storage_answers():
            for name in _media():
                if _add_media(writer, name):
                    archived.found(name)
        if missing := archived.missing():
            tell(f"Note: {missing[1]} files that rows speak of are not there, for example {missing[0]}.")
        if with_models:
            tell("The models ...")
            _add_folder(writer, "models", settings.MODELS_DIR)
        if with_secrets:
            _add_secret(writer, tell)
        writer.finish(
            version=pixellift.__version__,
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            engine=engine.name,
            engine_version=engine.version(),
            migrations=migrations,
            tables=tables,
        )


def _keep(whole: Path, target: Path) -> None:
    """Give the file its name, on the disk too. Somebody else's file that came meanwhile is not replaced."""
    with whole.open("rb") as stream:
        os.fsync(stream.fileno())
    try:
        target.hardlink_to(whole)
    except FileExistsError:
        raise BadBackup(f"{target} is there already: choose another name, or delete it.") from None
    except OSError:  # a file system without links
        whole.replace(target)


@contextmanager
def storage_answers() -> Iterator[None]:
    """An object store has errors of its own: they become sentences too."""
    try:
        yield
    except (BadBackup, OSError):
        raise
    except Exception as error:
        raise BadBackup(f"The storage of pictures failed ({first_line(error)}).") from error


def _media(folder: str = "") -> Iterator[str]:
    """The names of all files in the storage, in a fixed order."""
    try:
        folders, names = default_storage.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return
    for name in sorted(names):
        if name and not name.startswith(SCRATCH_PREFIX):
            yield f"{folder}/{name}" if folder else name
    for inner in sorted(folders):
        if folder or inner not in LEFT_OUT:
            yield from _media(f"{folder}/{inner}" if folder else inner)


def _add_media(writer: archive.Writer, name: str) -> bool:
    """False if the file was deleted since it was listed."""
    try:
        stream = default_storage.open(name, "rb")
    except FileNotFoundError:
        return False
    with stream:
        writer.add(f"media/{name}", stream)
    return True


def _add_folder(writer: archive.Writer, folder: str, root: Path) -> None:
    """The files of each folder in `root`; folders may be links to elsewhere. What begins with a dot is on its way in."""
    inner = [path for path in root.iterdir() if not path.name.startswith(".")] if root.is_dir() else []
    for top in sorted(inner):
        for path in sorted(top.rglob("*")):
            if path.is_file():
                with path.open("rb") as stream:
                    writer.add(f"{folder}/{path.relative_to(root).as_posix()}", stream)


def _add_secret(writer: archive.Writer, tell: Tell) -> None:
    path = settings.DATA_DIR / "secret_key"
    if not path.is_file():
        tell(
            "Note: there is no file with a secret key, it comes from the environment: keep it by other means."
        )
        return
    with path.open("rb") as stream:
        writer.add(SECRET, stream)


class _Names:
    """Which files rows speak of, and which of them were found. On disk, however many there are."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("")  # a temporary file, gone when it is closed
        self._database.execute("CREATE TABLE wanted (name TEXT PRIMARY KEY) WITHOUT ROWID")

    def close(self) -> None:
        self._database.close()

    def want(self, names: Iterator[str]) -> None:
        outside = tuple(f"{folder}/" for folder in LEFT_OUT)
        rows = ((name,) for name in names if not name.startswith(outside))
        self._database.executemany("INSERT OR IGNORE INTO wanted VALUES (?)", rows)

    def found(self, name: str) -> None:
        self._database.execute("DELETE FROM wanted WHERE name = ?", (name,))

    def missing(self) -> tuple[str, int] | None:
        """The first name that was not found, and how many there are; None if all were."""
        name, number = self._database.execute("SELECT MIN(name), COUNT(*) FROM wanted").fetchone()
        return (name, number) if number else None
