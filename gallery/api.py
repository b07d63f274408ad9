"""The API's part of pictures: everything that the gallery and the page of saved images do."""

from __future__ import annotations

from typing import Any, cast
from uuid import UUID

from django.conf import settings
from django.db.models import QuerySet
from django.http import HttpResponseBase
from django.shortcuts import get_object_or_404
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema, extend_schema_view
from rest_framework import mixins, status, viewsets
from rest_framework.decorators import action
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.parsers import FormParser, JSONParser, MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.routers import BaseRouter

from accounts.models import User
from accounts.schema import INVALID, NOT_FOUND, SIGNED_OUT
from accounts.serializers import ProblemSerializer
from gallery import services
from gallery.errors import AlreadyThere, UploadRefused
from gallery.filters import ImageFilter, SavedImageFilter
from gallery.models import Image, PictureQuerySet, SavedImage
from gallery.serializers import ImageSerializer, SavedImageSerializer, UploadSerializer
from gallery.serving import serve
from gallery.uploadhandler import files_too_large
from gallery.uploads import too_many_bytes

TOO_LARGE = OpenApiResponse(ProblemSerializer, "The file is too large, or the storage is full.")
NO_PICTURE = OpenApiResponse(
    ProblemSerializer, "The file is no picture that can be taken. The sentence says why."
)
DOWNLOAD = OpenApiParameter(
    "download", bool, description="With a file name, and with the recipe inside a PNG."
)


def member(request: Request) -> User:
    return cast(User, request.user)


class AnyType(DefaultContentNegotiation):
    """A file has the type it has: whatever the client accepts, errors are JSON."""

    def select_renderer(self, request: Request, renderers: Any, format_suffix: str | None = None) -> Any:
        return renderers[0], renderers[0].media_type


class PictureViewSet(
    mixins.ListModelMixin,
    mixins.RetrieveModelMixin,
    mixins.UpdateModelMixin,
    mixins.DestroyModelMixin,
    viewsets.GenericViewSet[Any],
):
    """What both kinds of picture can do. Deleted ones can be brought back for a while."""

    lookup_value_converter = "uuid"
    http_method_names = ["get", "head", "options", "post", "patch", "delete"]

    def _all(self) -> PictureQuerySet:
        model: Any = cast(Any, type(self)).queryset.model
        return cast(PictureQuerySet, model.objects.all())

    def get_queryset(self) -> QuerySet[Any]:
        user = self.request.user
        return self._all().visible_to(user) if isinstance(user, User) else self._all().none()

    def perform_destroy(self, instance: Any) -> None:
        services.soft_delete(self._all().filter(pk=instance.pk))

    def _restored(self, request: Request, pk: UUID | None) -> Response:
        picture = get_object_or_404(self._all().restorable_by(request.user), pk=pk)
        services.restore(member(request), self._all().filter(pk=picture.pk))
        picture.refresh_from_db()
        return Response(self.get_serializer(picture).data)


