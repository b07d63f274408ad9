"""Fixtures of the tests of imports."""

from __future__ import annotations

from typing import Any

import pytest

from accounts.models import User
from tests.transforms.imports.support import SLICE, Send, announce, send_rest
from transforms import slices
from transforms.models import CheckpointImport


@pytest.fixture(autouse=True)
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "SLICE_BYTES", SLICE)


@pytest.fixture
def send() -> Send:
    """Upload a whole file as somebody."""

    def send_file(user: User, content: bytes, **changes: Any) -> CheckpointImport:
        return send_rest(user, announce(user, content, **changes), content)

    return send_file


@pytest.fixture
def plain(checkpoint_files: dict[str, bytes]) -> bytes:
    return checkpoint_files["plain"]
