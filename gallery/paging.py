"""Pages by position, not by number: what is added on top moves nothing, and the last page costs no more than the first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Q
from django.utils.dateparse import parse_datetime

from gallery.models import PictureQuerySet

PAGE_SIZE = 36


@dataclass(frozen=True)
class Page:
    """Pictures, newest first. `older` continues after the last one; empty at the end."""

    pictures: Sequence[Any]
    older: str
    is_first: bool


def page_of(pictures: PictureQuerySet, before: str = "", size: int = PAGE_SIZE) -> Page:
    """The newest pictures, or those that follow the cursor `before`. A cursor that cannot be read begins at the top."""
    cursor = _parse(before)
    if cursor is not None:
        created_at, pk = cursor
        pictures = pictures.filter(
            Q(created_at__lt=created_at) | Q(created_at=created_at, pk__lt=pk), created_at__lte=created_at
        )
    rows = list(pictures.order_by("-created_at", "-id")[: size + 1])
    older = _cursor(rows[size - 1]) if len(rows) > size else ""
    return Page(rows[:size], older, cursor is None)


def _cursor(picture: Any) -> str:
    return f"{picture.created_at.isoformat()}~{picture.pk.hex}"


def _parse(text: str) -> tuple[datetime, UUID] | None:
    moment, _, pk = text.partition("~")
    try:
        created_at = parse_datetime(moment)
        return (created_at, UUID(hex=pk)) if created_at and created_at.tzinfo else None
    except (ValueError, OverflowError):
        return None
