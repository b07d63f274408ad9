"""How API tokens, and answers that say no, look in the OpenAPI schema."""

from __future__ import annotations

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse

from accounts.serializers import ProblemSerializer


class TokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # its metaclass registers it
    target_class = "accounts.authentication.TokenAuthentication"
    name = "token"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "description": "An API token from the profile page."}


INVALID = OpenApiResponse(
    OpenApiTypes.OBJECT, "What was sent is not valid: for each field, a list of sentences."
)
SIGNED_OUT = OpenApiResponse(ProblemSerializer, "Nobody is signed in, or the token is not valid.")
NOT_FOUND = OpenApiResponse(ProblemSerializer, "There is nothing here, or it belongs to somebody else.")
REFUSED = OpenApiResponse(ProblemSerializer, "This cannot be done now. The sentence says why.")