@extend_schema_view(
    list=extend_schema(
        summary="My pictures, newest first",
        responses={200: ImageSerializer(many=True), 400: INVALID, 401: SIGNED_OUT},
    ),
    retrieve=extend_schema(
        summary="One picture", responses={200: ImageSerializer, 401: SIGNED_OUT, 404: NOT_FOUND}
    ),
    partial_update=extend_schema(
        summary="Rename a picture",
        responses={200: ImageSerializer, 400: INVALID, 401: SIGNED_OUT, 404: NOT_FOUND},
    ),
    destroy=extend_schema(summary="Delete a picture", responses={204: None, 401: SIGNED_OUT, 404: NOT_FOUND}),
)
class ImageViewSet(PictureViewSet):
    queryset = Image.objects.none()
    serializer_class = ImageSerializer
    filterset_class = ImageFilter
    parser_classes = [JSONParser, MultiPartParser, FormParser]

    @extend_schema(
        summary="Upload a picture",
        request={"multipart/form-data": UploadSerializer},
        responses={
            201: ImageSerializer,
            200: OpenApiResponse(ImageSerializer, "The member has this very picture already: this is it."),
            400: INVALID,
            401: SIGNED_OUT,
            413: TOO_LARGE,
            422: NO_PICTURE,
        },
    )
    def create(self, request: Request) -> Response:
        given = UploadSerializer(data=request.data)
        if files_too_large(request._request):
            return self._refusal(too_many_bytes(settings.UPLOAD_MAX_BYTES))
        given.is_valid(raise_exception=True)
        data = given.validated_data
        try:
            image = services.create_upload(member(request), data["file"], data.get("name", ""))
        except AlreadyThere as error:
            return Response(self.get_serializer(error.image).data)
        except UploadRefused as error:
            return self._refusal(error)
        return Response(self.get_serializer(image).data, status=status.HTTP_201_CREATED)

    def _refusal(self, error: UploadRefused) -> Response:
        return Response({"detail": str(error)}, status=error.status_code)

    @extend_schema(
        summary="Bring a deleted picture back",
        request=None,
        responses={200: ImageSerializer, 401: SIGNED_OUT, 404: NOT_FOUND},
    )
    @action(detail=True, methods=["post"])
    def restore(self, request: Request, pk: UUID | None = None) -> Response:
        return self._restored(request, pk)

    @extend_schema(
        summary="The file of a picture",
        operation_id="images_file_retrieve",
        parameters=[DOWNLOAD, OpenApiParameter("kind", enum=["original", "thumbnail"], location="path")],
        responses={(200, "image/*"): OpenApiTypes.BINARY, 401: SIGNED_OUT, 404: NOT_FOUND},
    )
    @action(
        detail=True, url_path="file/(?P<kind>[a-z]+)", content_negotiation_class=AnyType, filterset_class=None
    )
    def file(self, request: Request, kind: str, pk: UUID | None = None) -> HttpResponseBase:
        return serve(request._request, self.get_object(), kind)


@extend_schema_view(
    list=extend_schema(
        summary="My saved images, newest first",
        responses={200: SavedImageSerializer(many=True), 400: INVALID, 401: SIGNED_OUT},
    ),
    retrieve=extend_schema(
        summary="One saved image", responses={200: SavedImageSerializer, 401: SIGNED_OUT, 404: NOT_FOUND}
    ),
    partial_update=extend_schema(
        summary="Rename a saved image",
        responses={200: SavedImageSerializer, 400: INVALID, 401: SIGNED_OUT, 404: NOT_FOUND},
    ),
    destroy=extend_schema(
        summary="Delete a saved image", responses={204: None, 401: SIGNED_OUT, 404: NOT_FOUND}
    ),
)
class SavedImageViewSet(PictureViewSet):
    queryset = SavedImage.objects.none()
    serializer_class = SavedImageSerializer
    filterset_class = SavedImageFilter

    @extend_schema(
        summary="Bring a deleted saved image back",
        request=None,
        responses={200: SavedImageSerializer, 401: SIGNED_OUT, 404: NOT_FOUND},
    )
    @action(detail=True, methods=["post"])
    def restore(self, request: Request, pk: UUID | None = None) -> Response:
        return self._restored(request, pk)

    @extend_schema(
        summary="The file of a saved image",
        operation_id="saved_images_file_retrieve",
        parameters=[
            DOWNLOAD,
            OpenApiParameter("kind", enum=["original", "thumbnail", "upscaled"], location="path"),
        ],
        responses={(200, "image/*"): OpenApiTypes.BINARY, 401: SIGNED_OUT, 404: NOT_FOUND},
    )
    @action(
        detail=True, url_path="file/(?P<kind>[a-z]+)", content_negotiation_class=AnyType, filterset_class=None
    )
    def file(self, request: Request, kind: str, pk: UUID | None = None) -> HttpResponseBase:
        return serve(request._request, self.get_object(), kind)


def register(router: BaseRouter) -> None:
    router.register("images", ImageViewSet, basename="image")
    router.register("saved-images", SavedImageViewSet, basename="saved-image")
