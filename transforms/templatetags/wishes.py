"""The hidden key of a form, by which one that is sent twice is one wish."""

from __future__ import annotations

import secrets

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

register = template.Library()


@register.simple_tag
def once() -> SafeString:
    """To be put into each form that asks for a job. (`transforms.forms.WishForm` reads it.)"""
    return format_html('<input type="hidden" name="once" value="{}">', secrets.token_hex(16))
