"""Runs the look at a foreign upscaler in a child process that may do little: limits on memory, time, files, processes.

Unlike the one of `ganworks.importing.sandbox` it has torch, because the networks are spandrel's, and are tried out.
"""

import json
import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO, Any

from ganworks.importing.refusal import MAX_EXPANSION, MIB, Refused
from ganworks.upscalers.findings import Findings

logger = logging.getLogger(__name__)

BASE_SECONDS, BYTES_PER_SECOND = 240, MIB
MAX_ANSWER_BYTES, LOGGED_BYTES = 64 * 1024, 4096
ROOT = Path(__file__).resolve().parents[2]
PATHS = [str(ROOT), *(path for path in sys.path if os.path.isabs(path))]
PROGRAM = (
    f"import sys; sys.path[:] = {PATHS!r}; from ganworks.upscalers.child import main; "
    "main(int(sys.argv[1]), int(sys.argv[2]))"
)
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    "CUDA_VISIBLE_DEVICES": "",
    "LC_ALL": "C.UTF-8",
}
CRASHED = "It is damaged, or made to do harm."


def run(source: IO[bytes], draft: IO[bytes] | None = None, meta: dict[str, Any] | None = None) -> Findings:
    """
    Look at an open file, and write it as ours into `draft`, with `meta` in its header. Raises Refused.
    """
    size = os.fstat(source.fileno()).st_size
    seconds = BASE_SECONDS + size // BYTES_PER_SECOND
    limits = {
        "CPU": seconds,
        "FSIZE": MAX_EXPANSION * size + MIB,
        "CORE": 0,
        "NOFILE": 32,
        "NPROC": 0,
    }
    order = json.dumps({"limits": limits, "meta": meta or {}}).encode()
    with (
        tempfile.TemporaryDirectory(prefix="ganworks-upscaler-") as folder,
        tempfile.TemporaryFile() as answers,
        tempfile.TemporaryFile() as errors,
    ):
        files = (source.fileno(),) if draft is None else (source.fileno(), draft.fileno())
        numbers = [str(number) for number in (*files, -1)[:2]]
        try:
            ended = subprocess.run(  # noqa: S603  # our own interpreter and program, and two numbers
                [sys.executable, "-I", "-B", "-W", "ignore", "-c", PROGRAM, *numbers],
                input=order,
                stdout=answers,
                stderr=errors,
                pass_fds=files,
                cwd=folder,
                env=ENVIRONMENT,
                start_new_session=True,
                timeout=2 * seconds,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise Refused("looking at it takes too long", CRASHED) from error
        answers.seek(0)
        answer = answers.read(MAX_ANSWER_BYTES)
        errors.seek(max(0, errors.seek(0, os.SEEK_END) - LOGGED_BYTES))
        return _findings(answer, ended.returncode, errors.read())


def _findings(answer: bytes, code: int, errors: bytes) -> Findings:
    """What the child says is checked, as a file may have found a way to speak through it."""
    try:
        said = json.loads(answer)
        if "refused" in said:
            reason, advice = said["refused"]
            raise Refused(str(reason), str(advice))
        return Findings.from_data(said["findings"])
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        logger.error("The look at an upscaler ended with the code %s: %r %r", code, answer[:200], errors)
        raise Refused("looking at it failed", CRASHED) from error
