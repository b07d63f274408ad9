"""What members can ask for, from pages, API and commands: each checks, writes the rows, and wakes a worker."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import F

from accounts.models import User
from gallery.errors import StorageFull
from gallery.models import Image, SavedImage, Status
from gallery.services import check_room
from transforms import lifecycle, projections
from transforms.actors import ring_on_commit
from transforms.engine import UpscalerInfo, engine
from transforms.errors import InvalidParams, NotReady, QuotaReached
from transforms.events import publish_on_commit
from transforms.models import FAILURES, CheckpointImport, Job, Operation, Priority, State
from transforms.params import (
    BASES,
    DEFAULT_GRADE,
    DEFAULT_STEPS,
    DEFAULT_TRUNCATION_PSI,
    DEFAULT_UPSCALER,
    SPACES,
    STILL,
    Crop,
    Edit,
    ProjectParams,
    RandomParams,
    SaveParams,
    UpscaleParams,
    edits_as_data,
)
from transforms.recipes import Recipe, SeedSource

log = structlog.get_logger(__name__)

# A seed that nobody chose is short enough to be read, remembered and told to somebody.
SURPRISE_SEEDS = 1_000_000
MAX_ENLARGED_PX = 16_384

# --- Asking for work ----------------------------------------------------------------------------------------


def request_random(
    user: User,
    *,
    generator: str,
    count: int = 1,
    seed: int | None = None,
    truncation_psi: float = DEFAULT_TRUNCATION_PSI,
    class_index: int | None = None,
    deadline: datetime | None = None,
) -> Job:
    """Draw `count` pictures of the seeds from `seed` on (None: a random one). Their rows exist at once."""
    params = RandomParams.from_data(
        {
            "generator": generator,
            "count": count,
            "seed": seed,
            "truncation_psi": truncation_psi,
            "class_index": class_index,
        }
    )
    info = engine().generator(params.generator)
    params = replace(params, class_index=_class_of(params.class_index, info.c_dim))
    first = secrets.randbelow(SURPRISE_SEEDS) if params.seed is None else params.seed
    with transaction.atomic():
        _check_quota(user)
        # The newest stands first in the gallery, and the first seed should: it is made last.
        images = [
            _random_image(user, info.label, info.sha256, params, drawn)
            for drawn in reversed(params.seeds(first))
        ]
        Image.objects.bulk_create(images)
        ids = [str(image.pk) for image in reversed(images)]
        what = "1 picture" if params.count == 1 else f"{params.count} pictures"
        return enqueue(
            user,
            Operation.RANDOM,
            title=f"{what} from {info.label}",
            params={**params.as_data(), "seed": first},
            generator=info.name,
            size=f"x{params.count}",
            deadline=deadline,
            result={"images": ids, "ready": []},
        )


def request_projection(
    user: User,
    image: Image,
    *,
    generator: str,
    crop: Crop | dict[str, Any] | None = None,
    space: str = SPACES[0],
    steps: int = DEFAULT_STEPS,
    class_index: int | None = None,
    grade: str = DEFAULT_GRADE,
    kept: uuid.UUID | None = None,
    force: bool = False,
    quota: bool = True,
    priority: Priority = Priority.INTERACTIVE,
    deadline: datetime | None = None,
) -> Job | None:
    """Find an upload in a generator's latent space. None: an equal projection is kept, and is in force now.

    `kept`: the one to go back to, whatever the rest says, if it is still there.
    """
    params = ProjectParams.from_data(
        {
            "generator": generator,
            "crop": crop,
            "space": space,
            "steps": steps,
            "class_index": class_index,
            "grade": grade,
        }
    )
    if image.source == Image.Source.RANDOM:
        raise NotReady(
            "This picture was generated, so its place is known: it can be edited without projection."
        )
    if not image.file:
        raise NotReady("This picture has no file yet. Try again when it is there.")
    params = replace(params, crop=params.crop or Crop.middle_of(image.width, image.height))
    assert params.crop is not None  # noqa: S101  (for the type checker)
    params.crop.check_within(image.width, image.height)
    info = engine().generator(params.generator)
    params = replace(params, class_index=_known_class(params.class_index, info.c_dim))
    if params.draft and not info.has_encoder:
        raise NotReady(
            f"{info.label} has no encoder, so it cannot give a draft. Choose a refined projection."
        )
    key = projections.key_of(image, info.sha256, params)
    with transaction.atomic():
        running = Job.objects.active().filter(image=image, operation=Operation.PROJECT).first()
        if running is not None:
            return _same_or_refuse(running, key)
        if not force and (_point_at_kept(image, pk=kept) or _point_at_kept(image, key=key)):
            return None
        if quota:
            _check_quota(user)
        Image.objects.filter(pk=image.pk).update(status_process=Status.QUEUED)
        image.status_process = Status.QUEUED
        return enqueue(
            user,
            Operation.PROJECT,
            title=f"Project “{image.name}” into {info.label}",
            params={**params.as_data(), "key": key},
            generator=info.name,
            size=f"{params.steps} steps, {params.grade}",
            priority=priority,
            deadline=deadline,
            image=image,
        )


def request_save(
    user: User,
    image: Image,
    *,
    edits: Sequence[Edit | dict[str, Any]] = (),
    truncation_psi: float | None = None,
    name: str = "",
    noise_mode: str = "const",
    class_index: int | None = None,
    move: dict[str, Any] | None = None,
    panorama: dict[str, Any] | None = None,
    deadline: datetime | None = None,
) -> Job:
    """Draw `image` with `edits` exactly, and keep it. The job's result names the saved picture."""
    if isinstance(edits, list | tuple):
        edits = [edits_as_data([edit])[0] if isinstance(edit, Edit) else edit for edit in edits]
    params = SaveParams.from_data(
        {
            "edits": edits,
            "truncation_psi": truncation_psi,
            "name": name,
            "noise_mode": noise_mode,
            "class_index": class_index,
            "move": move,
            "panorama": panorama,
        }
    )
    recipe = projections.recipe_of(image, params.look)
    recipe = replace(recipe, edits=params.edits, panorama=params.panorama)
    _check_recipe(recipe)
    with transaction.atomic():
        _check_quota(user)
        return enqueue(
            user,
            Operation.SAVE,
            title=f"Save “{params.name or image.name}”",
            params={
                "recipe": recipe.as_data(),
                "name": params.name or image.name,
                "saved_image": str(uuid.uuid4()),
            },
            generator=recipe.generator,
            size=f"{_size_class(recipe.panorama.width)} px wide" if recipe.panorama else "",
            deadline=deadline,
            image=image,
        )


