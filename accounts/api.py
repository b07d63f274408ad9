"""The API's account part: who am I, and which programs speak for me."""

from __future__ import annotations

from typing import Any, cast

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema, extend_schema_serializer, extend_schema_view
from rest_framework import mixins, status, viewsets
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.routers import BaseRouter

from accounts import services
from accounts.errors import AccountError
from accounts.models import ApiToken, User
from accounts.quota import usage
from accounts.schema import INVALID, NOT_FOUND, REFUSED, SIGNED_OUT
from accounts.serializers import MeSerializer, NewTokenSerializer, TokenSerializer


class MeViewSet(viewsets.ViewSet):
    """The member who asks."""

    @extend_schema(
        operation_id="me_retrieve",
        summary="Who am I, and how much do I store?",
        responses={200: extend_schema_serializer(many=False)(MeSerializer), 401: SIGNED_OUT},
    )
    def list(self, request: Request) -> Response:
        user = cast(User, request.user)
        user.storage = usage(user)  # type: ignore[attr-defined]  # only for the serializer
        return Response(MeSerializer(user).data)


@extend_schema_view(
    list=extend_schema(summary="My API tokens", responses={200: TokenSerializer(many=True), 401: SIGNED_OUT}),
    destroy=extend_schema(summary="Revoke a token", responses={204: None, 401: SIGNED_OUT, 404: NOT_FOUND}),
)
class TokenViewSet(mixins.ListModelMixin, mixins.DestroyModelMixin, viewsets.GenericViewSet[ApiToken]):
    """The tokens of the member who asks."""

    queryset = ApiToken.objects.none()
    serializer_class = TokenSerializer
    lookup_value_converter = "uuid"

    def get_queryset(self) -> QuerySet[ApiToken]:
        user = self.request.user
        return user.api_tokens.all() if isinstance(user, User) else ApiToken.objects.none()

    @extend_schema(
        summary="Make a token",
        request=TokenSerializer,
        responses={201: NewTokenSerializer, 400: INVALID, 401: SIGNED_OUT, 409: REFUSED},
    )
    def create(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        given = TokenSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        try:
            token, secret = services.issue_token(cast(User, request.user), given.validated_data["name"])
        except AccountError as error:
            return Response({"detail": str(error)}, status=status.HTTP_409_CONFLICT)
        answer = {**TokenSerializer(token).data, "secret": secret}
        return Response(answer, status=status.HTTP_201_CREATED, headers={"Cache-Control": "no-store"})


def register(router: BaseRouter) -> None:
    router.register("me", MeViewSet, basename="me")
    router.register("tokens", TokenViewSet, basename="token")
