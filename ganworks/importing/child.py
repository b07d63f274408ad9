"""The child process of an import: limits and a lock first, then the work, with one answer in JSON.

It is started by `sandbox`, with two open files, the source and the draft, and an order on its standard input. On its
standard output it writes a JSON object for each step, `{"share": 0.3, "stage": "..."}`, and then one with the
`report`, or with the reason why the file is `refused`.
"""

import errno
import json
import mmap
import os
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from ganworks.importing.convert import convert
from ganworks.importing.refusal import Refused

STEP = 0.02  # of the whole, between two answers about progress
# Python tells of these before they happen; once a file is being read, none of them has any business to.
FORBIDDEN = (
    "import",
    "open",
    "exec",
    "compile",
    "os.",
    "subprocess.",
    "socket.",
    "ctypes.",
    "pickle.",
    "shutil.",
)


def main(source: int, draft: int) -> None:
    """Do what the order says with the two open files."""
    order = json.load(sys.stdin)
    limit(order["limits"])
    told = -1.0

    def progress(share: float, stage: str) -> None:
        nonlocal told
        if share >= told + STEP:
            told = share
            answer(share=share, stage=stage)

    try:
        data = memoryview(mmap.mmap(source, 0, access=mmap.ACCESS_READ))
        with os.fdopen(draft, "wb") as target, locked():
            report = convert(data, target, order["words"], progress)
        answer(report=report)
    except Refused as refusal:
        answer(refused=[refusal.reason, refusal.advice])
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        answer(refused=["the disk is full", "Make room, and import it again."])
    except MemoryError:
        answer(
            refused=["it needs more memory than a file of its size may", "It is damaged, or made to do harm."]
        )


def answer(**content: Any) -> None:
    """Tell the parent process something."""
    sys.stdout.write(json.dumps(content) + "\n")
    sys.stdout.flush()


@contextmanager
def locked() -> Iterator[None]:
    """Within this block the interpreter imports, opens, compiles and starts nothing: it is a mistake, or an attack."""
    shut = True

    def guard(event: str, arguments: object) -> None:
        if shut and event.startswith(FORBIDDEN):
            raise Refused(f"reading it led to something that is forbidden ({event})", "Tell the maintainers.")

    sys.addaudithook(guard)
    try:
        yield
    finally:
        shut = False


def limit(limits: dict[str, int]) -> None:
    """Set the limits of this process, which nothing in it can raise again."""
    for name, value in limits.items():
        kind = getattr(resource, f"RLIMIT_{name}")
        hard = resource.getrlimit(kind)[1]
        most = value if hard == resource.RLIM_INFINITY else min(value, hard)
        with suppress(ValueError, OSError):  # macOS knows some of these limits and does not let them be set
            resource.setrlimit(kind, (most, most))
