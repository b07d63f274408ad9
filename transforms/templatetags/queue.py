"""Lengths of time on the page of the queue."""

from __future__ import annotations

from django import template

register = template.Library()

UNITS = ((86_400, "d"), (3600, "h"), (60, "min"))


@register.filter
def age(seconds: float | None) -> str:
    """90 s, 12 min, 5 h, 3 d: always the largest unit of which there are two. Nothing for None."""
    if seconds is None:
        return ""
    for length, unit in UNITS:
        if seconds >= 2 * length:
            return f"{seconds // length:.0f} {unit}"
    return f"{seconds:.0f} s"
