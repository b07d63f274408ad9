"""Jobs that are drawn together: random batches of one generator that wait side by side, in one pass where that is faster."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from uuid import UUID

from PIL.Image import Image as Picture

from gallery.models import Image
from transforms import lifecycle
from transforms.engine import engine
from transforms.lifecycle import undrawn
from transforms.line import WINDOW, servable
from transforms.models import Job, Operation
from transforms.params import RandomParams


def take_along(job: Job, worker: str, new_token: Callable[[], UUID]) -> list[tuple[Job, UUID]]:
    """Claim what can be drawn together with `job`, which was just claimed, from the head of the line; with their tokens.

    Only what is tried for the first time: a job that took its worker with it is tried again alone.
    """
    if job.operation != Operation.RANDOM or job.attempt > 1:
        return []
    room = engine().pictures_at_once(job.generator) - _count(job)
    if room <= 0:
        return []
    taken = []
    head = servable().filter(priority=job.priority).only("operation", "generator", "params", "attempt")
    for other in head[:WINDOW]:
        if _looks_like(job, other) and _count(other) <= room:
            token = new_token()
            if claimed := lifecycle.claim(other.pk, token, worker):
                taken.append((claimed, token))
                room -= _count(other)
    return taken


def waiting_images(job: Job) -> list[Image]:
    """The pictures of a random batch that are not drawn yet, in order."""
    order = {pk: index for index, pk in enumerate(job.result["images"])}
    return sorted(undrawn(job), key=lambda image: order[str(image.pk)])


class Drawing:
    """The pictures of several jobs, drawn in as few passes as possible while one after the other asks for its own."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        params = RandomParams.from_data(jobs[0].params)
        self._seeds = {job.pk: seeds_of(waiting_images(job)) for job in jobs}
        self._pictures = engine().draw(
            params.generator,
            [seed for seeds in self._seeds.values() for seed in seeds],
            truncation_psi=params.truncation_psi,
            class_index=params.class_index,
        )
        self._given = 0
        self._broken = False

    def pictures_of(self, job: Job, seeds: Sequence[int]) -> Iterator[Picture] | None:
        """The pictures of the job. None: they must be drawn apart, for they were changed, or an earlier job's failed."""
        if self._broken or self._seeds.get(job.pk) != list(seeds):
            return None
        return self._give(job.pk)

    def _give(self, pk: UUID) -> Iterator[Picture]:
        start = 0
        for other, seeds in self._seeds.items():
            if other == pk:
                break
            start += len(seeds)
        try:
            for _ in islice(self._pictures, start - self._given):
                self._given += 1  # of a job that ended early
            for picture in islice(self._pictures, len(self._seeds[pk])):
                self._given += 1
                yield picture
        except Exception:
            self._broken = True
            raise


def seeds_of(images: Sequence[Image]) -> list[int]:
    return [image.seed or 0 for image in images]


def _count(job: Job) -> int:
    return int(job.params.get("count", 1))


def _looks_like(job: Job, other: Job) -> bool:
    same = all(job.params.get(name) == other.params.get(name) for name in ("truncation_psi", "class_index"))
    return (
        same
        and other.operation == Operation.RANDOM
        and other.generator == job.generator
        and other.attempt == 0
    )
