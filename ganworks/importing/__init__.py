"""Reads published StyleGAN checkpoints without running what is in them.

`import_checkpoint` is the door. Behind it, from the bytes up: `pickles` (a pickle machine that runs nothing),
`vocabulary` (the names that a checkpoint may use), `zips` and `torchfiles` (what torch.save writes), `tensors` (numbers,
checked against the bytes that are there), a module for each layout (`nvidia` and others), `convert`, which writes the
generator's file, and `sandbox`, the child process in which all this happens.
"""

import errno
import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import IO, Any

from ganworks import checkpoint
from ganworks.errors import CheckpointError
from ganworks.importing import sandbox
from ganworks.importing.catalogue import catalogue_entry
from ganworks.importing.refusal import MAX_SOURCE_BYTES, MIB, UNKNOWN, Refused, refused
from ganworks.importing.report import REPORT_FILE, ImportReport

FULL = (errno.ENOSPC, errno.EDQUOT)
CLOSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST)

__all__ = ["ImportReport", "find_imported", "import_checkpoint"]


def import_checkpoint(
    source: str | Path,
    target: str | Path,
    *,
    label: str | None = None,
    license: str | None = None,
    description: str | None = None,
    classes: Sequence[str] | None = None,
    on_progress: Callable[[float, str], None] | None = None,
) -> ImportReport:
    """
    Read a published checkpoint and write its generator as safetensors, with a report beside it.

    source: the checkpoint. target: the generator's file to write, `<name>/generator.safetensors`. What is not given
    comes from the catalogue, if the file's name is in it. on_progress is told the share that is done (0 to 1) and
    the stage in words; an error that it raises stops the import. CheckpointError, with nothing written, if the file
    cannot be imported.
    """
    source, target, start = Path(source), Path(target), time.monotonic()
    given = {"label": label, "license": license, "description": description}
    words = _words(source.name, given, classes)
    try:
        with (
            _disk_named(),
            _opened(source) as file,
            checkpoint.draft_of(target) as draft,
            checkpoint.draft_of(target.with_name(REPORT_FILE)) as note,
        ):
            if target.exists() and target.samefile(source):
                raise Refused("it lies where its generator would be written", "Choose another place.")
            before = os.fstat(file.fileno())
            report = _report(sandbox.run(file, draft, words, on_progress))
            _check(Path(draft.name), source.name)
            after = os.fstat(file.fileno())
            if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
                raise Refused("it was changed while it was read", "Import it again once it is whole.")
            sha256, seconds = checkpoint.sha256_of(draft.name), round(time.monotonic() - start, 3)
            report = replace(report, generator_sha256=sha256, seconds=seconds)
            report.save(Path(note.name))
    except Refused as refusal:
        raise refusal.error(source.name) from refusal
    return report


def find_imported(directory: str | Path, source_sha256: str) -> Path | None:
    """The generator's file in a folder of generators that was imported from a file of these bytes, or None."""
    for path in sorted(Path(directory).glob("*/generator.safetensors")):
        try:
            if checkpoint.read_header(path, "generator").meta.get("source_sha256") == source_sha256:
                return path
        except CheckpointError:
            continue
    return None


def _report(data: dict[str, Any]) -> ImportReport:
    """The report that the child made. It lacks what is known only in the end."""
    try:
        return ImportReport.from_data({**data, "generator_sha256": "", "seconds": 0.0})
    except ValueError as error:
        raise Refused("reading it failed") from error


def _words(name: str, given: dict[str, str | None], classes: Sequence[str] | None) -> dict[str, Any]:
    """The texts for the header, as given, and those of the catalogue for what is not given."""
    entry = catalogue_entry(name)
    return {
        "given": {**given, "classes": list(classes or ())},
        "known": asdict(entry) if entry else None,
        "name": name,
    }


@contextmanager
def _disk_named() -> Iterator[None]:
    """A disk that is full, or a folder that is closed, is no fault of the file's."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise Refused("the disk is full", "Make room, and import it again.") from error
        if error.errno in CLOSED:
            raise Refused(
                "nothing can be written where its generator belongs", "Look at that folder."
            ) from error
        raise


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """The file, once it is sure to be a plain one of a sane size."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if path.is_symlink():
            raise Refused("it is a link", "Give the file that it leads to.") from error
        raise Refused(f"it cannot be opened ({error.strerror})", "Check that it is there.") from error
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise Refused("it is a folder or a device", "Give a file.")
    with os.fdopen(descriptor, "rb") as file:
        if not status.st_size:
            raise Refused("it is empty")
        if status.st_size > MAX_SOURCE_BYTES:
            raise Refused(f"it is larger than {MAX_SOURCE_BYTES // MIB:,} MB", UNKNOWN)
        yield file


def _check(draft: Path, name: str) -> None:
    """The file that was written must be one that the engine can open: shapes are compared, no weights are read."""
    from ganworks import architectures
    from ganworks.info import read_generator_info

    try:
        header = replace(checkpoint.read_header(draft, "generator"), name=name)
        architectures.build(header, read_generator_info(draft))
    except CheckpointError as error:
        reason = refused(error).reason
        raise Refused(f"its generator is not one of the published ones ({reason})", UNKNOWN) from error
