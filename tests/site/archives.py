"""Backups that somebody has changed."""

from __future__ import annotations

import hashlib
import io
import json
import secrets
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pixellift import archive


def rebuild(made: Path, change: Callable[[str, bytes], bytes | None], *, honest: bool = True) -> Path:
    """The backup with changed members. `honest`: the list and the manifest are made to fit."""
    target = made.parent / f"rebuilt-{secrets.token_hex(3)}.tar"
    with tarfile.open(made) as old, tarfile.open(target, "w") as new:
        lines: list[bytes] = []
        for header in old:
            content: bytes | None = old.extractfile(header).read()
            if honest and header.name == archive.MEMBERS:
                content = b"".join(lines)
            elif honest and header.name == archive.MANIFEST:
                listed = hashlib.sha256(b"".join(lines)).hexdigest()
                content = json.dumps({**json.loads(content), "members_sha256": listed}).encode()
            content = change(header.name, content)
            if content is None:
                continue
            if header.name not in (archive.MEMBERS, archive.MANIFEST):
                sha256 = hashlib.sha256(content).hexdigest()
                lines.append(archive.Member(header.name, len(content), sha256).line)
            put(new, header.name, content)
    return target


def put(tar: tarfile.TarFile, name: str, content: bytes = b"", **fields: Any) -> None:
    header = tarfile.TarInfo(name)
    header.size = len(content)
    for key, value in fields.items():
        setattr(header, key, value)
    tar.addfile(header, io.BytesIO(content))


def with_stranger(made: Path, name: str, content: bytes = b"strange", **fields: Any) -> Path:
    """The backup with one more member in it, before the others."""
    target = made.parent / "strange.tar"
    with tarfile.open(made) as old, tarfile.open(target, "w") as new:
        put(new, name, content, **fields)
        for header in old:
            new.addfile(header, old.extractfile(header))
    return target
