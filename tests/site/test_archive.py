"""The archive of a backup: what was cut off, changed or made to harm is found out before anything is done with it."""

from __future__ import annotations

import gzip
import io
import json
import os
import tarfile
from pathlib import Path
from typing import IO

import pytest

from pixellift import archive
from pixellift.archive import BadBackup, Member
from tests.site.archives import rebuild, with_stranger

CONTENT = {
    "database/pixellift.sqlite3": b"rows",
    "media/images/a/original.png": os.urandom(archive.BLOCK_BYTES * 2 + 5),
    "media/images/a/empty": b"",
    "media/images/ä “b”.png": b"named in words",
}
FACTS = {
    "version": "1.2.3",
    "created_at": "2026-11-25T00:00:00+00:00",
    "engine": "sqlite",
    "engine_version": "3",
    "migrations": [["gallery", "0001_initial"]],
    "tables": {"gallery_image": 3},
}


def write(path: Path) -> Path:
    with archive.Writer(path, path.parent) as writer:
        for name, content in CONTENT.items():
            writer.add(name, io.BytesIO(content))
        writer.finish(**FACTS)
    return path


@pytest.fixture
def made(tmp_path: Path) -> Path:
    return write(tmp_path / "site.tar")


def refusal(path: Path) -> str:
    with pytest.raises(BadBackup) as refused:
        archive.read(path, path.parent)
    assert str(refused.value).endswith(".")
    return str(refused.value)


@pytest.mark.parametrize("ending", ["tar", "tar.gz", "tgz"])
def test_what_was_written_is_read(tmp_path: Path, ending: str) -> None:
    seen: dict[str, bytes] = {}

    def look(member: Member, source: IO[bytes]) -> None:
        seen[member.name] = source.read()
        assert len(seen[member.name]) == member.size

    path = write(tmp_path / f"site.{ending}")
    manifest = archive.read(path, tmp_path, look)
    assert seen == CONTENT
    assert manifest.tables == FACTS["tables"]
    assert manifest.files == {"database": 1, "media": 3, "models": 0, "secrets": 0}
    assert manifest.total_bytes == sum(map(len, CONTENT.values()))
    assert path.read_bytes()[:2] == (b"da" if ending == "tar" else b"\x1f\x8b")


def test_other_programs_read_it_too(made: Path) -> None:
    with tarfile.open(made) as tar:
        tar.extractall(made.parent / "out", filter="data")
    assert {name: (made.parent / "out" / name).read_bytes() for name in CONTENT} == CONTENT


def test_a_name_that_is_none_is_not_even_written(tmp_path: Path) -> None:
    with archive.Writer(tmp_path / "site.tar", tmp_path) as writer, pytest.raises(BadBackup):
        writer.add("media/../outside", io.BytesIO())


@pytest.mark.parametrize("part", [0.0001, 0.01, 0.3, 0.9, 0.99])
@pytest.mark.parametrize("ending", ["tar", "tar.gz"])
def test_one_that_was_cut_off_is_found_out(tmp_path: Path, part: float, ending: str) -> None:
    path = write(tmp_path / f"site.{ending}")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])
    refusal(path)


def test_one_that_was_cut_off_between_two_files_is_found_out(made: Path) -> None:
    cut = rebuild(made, lambda name, content: None if name == archive.MANIFEST else content)
    assert "no manifest" in refusal(cut)


def test_every_single_changed_bit_is_found_out_in_a_compressed_one(tmp_path: Path) -> None:
    path = write(tmp_path / "site.tar.gz")
    content = path.read_bytes()
    for place in range(20, len(content) - 8, len(content) // 25):
        changed = bytearray(content)
        changed[place] ^= 4
        path.write_bytes(changed)
        refusal(path)


@pytest.mark.parametrize("name", CONTENT)
def test_a_changed_file_is_found_out_and_named(made: Path, name: str) -> None:
    changed = rebuild(
        made, lambda member, content: content + b"!" if member == name else content, honest=False
    )
    assert f"{name} is not what" in refusal(changed)


def test_a_missing_file_is_found_out(made: Path) -> None:
    less = rebuild(made, lambda name, content: None if name.endswith("b”.png") else content, honest=False)
    assert "Files are missing" in refusal(less)


def test_a_list_that_was_changed_too_does_not_fit_the_manifest(made: Path) -> None:
    def change(name: str, content: bytes) -> bytes:
        if name == archive.MANIFEST:
            return json.dumps({**json.loads(content), "members_sha256": "0" * 64}).encode()
        return content

    assert "not the one" in refusal(rebuild(made, change))


@pytest.mark.parametrize(
    "content", [b"", b"nonsense" * 200, b"\x1f\x8b\x08 not gzip", gzip.compress(b"", mtime=0)]
)
def test_something_else_is_no_backup(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "else.tar").write_bytes(content)
    refusal(tmp_path / "else.tar")


def test_another_archive_is_no_backup(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "else.tar", "w") as tar:
        tar.add(__file__, "media/test.py")
    assert "no manifest" in refusal(tmp_path / "else.tar")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert "There is no file" in refusal(tmp_path / "none.tar")


@pytest.mark.parametrize(
    "manifest", [b"", b"[]", b"{}", b"[" * 100_000, b'{"format": 2}', b"null", b'{"format": 1, "tables": 7}']
)
def test_a_manifest_that_is_none_is_refused(made: Path, manifest: bytes) -> None:
    changed = rebuild(made, lambda name, content: manifest if name == archive.MANIFEST else content)
    assert "manifest" in refusal(changed)


@pytest.mark.parametrize(
    "name",
    [
        "media/../../outside",
        "media/images/../../../outside",
        "/media/outside",
        "/etc/outside",
        "../outside",
        "media//outside",
        "media/./outside",
        "media/..\\outside",
        "media/c:outside",
        "media/new\nline",
        "media/" + "x" * 1000,
        "outside",
        "media",
        "static/outside",
        "media/",
    ],
)
def test_no_name_leads_out_of_its_folder(made: Path, name: str) -> None:
    assert "cannot be trusted" in refusal(with_stranger(made, name))


@pytest.mark.parametrize(
    "kind",
    [
        tarfile.SYMTYPE,
        tarfile.LNKTYPE,
        tarfile.CHRTYPE,
        tarfile.FIFOTYPE,
        tarfile.DIRTYPE,
        tarfile.GNUTYPE_SPARSE,
    ],
)
def test_only_ordinary_files_are_taken(made: Path, kind: bytes) -> None:
    refusal(with_stranger(made, "media/images/link", b"", type=kind, linkname="../../../outside"))


@pytest.mark.parametrize("name", [archive.MEMBERS, archive.MANIFEST])
def test_a_second_list_or_manifest_is_refused(made: Path, name: str) -> None:
    refusal(with_stranger(made, name, b"{}"))
