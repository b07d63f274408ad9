"""Upscalers of other people: networks that spandrel knows (Real-ESRGAN and its kin, Compact, SwinIR, HAT and more).

`import_upscaler` makes one of ours of a foreign file; one that was put into a folder as it is works too, `findings_of`
looks at it once. Whatever is foreign is read, recognised and tried out in a child process (`sandbox`, `child`), never as
a program: safetensors, or `torch.load(weights_only=True)`. Only a file that passed is opened here (`open_network`).
"""

import errno
import hashlib
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from ganworks import checkpoint
from ganworks.importing.refusal import MAX_NAME, MIB, Refused, readable
from ganworks.upscalers.findings import Findings, read_note, write_note

if TYPE_CHECKING:
    from ganworks.upscalers.network import ForeignNetwork

__all__ = ["Findings", "UpscalerReport", "findings_of", "import_upscaler", "open_network"]

ARCHITECTURE = "spandrel"
MAX_SOURCE_BYTES = 1024 * MIB
FULL = (errno.ENOSPC, errno.EDQUOT)

_found: dict[str, Findings | Refused] = {}
_lock = threading.Lock()


@dataclass(frozen=True)
class UpscalerReport:
    """What `import_upscaler` found and wrote. `sha256` is the written file's, `source_sha256` the foreign one's."""

    findings: Findings
    label: str
    license: str
    source_name: str
    source_bytes: int
    source_sha256: str
    sha256: str


def import_upscaler(
    source: str | Path, target: str | Path, *, label: str = "", license: str = "", description: str = ""
) -> UpscalerReport:
    """
    Read a foreign upscaler (.safetensors, or a .pth of tensors) and write it as `<name>/upscaler.safetensors`.

    It is read in a child process with limits, which runs nothing that is in it. Takes 10 seconds to a few minutes, as
    the network is tried out. CheckpointError with one sentence, and nothing written, if it is refused.
    """
    source, target = Path(source), Path(target)
    name = readable(source.name, MAX_NAME)
    try:
        with _opened(source) as file, checkpoint.draft_of(target) as draft:
            before, digest = os.fstat(file.fileno()), _sha256(file)
            words = {"label": label or source.stem[:MAX_NAME], "license": license, "description": description}
            meta = {**words, "source_format": ARCHITECTURE, "source_name": name, "source_sha256": digest}
            findings = _run(file, draft, meta)
            checkpoint.read_header(draft.name, "upscaler").integer("scale", findings.scale, findings.scale)
            after, sha256 = os.fstat(file.fileno()), checkpoint.sha256_of(draft.name)
            if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
                raise Refused("it was changed while it was read", "Import it again once it is whole.")
    except Refused as refusal:
        raise refusal.error(source.name) from refusal
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise Refused("the disk is full", "Make room, and import it again.").error(source.name) from error
    write_note(target, sha256, findings)
    return UpscalerReport(findings, words["label"], license, name, before.st_size, digest, sha256)


def findings_of(path: Path) -> Findings:
    """What there is to know of a foreign file in a library: from the note beside it, or from a look at it, once."""
    sha256 = checkpoint.sha256_of(path)
    with _lock:
        found = _found.get(sha256) or read_note(path, sha256)
        if found is None:
            try:
                with _opened(path) as file:
                    found = _run(file)
                write_note(path, sha256, found)
            except Refused as refusal:
                found = refusal
        _found[sha256] = found
    if isinstance(found, Refused):
        raise checkpoint.damaged(f"{path.parent.name}/{path.name}", readable(found.reason, 200)) from found
    return found


def open_network(path: Path) -> "ForeignNetwork":
    """The network in a foreign file of safetensors, with or without our header, once the file has been looked at."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from ganworks.upscalers.network import ForeignNetwork, recognise, stored

    findings = findings_of(path)
    try:
        return ForeignNetwork(recognise(stored(load_file(path))), findings)
    except (Refused, SafetensorError, OSError) as error:
        raise checkpoint.damaged(f"{path.parent.name}/{path.name}", "it was changed or damaged") from error


def _sha256(file: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while piece := file.read(MIB):
        digest.update(piece)
    file.seek(0)
    return digest.hexdigest()


def _run(source: IO[bytes], draft: IO[bytes] | None = None, meta: dict[str, str] | None = None) -> Findings:
    from ganworks.upscalers import sandbox

    return sandbox.run(source, draft, meta)


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """The file, once it is sure to be a plain one of a sane size."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise Refused(f"it cannot be opened ({error.strerror})", "Check that it is there.") from error
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise Refused("it is a folder or a device", "Give a file.")
    with os.fdopen(descriptor, "rb") as file:
        if status.st_size < 9:
            raise Refused("it is too short to hold anything")
        if status.st_size > MAX_SOURCE_BYTES:
            raise Refused(f"it is larger than {MAX_SOURCE_BYTES // MIB:,} MB", "Choose a smaller network.")
        yield file
