"""The API's part of importing generators: staff announce a file, send it in slices, and see what became of it.

The admin's upload page uses the same addresses.
"""

from __future__ import annotations

from typing import Any, cast
from uuid import UUID

from django.db.models import QuerySet
from django.http import Http404
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema, extend_schema_view
from rest_framework import mixins, status, viewsets
from rest_framework.decorators import action
from rest_framework.exceptions import APIException, PermissionDenied
from rest_framework.parsers import BaseParser, JSONParser
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.models import User
from accounts.schema import INVALID, NOT_FOUND, REFUSED, SIGNED_OUT
from accounts.serializers import ProblemSerializer
from transforms import imports, slices
from transforms.api import ask, given, refusal_of
from transforms.errors import TransformError
from transforms.models import CheckpointImport
from transforms.serializers import AnnounceSerializer, CheckpointImportSerializer, JobSerializer

NO_STAFF = OpenApiResponse(ProblemSerializer, "Only staff who may import generators do this.")
NO_ROOM = OpenApiResponse(ProblemSerializer, "The site's disk is full.")
PERMISSIONS = {"GET": "view", "HEAD": "view", "OPTIONS": "view", "POST": "add", "PUT": "add", "DELETE": "add"}


class NoRoom(APIException):
    status_code = status.HTTP_507_INSUFFICIENT_STORAGE


class MayImport(BasePermission):
    """Staff, with the right that the admin asks for too."""

    message = "Only staff who may import generators do this."

    def has_permission(self, request: Request, view: APIView) -> bool:
        user = request.user
        right = PERMISSIONS.get(request.method or "", "add")
        return (
            isinstance(user, User) and user.is_staff and user.has_perm(f"transforms.{right}_checkpointimport")
        )


class SliceParser(BaseParser):
    """The body as it is, and not a byte more of it than a slice may have."""

    media_type = "application/octet-stream"

    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> dict[str, bytes]:
        return {"slice": stream.read(slices.SLICE_BYTES + 1)}


@extend_schema_view(
    list=extend_schema(
        summary="All imports of generators, newest first",
        responses={200: CheckpointImportSerializer(many=True), 401: SIGNED_OUT, 403: NO_STAFF},
    ),
    retrieve=extend_schema(
        summary="One import of a generator, with its report",
        responses={200: CheckpointImportSerializer, 401: SIGNED_OUT, 403: NO_STAFF, 404: NOT_FOUND},
    ),
)
class CheckpointImportViewSet(
    mixins.ListModelMixin, mixins.RetrieveModelMixin, viewsets.GenericViewSet[CheckpointImport]
):
    """Checkpoints on their way in, and the generators that they became. For staff."""

    queryset = CheckpointImport.objects.none()
    serializer_class = CheckpointImportSerializer
    permission_classes = [MayImport]
    parser_classes = [JSONParser]
    lookup_value_converter = "uuid"

    def get_queryset(self) -> QuerySet[CheckpointImport]:
        return CheckpointImport.objects.select_related("user")

    @extend_schema(
        summary="Announce a file",
        description="The answer says where to go on: announcing the same file again resumes its upload.",
        request=AnnounceSerializer,
        responses={
            201: CheckpointImportSerializer,
            200: OpenApiResponse(CheckpointImportSerializer, "This upload was begun before: go on with it."),
            400: INVALID,
            401: SIGNED_OUT,
            403: NO_STAFF,
            409: REFUSED,
            507: NO_ROOM,
        },
    )
    def create(self, request: Request) -> Response:
        row, is_new = _ask(imports.begin, cast(User, request.user), given(AnnounceSerializer, request))
        code = status.HTTP_201_CREATED if is_new else status.HTTP_200_OK
        return Response(self.get_serializer(row).data, status=code)

    @extend_schema(
        summary="Send the next slice",
        description="The bytes of the file from OFFSET on: `slice_bytes` of them, fewer at its end.",
        parameters=[OpenApiParameter("offset", int, OpenApiParameter.PATH)],
        request={"application/octet-stream": OpenApiTypes.BINARY},
        responses={
            200: CheckpointImportSerializer,
            400: INVALID,
            401: SIGNED_OUT,
            403: NO_STAFF,
            404: NOT_FOUND,
            409: OpenApiResponse(
                CheckpointImportSerializer, "Another slice comes next: `bytes_received` says which."
            ),
            507: NO_ROOM,
        },
    )
    @action(
        detail=True, methods=["put"], url_path=r"slices/(?P<offset>[0-9]{1,15})", parser_classes=[SliceParser]
    )
    def send_slice(self, request: Request, pk: UUID, offset: str) -> Response:
        body = request.data  # nothing at all is no slice either
        data = body.get("slice", b"") if isinstance(body, dict) else b""
        try:
            row = _ask(imports.receive, cast(User, request.user), pk, int(offset), data)
        except CheckpointImport.DoesNotExist as error:
            raise Http404 from error
        except imports.OutOfStep as error:
            where = {**self.get_serializer(error.row).data, "detail": str(error)}
            return Response(where, status=status.HTTP_409_CONFLICT)
        return Response(self.get_serializer(row).data)

    @extend_schema(
        summary="Compute contact sheet and directions again",
        request=None,
        responses={202: JobSerializer, 401: SIGNED_OUT, 403: NO_STAFF, 404: NOT_FOUND, 409: REFUSED},
    )
    @action(detail=True, methods=["post"])
    def directions(self, request: Request, pk: UUID) -> Response:
        job = ask(imports.request_directions, cast(User, request.user), self.get_object())
        return Response(JobSerializer(job).data, status=status.HTTP_202_ACCEPTED)

    @extend_schema(
        summary="Remove a generator, or give an upload up",
        responses={204: None, 401: SIGNED_OUT, 403: NO_STAFF, 404: NOT_FOUND, 409: REFUSED},
    )
    def destroy(self, request: Request, pk: UUID) -> Response:
        row, user = self.get_object(), cast(User, request.user)
        if row.user_id != user.pk or row.is_installed:
            self._require(user, "delete")
        if not imports.discard(row):
            ask(imports.remove, row)
        return Response(status=status.HTTP_204_NO_CONTENT)

    def _require(self, user: User, right: str) -> None:
        if not user.has_perm(f"transforms.{right}_checkpointimport"):
            raise PermissionDenied(MayImport.message)


def _ask(service: Any, *args: Any) -> Any:
    """As `ask`, but a full disk is the site's fault, and who is out of step is told where to go on."""
    try:
        return service(*args)
    except imports.OutOfStep:
        raise
    except slices.DiskFull as error:
        raise NoRoom(str(error)) from error
    except TransformError as error:
        raise refusal_of(error) from error
