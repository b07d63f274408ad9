"""Make an installed generator's contact sheet and directions."""

from __future__ import annotations

from gallery.models import Status
from transforms import installing
from transforms.context import JobContext, Outcome
from transforms.errors import JobFailed
from transforms.importing_engine import make_directions
from transforms.models import CheckpointImport, Job


def run(job: Job, context: JobContext) -> Outcome:
    row = job.checkpoint_import
    if row is None or not row.is_installed or not installing.is_installed(row.name):
        raise JobFailed("This generator is not installed any more.")

    def tell(share: float, stage: str) -> None:
        context.progress(share, stage)
        if context.should_stop():
            context.check()

    with installing.plain_disk_errors():
        make_directions(installing.folder_of(row.name), tell)

    def write() -> None:
        CheckpointImport.objects.filter(pk=row.pk).update(status_directions=Status.DONE)

    return Outcome({"generator": row.name}, write)
