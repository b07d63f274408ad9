"""The API's part of doing: jobs, what is installed, and everything that the editor can do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast
from uuid import UUID

from django.db.models import QuerySet
from django.http import HttpResponse
from django.shortcuts import get_object_or_404
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema, extend_schema_view
from rest_framework import mixins, status, viewsets
from rest_framework.decorators import action
from rest_framework.exceptions import APIException, NotFound, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.routers import BaseRouter
from rest_framework.serializers import Serializer

from accounts.models import User
from accounts.schema import INVALID, NOT_FOUND, REFUSED, SIGNED_OUT
from gallery.models import Image, SavedImage
from transforms import previews, services, wishes
from transforms.engine import EngineError, engine
from transforms.errors import GeneratorMissing, InvalidParams, PreviewsAway, TransformError
from transforms.models import Job
from transforms.params import Look, edits_from
from transforms.representation import jobs_as_data, preview_response
from transforms.serializers import (
    GenerateSerializer,
    GeneratorDetailSerializer,
    GeneratorSerializer,
    JobSerializer,
    ProjectSerializer,
    RenderSerializer,
    SaveSerializer,
    UpscalerSerializer,
    UpscaleSerializer,
)

Result = TypeVar("Result")
ONCE = OpenApiParameter(
    "Idempotency-Key",
    OpenApiTypes.STR,
    OpenApiParameter.HEADER,
    description="Anything of your own, new for each wish. Sent again with the same key, within a day, the wish is not "
    "carried out again: the first answer's job is the answer. With other contents it is refused (409).",
)
ACCEPTED = {202: JobSerializer, 400: INVALID, 401: SIGNED_OUT, 404: NOT_FOUND, 409: REFUSED}


class Refused(APIException):
    """What a service refuses, in its own words."""

    status_code = status.HTTP_409_CONFLICT


def ask(service: Callable[..., Result], *args: Any, **kwargs: Any) -> Result:
    """Call a service; what it refuses becomes an answer of the API."""
    try:
        return service(*args, **kwargs)
    except GeneratorMissing as error:
        field = "upscaler" if "upscaler" in kwargs else "generator"
        raise ValidationError({field: [str(error)]}) from error
    except TransformError as error:
        raise refusal_of(error) from error


def refusal_of(error: TransformError) -> APIException:
    """400 for what was said wrongly, 409 for what cannot be done now."""
    if isinstance(error, InvalidParams):
        return ValidationError({error.field: [str(error)]})
    return Refused(str(error))


def given(serializer: type[Serializer[Any]], request: Request) -> dict[str, Any]:
    checked = serializer(data=request.data)
    checked.is_valid(raise_exception=True)
    return dict(checked.validated_data)


def ask_once(request: Request, service: Callable[..., Result], *args: Any, **wish: Any) -> Result:
    """Call a service that makes a job for the member; once only, if the request brings a key."""
    user, key, contents = member(request), request.headers.get("Idempotency-Key"), [request.path, {**wish}]
    deadline = wishes.deadline_from(wish.pop("deadline", None))

    def asking() -> Any:
        return ask(service, user, *args, **wish, deadline=deadline)

    if key is None:
        return cast(Result, asking())
    key = ask(wishes.checked_key, key)
    return cast(Result, ask(wishes.once, user, key, contents, asking))


def accepted(job: Job) -> Response:
    return Response(JobSerializer(job).data, status=status.HTTP_202_ACCEPTED)


def member(request: Request) -> User:
    return cast(User, request.user)


@extend_schema_view(
    list=extend_schema(
        summary="My jobs, newest first", responses={200: JobSerializer(many=True), 401: SIGNED_OUT}
    ),
    retrieve=extend_schema(
        summary="One job", responses={200: JobSerializer, 401: SIGNED_OUT, 404: NOT_FOUND}
    ),
)
class JobViewSet(mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet[Job]):
    """What was asked for and how far it is."""

    queryset = Job.objects.none()
    serializer_class = JobSerializer
    lookup_value_converter = "uuid"

    def get_queryset(self) -> QuerySet[Job]:
        user = self.request.user
        return Job.objects.visible_to(user).defer("preview") if isinstance(user, User) else Job.objects.none()

    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        page = self.paginate_queryset(self.get_queryset())
        return self.get_paginated_response(jobs_as_data(cast(list[Job], page)))

    def retrieve(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return Response(jobs_as_data([self.get_object()])[0])

    @extend_schema(
        summary="Cancel a job",
        request=None,
        responses={200: JobSerializer, 401: SIGNED_OUT, 404: NOT_FOUND, 409: REFUSED},
    )
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, pk: UUID | None = None) -> Response:
        return self._changed(services.cancel, "This job is over already.")

    @extend_schema(
        summary="Stop a projection and keep what was found",
        request=None,
        responses={200: JobSerializer, 401: SIGNED_OUT, 404: NOT_FOUND, 409: REFUSED},
    )
    @action(detail=True, methods=["post"])
    def keep(self, request: Request, pk: UUID | None = None) -> Response:
        return self._changed(services.keep, "Only a projection that runs can be stopped and kept.")

    @extend_schema(summary="Try a job again", request=None, responses=ACCEPTED)
    @action(detail=True, methods=["post"])
    def retry(self, request: Request, pk: UUID | None = None) -> Response:
        return accepted(ask(services.retry, member(request), self.get_object()))

    @extend_schema(
        summary="What a projection looks like at present",
        responses={(200, "image/webp"): OpenApiTypes.BINARY, 401: SIGNED_OUT, 404: NOT_FOUND},
    )
    @action(detail=True, methods=["get"])
    def preview(self, request: Request, pk: UUID) -> HttpResponse:
        return preview_response(Job.objects.visible_to(member(request)), pk)

    def _changed(self, service: Callable[[User, Job], bool], refusal: str) -> Response:
        job = self.get_object()
        if not service(member(self.request), job):
            raise Refused(refusal)
        return Response(JobSerializer(self.get_object()).data)


@extend_schema(summary="Draw random pictures")
class GenerateViewSet(viewsets.ViewSet):
    @extend_schema(
        summary="Draw random pictures", request=GenerateSerializer, responses=ACCEPTED, parameters=[ONCE]
    )
    def create(self, request: Request) -> Response:
        return accepted(ask_once(request, services.request_random, **given(GenerateSerializer, request)))


class GeneratorViewSet(viewsets.ViewSet):
    """The generators that are installed."""

    lookup_field = "name"
    lookup_value_regex = "[^/]+"

    @extend_schema(summary="All generators", responses={200: GeneratorSerializer(many=True), 401: SIGNED_OUT})
    def list(self, request: Request) -> Response:
        return Response(GeneratorSerializer(engine().generators(), many=True).data)

    @extend_schema(
        summary="One generator, with its directions",
        responses={200: GeneratorDetailSerializer, 401: SIGNED_OUT, 404: NOT_FOUND},
    )
    def retrieve(self, request: Request, name: str = "") -> Response:
        try:
            info = engine().generator(name)
        except GeneratorMissing as error:
            raise NotFound(str(error)) from error
        detail = {
            **GeneratorSerializer(info).data,
            "components": engine().components(name),
            "layer_ranges": engine().layer_ranges(name),
        }
        return Response(GeneratorDetailSerializer(detail).data)


class UpscalerViewSet(viewsets.ViewSet):
    """The upscalers that are installed."""

    @extend_schema(summary="All upscalers", responses={200: UpscalerSerializer(many=True), 401: SIGNED_OUT})
    def list(self, request: Request) -> Response:
        return Response(UpscalerSerializer(engine().upscalers(), many=True).data)


class TransformViewSet(viewsets.GenericViewSet[Image]):
    """What can be done with a picture."""

    queryset = Image.objects.none()
    lookup_value_converter = "uuid"

    @extend_schema(
        summary="Project a picture into a generator",
        request=ProjectSerializer,
        parameters=[ONCE],
        responses={
            **ACCEPTED,
            200: OpenApiResponse(OpenApiTypes.OBJECT, "An equal projection is kept already."),
        },
    )
    @action(detail=True, methods=["post"])
    def project(self, request: Request, pk: UUID) -> Response:
        image = self._image(request, pk)
        job = ask_once(request, services.request_projection, image, **given(ProjectSerializer, request))
        if job is None:
            image.refresh_from_db(fields=["projection"])
            return Response({"projection": str(image.projection_id)})
        return accepted(job)

    @extend_schema(
        summary="Save a picture with edits", request=SaveSerializer, responses=ACCEPTED, parameters=[ONCE]
    )
    @action(detail=True, methods=["post"])
    def save(self, request: Request, pk: UUID) -> Response:
        image = self._image(request, pk)
        return accepted(ask_once(request, services.request_save, image, **given(SaveSerializer, request)))

    @extend_schema(
        summary="Draw a picture with edits, at once",
        request=RenderSerializer,
        responses={
            (200, "image/png"): OpenApiTypes.BINARY,
            400: INVALID,
            401: SIGNED_OUT,
            404: NOT_FOUND,
            409: REFUSED,
            503: OpenApiResponse(description="Too busy: ask again in a moment."),
        },
    )
    @action(detail=True, methods=["post"])
    def render(self, request: Request, pk: UUID) -> HttpResponse:
        wish = given(RenderSerializer, request)
        editor = ask(previews.Editor.open, self._image(request, pk))
        data = ask(_draw, editor, wish)
        return HttpResponse(
            data, content_type=f"image/{wish['format']}", headers={"Cache-Control": "private, no-store"}
        )

    def _image(self, request: Request, pk: UUID) -> Image:
        mine = Image.objects.select_related("projection").visible_to(request.user)
        image: Image = get_object_or_404(mine, pk=pk)
        return image


class SavedTransformViewSet(viewsets.GenericViewSet[SavedImage]):
    """What can be done with a saved picture."""

    queryset = SavedImage.objects.none()
    lookup_value_converter = "uuid"

    @extend_schema(
        summary="Enlarge a saved picture", request=UpscaleSerializer, responses=ACCEPTED, parameters=[ONCE]
    )
    @action(detail=True, methods=["post"])
    def upscale(self, request: Request, pk: UUID) -> Response:
        saved = get_object_or_404(SavedImage.objects.visible_to(request.user), pk=pk)
        return accepted(
            ask_once(request, services.request_upscale, saved, **given(UpscaleSerializer, request))
        )


class Busy(APIException):
    status_code = status.HTTP_503_SERVICE_UNAVAILABLE
    default_detail = "The previews are too busy at the moment. Ask again shortly."


FORMATS = {
    "png": previews.Format.PNG,
    "webp": previews.Format.EXACT,
    "jpeg": previews.Format.JPEG,
}


def _draw(editor: previews.Editor, wish: dict[str, Any]) -> bytes:
    look = editor.check_look(Look.from_data(wish))
    edits = editor.check(edits_from(wish["edits"]))
    try:
        return previews.draw_now(editor, previews.Drawing(edits, look, FORMATS[wish["format"]]))
    except (TimeoutError, PreviewsAway) as error:
        raise Busy from error
    except EngineError as error:
        raise Refused(str(error)) from error


def register(router: BaseRouter) -> None:
    router.register("jobs", JobViewSet, basename="job")
    router.register("generate", GenerateViewSet, basename="generate")
    router.register("generators", GeneratorViewSet, basename="generator")
    from transforms.import_api import CheckpointImportViewSet  # it builds upon this module

    router.register("imports", CheckpointImportViewSet, basename="checkpoint-import")
    router.register("upscalers", UpscalerViewSet, basename="upscaler")
    router.register("images", TransformViewSet, basename="image-transform")
    router.register("saved-images", SavedTransformViewSet, basename="saved-image-transform")
