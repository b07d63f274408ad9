"""The file that a backup is: a tar (plain, or with gzip) whose last member, the manifest, says what must be in it.

::

    database/…        one file: the database
    media/…           the pictures
    models/…          the operator's own generators and upscalers, if asked for
    secrets/…         the secret key, if asked for
    members.jsonl     a line for each member above, in their order: its name, size and SHA-256
    manifest.json     what made the backup, what is in the database, and the SHA-256 of members.jsonl

Written and read as a stream: memory stays bounded however much there is. A file that was cut off has no manifest.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Self

FORMAT = 1
MANIFEST = "manifest.json"
MEMBERS = "members.jsonl"
FOLDERS = ("database", "media", "models", "secrets")
GZIP_ENDINGS = (".gz", ".tgz")
BLOCK_BYTES = 1024 * 1024
SPOOL_BYTES = 8 * 1024 * 1024
MANIFEST_MAX_BYTES = 16 * 1024 * 1024
NAME_MAX_CHARACTERS = 1000


class BadBackup(Exception):
    """A backup that cannot be made, trusted or used. The message is a sentence for the operator."""


@dataclass(frozen=True)
class Member:
    """A file of the archive. `name` was checked: it stays inside one of `FOLDERS`, whatever it is joined to."""

    name: str
    size: int
    sha256: str = ""

    @property
    def folder(self) -> str:
        return self.name.partition("/")[0]

    @property
    def path(self) -> str:
        """The name inside its folder."""
        return self.name.partition("/")[2]

    @property
    def line(self) -> bytes:
        return json.dumps([self.name, self.size, self.sha256], ensure_ascii=False).encode() + b"\n"


@dataclass(frozen=True)
class Manifest:
    """What a backup says of itself. `migrations`: (app, name); `tables`: how many rows each has; `files`: of all folders."""

    format: int
    version: str
    created_at: str
    engine: str
    engine_version: str
    migrations: list[list[str]]
    tables: dict[str, int]
    files: dict[str, int]
    total_bytes: int
    members_sha256: str

    @classmethod
    def from_json(cls, data: bytes) -> Manifest:
        try:
            values = json.loads(data)
            manifest = cls(**values)
            sound = (
                manifest.format == FORMAT
                and all(isinstance(count, int) for count in [*manifest.tables.values(), manifest.total_bytes])
                and all(isinstance(app, str) and isinstance(name, str) for app, name in manifest.migrations)
                and isinstance(manifest.members_sha256, str)
            )
        except (ValueError, TypeError, AttributeError, RecursionError):
            sound = False
        if not sound:
            raise BadBackup(
                "The manifest of this backup cannot be read: it is damaged, or of a newer PixelLift."
            )
        return manifest


class Writer:
    """Writes an archive member by member. `scratch`: a folder for what does not fit into memory."""

    def __init__(self, target: Path, scratch: Path) -> None:
        self._scratch = scratch
        self._file = target.open("xb")
        compressed = target.name.endswith(GZIP_ENDINGS)
        self._stream: Any = (
            gzip.GzipFile(fileobj=self._file, mode="wb", compresslevel=1) if compressed else self._file
        )
        self._tar = tarfile.open(fileobj=self._stream, mode="w|", format=tarfile.PAX_FORMAT)  # noqa: SIM115
        self._lines = tempfile.TemporaryFile(dir=str(scratch))  # noqa: SIM115
        self._digest = hashlib.sha256()
        self._bytes = 0
        self._files = dict.fromkeys(FOLDERS, 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._lines.close()
        if self._stream is not self._file:
            self._stream.close()
        self._file.close()

    def add(self, name: str, source: Any) -> Member:
        """Copy `source` from where it stands to its end. How long it is need not be known."""
        with tempfile.SpooledTemporaryFile(SPOOL_BYTES, dir=str(self._scratch)) as whole:
            size, sha256 = copy(source, whole)
            whole.seek(0)
            member = Member(_checked(name), size, sha256)
            self._put(member.name, size, whole)
        self._lines.write(member.line)
        self._digest.update(member.line)
        self._files[member.folder] += 1
        self._bytes += size
        return member

    def finish(self, **facts: Any) -> Manifest:
        """Write the list of members and the manifest."""
        size = self._lines.tell()
        self._lines.seek(0)
        self._put(MEMBERS, size, self._lines)
        manifest = Manifest(
            format=FORMAT,
            files=self._files,
            total_bytes=self._bytes,
            members_sha256=self._digest.hexdigest(),
            **facts,
        )
        with tempfile.TemporaryFile(dir=str(self._scratch)) as file:
            size = file.write(json.dumps(asdict(manifest), indent=1).encode())
            file.seek(0)
            self._put(MANIFEST, size, file)
        self._tar.close()
        return manifest

    def _put(self, name: str, size: int, source: Any) -> None:
        header = tarfile.TarInfo(name)
        header.size, header.mode = size, 0o600
        self._tar.addfile(header, source)
        self._tar.members.clear()  # type: ignore[attr-defined]  # it would remember them all


def copy(source: Any, target: Any) -> tuple[int, str]:
    """Copy in blocks. Gives the size, and the SHA-256 in hexadecimal digits."""
    digest, size = hashlib.sha256(), 0
    while block := source.read(BLOCK_BYTES):
        target.write(block)
        digest.update(block)
        size += len(block)
    return size, digest.hexdigest()


Look = Callable[[Member, IO[bytes]], None]


def read(path: Path, scratch: Path, look: Look | None = None) -> Manifest:
    """
    Read the whole archive and compare every member with the list, and that with the manifest: BadBackup at the first thing
    that is wrong. `look` is shown each member that is not the list or the manifest, with its content from the start.
    """
    lines = tempfile.SpooledTemporaryFile(SPOOL_BYTES, dir=str(scratch))  # noqa: SIM115
    with lines, _opened(path) as tar:
        digest, listed = hashlib.sha256(), False
        for name, source in _members(tar):
            if name == MANIFEST:
                manifest = Manifest.from_json(source.read(MANIFEST_MAX_BYTES))
                if not listed or tar.next() is not None:
                    raise BadBackup("The parts of this backup are not in their order: it cannot be trusted.")
                if manifest.members_sha256 != digest.hexdigest():
                    raise BadBackup("The list of this backup is not the one that its manifest was made for.")
                return manifest
            if listed:
                raise BadBackup(f"{name} comes after the list of this backup: it cannot be trusted.")
            if name == MEMBERS:
                _compare(source, lines)
                listed = True
                continue
            with tempfile.SpooledTemporaryFile(SPOOL_BYTES, dir=str(scratch)) as whole:
                size, sha256 = copy(source, whole)
                member = Member(_checked(name), size, sha256)
                whole.seek(0)
                if look is not None:
                    look(member, whole)
            lines.write(member.line)
            digest.update(member.line)
    raise BadBackup("This backup has no manifest: it was cut off, or is no backup of PixelLift.")


def _compare(listed: IO[bytes], found: IO[bytes]) -> None:
    """Both line by line: the list of the archive, and what it should say."""
    found.seek(0)
    for line in found:
        if listed.readline(len(line) + 1) != line:
            raise BadBackup(
                f"{json.loads(line)[0]} is not what this backup says that it is: the file is damaged."
            )
    if listed.read(1):
        raise BadBackup("Files are missing in this backup that its list names: the file is damaged.")


@contextmanager
def _opened(path: Path) -> Iterator[tarfile.TarFile]:
    try:
        with tarfile.open(path, "r|*") as tar:
            yield tar
    except FileNotFoundError:
        raise BadBackup(f"There is no file {path}.") from None
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise BadBackup(f"{path} cannot be read as a backup ({error}): it is damaged or cut off.") from error


def _members(tar: tarfile.TarFile) -> Iterator[tuple[str, IO[bytes]]]:
    while (header := tar.next()) is not None:
        if header.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or header.issparse():
            raise BadBackup(f"{header.name!r} in this backup is no ordinary file: it cannot be trusted.")
        source = tar.extractfile(header)
        assert source is not None  # noqa: S101  (an ordinary file, for the type checker)
        if header.name not in (MANIFEST, MEMBERS):
            _checked(header.name)
            tarfile.data_filter(header, "/nowhere")
        yield header.name, source
        tar.members.clear()  # type: ignore[attr-defined]  # it would remember them all


def _checked(name: str) -> str:
    """A name that stays inside its folder wherever it is written, on every system, and can be stood on one line."""
    folder, _, path = name.partition("/")
    parts = path.split("/")
    harmless = (
        folder in FOLDERS
        and len(name) <= NAME_MAX_CHARACTERS
        and not {"", ".", ".."} & set(parts)
        and name.isprintable()
        and not set("\\:") & set(name)
    )
    if not harmless:
        raise BadBackup(f"{name[:200]!r} is no name that a file of a backup can have: it cannot be trusted.")
    return name
