"""Folders of generators in MODELS_DIR: how one gets there, whole or not at all, and how it leaves. Knows no rows.

A draft is made in `.drafts/<id>/`, on the same file system and one level deeper than where generators are looked for,
and takes its place by one rename.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings

from transforms.engine import engine
from transforms.errors import InvalidParams, JobFailed, NotReady
from transforms.import_params import folder_name
from transforms.slices import NO_ROOM, ROOM_LEFT_BYTES

DRAFTS = ".drafts"
GENERATOR_FILE = "generator.safetensors"
REPORT_FILE = "report.json"
DRAFT_MAX_AGE_SECONDS = 24 * 3600
DISK_FULL = "The disk with MODELS_DIR is full. Make room there, and import the file again."
MAX_REPORT_BYTES = 4 * 1024 * 1024


class Draft:
    """A place to make a generator in: `source` is where the foreign file lies, `folder` what will be the generator's."""

    def __init__(self, key: str) -> None:
        self.root = settings.MODELS_DIR / DRAFTS / folder_name(key)
        self.folder = self.root / "folder"
        self.generator = self.folder / GENERATOR_FILE

    @classmethod
    def fresh(cls, key: str, attempt: int = 1) -> Draft:
        """An empty one. What earlier attempts left is removed; one that still runs, unheld, cannot touch this one."""
        for earlier in range(1, attempt):
            cls(f"{key}-{earlier}").remove()
        draft = cls(f"{key}-{attempt}")
        draft.remove()
        draft.folder.mkdir(parents=True)
        return draft

    def source(self, file_name: str) -> Path:
        (self.root / "source").mkdir(exist_ok=True)
        return self.root / "source" / file_name

    def forget_source(self) -> None:
        shutil.rmtree(self.root / "source", ignore_errors=True)

    def publish(self, name: str) -> None:
        """Make it the generator `name`, at once. JobFailed if something has taken that name meanwhile."""
        target = folder_of(name)
        try:
            if target.is_symlink() or target.exists():
                raise FileExistsError(errno.EEXIST, "taken")
            self.folder.rename(target)
        except (FileExistsError, NotADirectoryError) as error:
            raise _taken(name) from error
        except OSError as error:
            if error.errno == errno.ENOTEMPTY:
                raise _taken(name) from error
            raise
        self.remove()

    def remove(self) -> None:
        shutil.rmtree(self.root, ignore_errors=True)


def folder_of(name: str) -> Path:
    """Where the generator `name` lies, or would lie. The name is checked, so this is always right below MODELS_DIR."""
    folder: Path = settings.MODELS_DIR / folder_name(name)
    return folder


def refuse_taken(name: str) -> None:
    """InvalidParams if a generator, an upscaler or anything else has this name already."""
    installed = {info.name for info in engine().generators()} | {info.name for info in engine().upscalers()}
    if name in installed or os.path.lexists(folder_of(name)):
        raise InvalidParams("name", f"There is something named “{name}” here already. Choose another name.")


@dataclass(frozen=True)
class Installed:
    """A generator that is installed already."""

    name: str
    folder: Path
    sha256: str

    @property
    def is_own(self) -> bool:
        """It lies in MODELS_DIR, and is not one of the starters."""
        return self.folder == folder_of(self.name)


def made_from(sha256: str) -> Installed | None:
    """The installed generator that was imported from a file of this content, or is that very file."""
    for info in engine().generators():
        if sha256 in (info.sha256, info.source_sha256):
            return Installed(info.name, info.path.parent, info.sha256)
    return None


def report_of(name: str) -> dict[str, Any]:
    """The report beside an installed generator; empty if there is none that can be read."""
    path = folder_of(name) / REPORT_FILE
    try:
        if path.stat().st_size > MAX_REPORT_BYTES:
            return {}
        report = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return report if isinstance(report, dict) else {}


def is_installed(name: str) -> bool:
    return (folder_of(name) / GENERATOR_FILE).is_file()


def check_room(size: int) -> None:
    """JobFailed if the disk has no room for a generator of about this size."""
    if shutil.disk_usage(settings.MODELS_DIR).free < size + ROOM_LEFT_BYTES:
        raise JobFailed(DISK_FULL)


def withdraw(name: str, key: str) -> Draft:
    """Take the generator `name` out of sight, into a draft that can be published again, or removed."""
    folder = folder_of(name)
    if folder.is_symlink():
        raise NotReady(f"“{name}” is a link in MODELS_DIR: remove it there by hand.")
    draft = Draft.fresh(key)
    with contextlib.suppress(FileNotFoundError):
        folder.rename(draft.folder)  # in place of the empty one
    return draft


def sweep_drafts(working_on: set[str]) -> int:
    """Remove drafts that nothing works on and that a killed process left long ago."""
    drafts = settings.MODELS_DIR / DRAFTS
    horizon = time.time() - DRAFT_MAX_AGE_SECONDS
    removed = 0
    if drafts.is_symlink() or not drafts.is_dir():
        return 0
    for folder in drafts.iterdir():
        with contextlib.suppress(OSError):
            if folder.name.rpartition("-")[0] not in working_on and folder.lstat().st_mtime < horizon:
                shutil.rmtree(folder)
                removed += 1
    return removed


@contextlib.contextmanager
def plain_disk_errors() -> Iterator[None]:
    """A disk that is full, or a folder that may not be written, is a known reason to fail."""
    try:
        yield
    except OSError as error:
        if error.errno in NO_ROOM:
            raise JobFailed(DISK_FULL) from error
        if isinstance(error, PermissionError):
            raise JobFailed(
                "The folder MODELS_DIR cannot be written. Give it to the user that runs the site."
            ) from error
        raise


def _taken(name: str) -> JobFailed:
    return JobFailed(
        f"Something named “{name}” has appeared meanwhile. Import the file again under another name."
    )
