"""What jobs do: one module for each operation, each with `run(job, context) -> Outcome`."""

from __future__ import annotations

from collections.abc import Callable

from transforms.context import JobContext, Outcome
from transforms.errors import JobFailed
from transforms.models import Job, Operation
from transforms.operations import checkpoint, directions, project, random, save, upscale

Run = Callable[[Job, JobContext], Outcome]

_OPERATIONS: dict[str, Run] = {
    Operation.RANDOM: random.run,
    Operation.PROJECT: project.run,
    Operation.SAVE: save.run,
    Operation.UPSCALE: upscale.run,
    Operation.IMPORT: checkpoint.run,
    Operation.DIRECTIONS: directions.run,
}


def operation_of(name: str) -> Run:
    if name not in _OPERATIONS:
        raise JobFailed("This version cannot do that kind of work.")
    return _OPERATIONS[name]
