"""A disk that fills up during an import is the disk's fault, and not called the file's."""

import errno
from pathlib import Path
from typing import Any

import pytest

import ganworks
from ganworks.errors import CheckpointError
from ganworks.importing import sandbox
from ganworks.importing.refusal import Refused
from ganworks.importing.report import ImportReport
from tests.ganworks.importing.writer import pickled, snapshot


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    path = tmp_path / "file.pkl"
    path.write_bytes(pickled(snapshot("skip")))
    given: dict[str, Any] = {"label": None, "license": None, "description": None, "classes": []}
    words: dict[str, Any] = {"given": given, "known": None, "name": path.name}
    with (
        path.open("rb") as source,
        Path("/dev/full").open("wb") as draft,
        pytest.raises(Refused, match="the disk is full"),
    ):
        sandbox.run(source, draft, words, None)


def test_a_disk_that_is_full_when_the_report_is_written_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real disk that is full just then needs rights that tests do not have."""

    def full(report: ImportReport, path: Path) -> None:
        path.write_text("{")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(ImportReport, "save", full)
    path = tmp_path / "file.pkl"
    path.write_bytes(pickled(snapshot("skip")))
    with pytest.raises(CheckpointError, match="the disk is full"):
        ganworks.import_checkpoint(path, tmp_path / "model" / "generator.safetensors")
    assert [file.name for file in tmp_path.iterdir()] == ["file.pkl"]
