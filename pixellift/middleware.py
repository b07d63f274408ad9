"""Around every request: its number, which logs and error pages show, and its time, which /metrics shows."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.contrib.auth.middleware import LoginRequiredMiddleware
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.decorators import sync_and_async_middleware

from pixellift.metrics import request_served

SANE_NUMBER = re.compile(r"[A-Za-z0-9-]{8,64}")

Handler = Callable[[HttpRequest], Any]


class LoginRequired(LoginRequiredMiddleware):
    """Django's, which looks up who is signed in before it asks whether that matters: /healthz must need no database."""

    def process_view(
        self, request: HttpRequest, view_func: Handler, view_args: Any, view_kwargs: Any
    ) -> HttpResponseBase | None:
        if not getattr(view_func, "login_required", True):
            return None
        answer: HttpResponseBase | None = super().process_view(request, view_func, view_args, view_kwargs)
        return answer


@sync_and_async_middleware
def numbered(get_response: Handler) -> Handler:
    """Each request has a number: a new one, or what X-Request-ID says if that looks like one. The answer carries it too."""

    def begin(request: HttpRequest) -> str:
        given = request.META.get("HTTP_X_REQUEST_ID", "")
        number = given if SANE_NUMBER.fullmatch(given) else str(uuid.uuid4())
        request.META["HTTP_X_REQUEST_ID"] = number  # django_structlog logs it
        request.request_id = number  # type: ignore[attr-defined]
        return number

    def end(request: HttpRequest, response: Any, number: str) -> Any:
        response.headers["X-Request-ID"] = number
        return response

    return _around(get_response, begin, end)


@sync_and_async_middleware
def measured(get_response: Handler) -> Handler:
    """Count requests, and measure the time until their answers begin."""

    def begin(request: HttpRequest) -> float:
        return time.perf_counter()

    def end(request: HttpRequest, response: Any, began: float) -> Any:
        request_served(request, response.status_code, time.perf_counter() - began)
        return response

    return _around(get_response, begin, end)


def _around(
    get_response: Handler, begin: Callable[[HttpRequest], Any], end: Callable[[HttpRequest, Any, Any], Any]
) -> Handler:
    """A middleware without a thread of its own, whichever way the server calls it."""

    def call(request: HttpRequest) -> Any:
        token = begin(request)
        return end(request, get_response(request), token)

    async def call_async(request: HttpRequest) -> Any:
        token = begin(request)
        return end(request, await get_response(request), token)

    return call_async if iscoroutinefunction(get_response) else call
