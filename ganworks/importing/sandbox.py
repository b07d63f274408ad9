"""Runs the reading of a file in a child process that may do little: limits on memory, time, files and processes.

The child is a plain interpreter without torch. It inherits two open files and nothing else, starts in an empty folder
with an empty environment, and whatever becomes of it is one sentence here.
"""

import json
import logging
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from ganworks.importing.refusal import MAX_EXPANSION, MIB, Refused

logger = logging.getLogger(__name__)

BASE_MEMORY_BYTES = 384 * MIB  # of addresses: Python with numpy takes 150 MB of them
BASE_SECONDS, BYTES_PER_SECOND = 30, 5 * MIB
LAST_SECONDS = 5  # to end after the last answer
MAX_ANSWER_BYTES, LOGGED_BYTES = 16 * MIB, 4096
ROOT = Path(__file__).resolve().parents[2]
PATHS = [
    str(ROOT),
    *(path for path in sys.path if os.path.isabs(path)),
]  # where this process finds its packages
PROGRAM = (
    f"import sys; sys.path[:] = {PATHS!r}; from ganworks.importing.child import main; "
    "main(int(sys.argv[1]), int(sys.argv[2]))"
)
CRASHED = "It is damaged, or made to do harm."


def run(
    source: IO[bytes],
    draft: IO[bytes],
    words: dict[str, Any],
    on_progress: Callable[[float, str], None] | None,
) -> dict[str, Any]:
    """
    What `convert.convert` returns for an open file, with the generator in `draft`. Raises Refused, and whatever
    `on_progress` raises, which stops the child.
    """
    size = os.fstat(source.fileno()).st_size
    seconds = BASE_SECONDS + size // BYTES_PER_SECOND
    order = json.dumps({"words": words, "limits": limits(size, seconds)}).encode()
    with (
        tempfile.TemporaryDirectory(prefix="ganworks-import-") as folder,
        tempfile.TemporaryFile() as errors,
        _start(source, draft, errors, folder) as child,
    ):
        try:
            for answer in _answers(child, order, time.monotonic() + 2 * seconds):
                if "refused" in answer:
                    raise Refused(*answer["refused"])
                if "report" in answer:
                    report: dict[str, Any] = answer["report"]
                    return report
                if on_progress is not None:
                    on_progress(answer["share"], answer["stage"])
            with suppress(subprocess.TimeoutExpired):
                child.wait(LAST_SECONDS)
        finally:
            child.kill()
        child.wait()
        errors.seek(max(0, errors.seek(0, os.SEEK_END) - LOGGED_BYTES))
        logger.error("The child of an import ended with the code %s: %r", child.returncode, errors.read())
    raise Refused("reading it failed", CRASHED)


def limits(size: int, seconds: int) -> dict[str, int]:
    """The limits of the child for a file of `size` bytes, by the names that `resource` has for them."""
    return {
        "AS": BASE_MEMORY_BYTES + MAX_EXPANSION * size,
        "CPU": seconds,
        "FSIZE": MAX_EXPANSION * size + MIB,
        "CORE": 0,
        "NOFILE": 32,
        "NPROC": 0,
    }


def _start(source: IO[bytes], draft: IO[bytes], errors: IO[bytes], folder: str) -> subprocess.Popen[bytes]:
    files = (source.fileno(), draft.fileno())
    command = [sys.executable, "-I", "-B", "-W", "ignore", "-c", PROGRAM, *map(str, files)]
    environment = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "LC_ALL": "C.UTF-8"}
    return subprocess.Popen(  # noqa: S603  # our own interpreter and program, and two numbers
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        pass_fds=files,
        cwd=folder,
        env=environment,
        start_new_session=True,
    )


def _answers(child: subprocess.Popen[bytes], order: bytes, deadline: float) -> Iterator[dict[str, Any]]:
    """The child's answers as they come, until it ends. Refused if that takes too long."""
    assert child.stdin is not None  # noqa: S101  # for the types: it was asked for
    assert child.stdout is not None  # noqa: S101
    try:
        child.stdin.write(order)
        child.stdin.close()
    except BrokenPipeError:
        return
    rest, total = b"", 0
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ)
        while selector.select(max(0.0, deadline - time.monotonic())):
            piece = os.read(child.stdout.fileno(), 65536)
            total += len(piece)
            if not piece or total > MAX_ANSWER_BYTES:
                return
            *lines, rest = (rest + piece).split(b"\n")
            yield from map(_answer, lines)
    raise Refused("reading it takes too long", CRASHED)


def _answer(line: bytes) -> dict[str, Any]:
    """One answer. Whatever the child says is checked, as a file may have found a way to speak through it."""
    try:
        found = json.loads(line)
        if "refused" in found:
            reason, advice = found["refused"]
            return {"refused": (str(reason), str(advice))}
        if "report" in found:
            return {"report": dict(found["report"])}
        return {"share": float(found["share"]), "stage": str(found["stage"])}
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        logger.error("The child of an import ended with an answer that is none: %r", line[:LOGGED_BYTES])
        raise Refused("reading it failed", CRASHED) from error
