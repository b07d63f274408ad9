"""Read an uploaded checkpoint in a sandbox, and install the generator that is in it."""

from __future__ import annotations

from typing import Any

from transforms import imports, installing, slices
from transforms.context import JobContext, Outcome
from transforms.errors import JobFailed
from transforms.importing_engine import read_checkpoint
from transforms.installing import Draft
from transforms.models import CheckpointImport, ImportState, Job

SHARE_OF_ASSEMBLING = 0.1


def run(job: Job, context: JobContext) -> Outcome:
    row = job.checkpoint_import
    if row is None or row.state != ImportState.IMPORTING:
        raise JobFailed("The upload that should be imported is not there any more.")
    with installing.plain_disk_errors():
        draft = Draft.fresh(str(job.pk), job.attempt)
        try:
            return _import(job, row, draft, context)
        except BaseException:
            draft.remove()
            raise


def _import(job: Job, row: CheckpointImport, draft: Draft, context: JobContext) -> Outcome:
    def tell(share: float, stage: str) -> None:
        context.progress(share, stage)
        if context.should_stop():
            context.check()

    source = draft.source(row.file_name)
    sha256 = slices.assemble(
        row.pk,
        row.bytes_total,
        source,
        lambda share: tell(SHARE_OF_ASSEMBLING * share, "Putting the file together"),
    )
    CheckpointImport.objects.filter(pk=row.pk).update(source_sha256=sha256)
    known = installing.made_from(sha256)
    if known is not None and known.is_own and known.name == row.name:
        draft.remove()  # an earlier attempt came as far as this, and was interrupted before it could say so
        report = {**installing.report_of(row.name), "generator_sha256": known.sha256, "source_sha256": sha256}
        return _outcome(job, row, report, draft, published=True)
    if known is not None:
        raise JobFailed(f"This file was imported before: it is the generator “{known.name}”.")
    installing.check_room(row.bytes_total)
    report = read_checkpoint(
        source,
        draft.generator,
        label=row.label,
        license=row.license,
        classes=row.classes,
        on_progress=lambda share, stage: tell(SHARE_OF_ASSEMBLING + (1 - SHARE_OF_ASSEMBLING) * share, stage),
    )
    draft.forget_source()
    return _outcome(job, row, report, draft)


def _outcome(
    job: Job, row: CheckpointImport, report: dict[str, Any], draft: Draft, *, published: bool = False
) -> Outcome:
    """The generator takes its place last of all, so that whatever fails before leaves nothing of it."""

    def write() -> None:
        try:
            imports.installed(row, report)
            imports.request_directions(job.user, row)
            if not published:
                draft.publish(row.name)
        except BaseException:
            draft.remove()
            raise

    return Outcome({"generator": row.name}, write, draft.remove)