def request_upscale(
    user: User,
    saved: SavedImage,
    *,
    upscaler: str = DEFAULT_UPSCALER,
    quota: bool = True,
    priority: Priority = Priority.INTERACTIVE,
    deadline: datetime | None = None,
) -> Job:
    """Enlarge a saved picture. If that is under way already, this is that job."""
    params = UpscaleParams.from_data({"upscaler": upscaler})
    if not saved.file:
        raise NotReady("This picture has no file yet. Try again when it is there.")
    info = engine().upscaler(params.upscaler)
    if not _fits_enlarged(saved, info.scale):
        raise NotReady(
            f"Enlarged, this picture would be more than {MAX_ENLARGED_PX:,} pixels wide or high, "
            "which is as large as pictures can be here."
        )
    with transaction.atomic():
        running = Job.objects.active().filter(saved_image=saved, operation=Operation.UPSCALE).first()
        if running is not None:
            return running
        if quota:
            _check_quota(user)
        SavedImage.objects.filter(pk=saved.pk).update(status_superresolution=Status.QUEUED)
        saved.status_superresolution = Status.QUEUED
        return enqueue(
            user,
            Operation.UPSCALE,
            title=f"Enlarge “{saved.name}” {info.scale} times",
            params=params.as_data(),
            size=f"{_size_class(saved.width * saved.height)} px",
            priority=priority,
            deadline=deadline,
            saved_image=saved,
        )


def upscalers_for(saved: SavedImage) -> list[UpscalerInfo]:
    """The upscalers with which `request_upscale` would take the picture, as far as its size is concerned; the usual one
    first, if it is among them, then those that enlarge most, and of these those that invent least."""
    fitting = [info for info in engine().upscalers() if _fits_enlarged(saved, info.scale)]
    kind = DEFAULT_UPSCALER.partition("-")[0]
    return sorted(
        fitting,
        key=lambda info: (info.name != DEFAULT_UPSCALER, -info.scale, info.name.partition("-")[0] != kind),
    )


def _fits_enlarged(saved: SavedImage, scale: int) -> bool:
    return max(saved.width, saved.height) * scale <= MAX_ENLARGED_PX


