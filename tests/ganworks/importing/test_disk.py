"""A disk that fills up during an import is the disk's fault, and not called the file's."""

from pathlib import Path
from typing import Any

import pytest

from ganworks.importing import sandbox
from ganworks.importing.refusal import Refused
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
