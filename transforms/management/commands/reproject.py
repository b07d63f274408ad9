"""`manage.py reproject`: find chosen uploads in a generator's latent space, again or for the first time."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser

from gallery.models import Image
from transforms import projections, services
from transforms.engine import engine
from transforms.errors import TransformError
from transforms.management.batch import BatchCommand
from transforms.models import Job, Priority
from transforms.params import DEFAULT_GRADE, DEFAULT_STEPS, GRADES, SPACES, Crop, ProjectParams


class Command(BatchCommand):
    help = (
        "Projects the chosen uploads. What is projected already with the same generator, square, space and steps "
        "is skipped, so the command can be stopped and started again."
    )
    state_field = "status_process"

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--into", help="project into this generator (default: the one of each picture)")
        parser.add_argument("--space", choices=SPACES, default=SPACES[0])
        parser.add_argument("--steps", type=int, default=DEFAULT_STEPS)
        parser.add_argument(
            "--grade", choices=GRADES, help="default: the one that each picture has, or refined"
        )
        parser.add_argument("--force", action="store_true", help="project again what is projected already")

    def handle(self, *args: Any, **options: Any) -> None:
        into = options["into"] or ""
        if into:
            try:
                engine().generator(into)
            except TransformError as error:
                raise CommandError(str(error)) from error

        def wish(image: Image) -> dict[str, Any]:
            crop = image.crop or Crop.middle_of(image.width, image.height).as_data()
            generator = into or image.model
            return {
                "generator": generator,
                "crop": crop,
                "space": options["space"],
                "steps": options["steps"],
                "grade": options["grade"] or (image.projection.grade if image.projection else DEFAULT_GRADE),
            }

        def ask(image: Image) -> Job | None:
            if not (into or image.model):
                raise TransformError(
                    "It was never projected: say with --into which generator it should go to."
                )
            return services.request_projection(
                image.user,
                image,
                **wish(image),
                force=options["force"],
                quota=False,
                priority=Priority.BATCH,
                deadline=self.deadline(options),
            )

        def is_done(image: Image) -> bool:
            return not options["force"] and bool(into or image.model) and _is_kept(image, wish(image))

        uploads = Image.objects.alive().filter(source=Image.Source.UPLOAD).select_related("projection")
        self.work_through(self.choose(uploads, options), ask, dry_run=options["dry_run"], is_done=is_done)


def _is_kept(image: Image, wish: dict[str, Any]) -> bool:
    """Whether the image points at such a projection."""
    try:
        params = ProjectParams.from_data(wish)
        sha256 = engine().generator(params.generator).sha256
    except TransformError:
        return False
    return image.projection is not None and image.projection.key == projections.key_of(image, sha256, params)