def check_edits(edits: Sequence[Edit], generator_sha256: str) -> None:
    """Whether the generator has these components and layers. InvalidParams if not."""
    if not edits:
        return
    info = engine().generator_by_sha256(generator_sha256)
    counts = {basis: len(engine().components(info.name, basis)) for basis in BASES}
    for edit in edits:
        count = counts[edit.basis]
        if edit.component >= count:
            raise InvalidParams(
                "edits", f"{info.label} has {count} {edit.basis}: there is no number {edit.component}."
            )
        if edit.end > info.num_ws:
            raise InvalidParams(
                "edits", f"{info.label} has {info.num_ws} layers: an edit may not reach beyond them."
            )


def _check_recipe(recipe: Recipe) -> None:
    """Whether the generator can do all that the recipe says. InvalidParams if not."""
    check_edits(recipe.edits, recipe.generator_sha256)
    info = engine().generator_by_sha256(recipe.generator_sha256)
    if isinstance(recipe.source, SeedSource):
        _known_class(recipe.source.class_index, info.c_dim)
    if recipe.move != STILL and not info.moves:
        raise InvalidParams("move", f"{info.label} cannot shift or turn a picture.")
    if recipe.panorama is not None and not info.scrolls:
        raise InvalidParams("panorama", f"{info.label} draws single pictures, and no panoramas.")


# --- Changing one's mind ------------------------------------------------------------------------------------


def cancel(user: User, job: Job) -> bool:
    """End a waiting job, or ask a running one to end. False: it is over already."""
    mine = Job.objects.visible_to(user).filter(pk=job.pk)
    for _ in range(3):  # it may be claimed, or released, between the two looks
        if lifecycle.cancel(mine.filter(state=State.QUEUED), job):
            return True
        running = mine.filter(state=State.RUNNING)
        if running.update(cancel_requested=True, keep_partial=False, sequence=F("sequence") + 1):
            publish_on_commit(job.pk)
            return True
        if not mine.active().exists():
            return False
    return False


def keep(user: User, job: Job) -> bool:
    """Stop a running projection and keep what was found so far. False: there is nothing to keep."""
    running = Job.objects.visible_to(user).filter(
        pk=job.pk, operation=Operation.PROJECT, state=State.RUNNING, cancel_requested=False
    )
    if not running.update(keep_partial=True, sequence=F("sequence") + 1):
        return False
    publish_on_commit(job.pk)
    return True


def retry(user: User, job: Job, *, quarantined: bool = False) -> Job:
    """Ask again for a job that failed or was canceled. Asked twice, the same new job answers.

    `quarantined`: even if it stopped its worker each time. That is for staff to decide.
    """
    with transaction.atomic():
        job = Job.objects.visible_to(user).select_for_update(of=("self",)).defer("preview").get(pk=job.pk)
        if job.state not in FAILURES:
            raise NotReady("Only a job that failed or was canceled can be tried again.")
        if job.is_quarantined and not quarantined:
            raise NotReady(
                "This job stopped the worker each time, so only the people who run this site can try it again."
            )
        if job.operation == Operation.IMPORT:
            raise NotReady("The uploaded file is not kept. Upload it again to import it.")
        again = job.retries.exclude(state__in=FAILURES).first()
        if again is not None:
            return again
        _check_quota(user)
        return enqueue(
            user,
            Operation(job.operation),
            title=job.title,
            params=_params_again(job),
            generator=job.generator,
            size=_size_of(job),
            priority=Priority(job.priority),
            result=_result_again(job),
            image=job.image,
            saved_image=job.saved_image,
            checkpoint_import=job.checkpoint_import,
            retry_of=job,
        )


def _params_again(job: Job) -> dict[str, Any]:
    if job.operation == Operation.SAVE:
        return {**job.params, "saved_image": str(uuid.uuid4())}
    if job.operation == Operation.PROJECT:
        Image.objects.filter(jobs=job).update(status_process=Status.QUEUED)
    if job.operation == Operation.UPSCALE:
        SavedImage.objects.filter(jobs=job).update(status_superresolution=Status.QUEUED)
    if job.operation == Operation.DIRECTIONS:
        CheckpointImport.objects.filter(jobs=job).update(status_directions=Status.QUEUED)
    return dict(job.params)


def _result_again(job: Job) -> dict[str, Any]:
    """A batch draws what is missing. Placeholders that are gone come back, but not what the member deleted."""
    if job.operation != Operation.RANDOM:
        return {}
    params = RandomParams.from_data(job.params)
    info = engine().generator(params.generator)
    known = {str(image.pk): image for image in Image.objects.filter(pk__in=job.result["images"])}
    ids = []
    for pk, seed in zip(job.result["images"], params.seeds(params.seed or 0), strict=True):
        if pk in job.result["ready"]:
            ids.append(pk)
        elif pk not in known:
            image = _random_image(job.user, info.label, info.sha256, params, seed)
            image.save(force_insert=True)
            ids.append(str(image.pk))
        elif known[pk].deleted_at is None:
            ids.append(pk)
    waiting = [pk for pk in ids if pk not in job.result["ready"]]
    Image.objects.filter(pk__in=waiting).update(status_process=Status.QUEUED)
    return {"images": ids, "ready": [pk for pk in ids if pk in job.result["ready"]]}


# --- Inside -------------------------------------------------------------------------------------------------


def enqueue(
    user: User,
    operation: Operation,
    *,
    title: str,
    params: dict[str, Any],
    generator: str = "",
    size: str = "",
    priority: Priority = Priority.INTERACTIVE,
    **fields: Any,
) -> Job:
    """Write the job, at the end of the member's own line. `generator`: the one that a worker needs for it.

    `size`: what else makes jobs of this operation with this network take longer or shorter.
    """
    network = generator or params.get("upscaler", "")
    job = Job.objects.create(
        user=user,
        operation=operation,
        title=title[:160],
        params=params,
        generator=generator,
        kind=" ".join(filter(None, (operation, network, size)))[:160],
        priority=priority,
        turn=Job.objects.next_turn(user, priority),
        **fields,
    )
    log.info("job_queued", job_id=str(job.pk), operation=job.operation, user_id=str(user.pk))
    publish_on_commit(job.pk)
    ring_on_commit()
    return job


def _size_class(count: int) -> int:
    """The power of two that is next: what is about as large takes about as long."""
    return 1 << max(0, count - 1).bit_length()


def _size_of(job: Job) -> str:
    """The size as it was said when the job was asked for."""
    network = job.generator or job.params.get("upscaler", "")
    return job.kind.removeprefix(job.operation).removeprefix(f" {network}").strip()


def _random_image(user: User, label: str, sha256: str, params: RandomParams, seed: int) -> Image:
    return Image(
        user=user,
        source=Image.Source.RANDOM,
        name=f"{label} {seed}",
        model=params.generator,
        generator_sha256=sha256,
        status_process=Status.QUEUED,
        seed=seed,
        truncation_psi=params.truncation_psi,
        class_index=params.class_index,
    )


def _class_of(class_index: int | None, c_dim: int) -> int | None:
    """A generator with classes draws the first one unless another is asked for."""
    return (_known_class(class_index, c_dim) or 0) if c_dim else None


def _known_class(class_index: int | None, c_dim: int) -> int | None:
    """The class that was asked for. A generator without classes does not mind being asked."""
    if not c_dim or class_index is None:
        return None
    if class_index >= c_dim:
        raise InvalidParams("class_index", f"The class must be a number from 0 to {c_dim - 1}.")
    return class_index


def _same_or_refuse(running: Job, key: str) -> Job:
    if running.params.get("key") == key:
        return running
    raise NotReady("This picture is being projected already. Stop that first, or wait for it.")


def _point_at_kept(image: Image, **which: Any) -> bool:
    kept = image.projections.filter(**which).first()
    if kept is None:
        return False
    values = {
        "projection": kept,
        "model": kept.generator,
        "generator_sha256": kept.generator_sha256,
        "crop": kept.crop,
        "status_process": Status.DONE,
    }
    Image.objects.filter(pk=image.pk).update(**values)
    for name, value in values.items():
        setattr(image, name, value)
    return True


def _check_quota(user: User) -> None:
    """Inside a transaction. The lock on the member's row keeps two requests from taking the same last place."""
    User.objects.select_for_update().get(pk=user.pk)
    outstanding = Job.objects.active().filter(user=user).count()
    if outstanding >= settings.QUOTA_OUTSTANDING_JOBS:
        raise QuotaReached(
            f"You have {outstanding} jobs that are not done yet, which is as many as you may have. "
            "Wait for one, or cancel one."
        )
    try:
        check_room(user)
    except StorageFull as error:
        raise QuotaReached(str(error)) from error
