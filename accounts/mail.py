"""Mails to members, sent beside the request.

Sending takes seconds when a mail server is slow, and takes no time when there is nobody to send to:
somebody with a watch could tell who has an account if the answer waited for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import structlog
from django.core.mail import EmailMessage
from django.template.loader import render_to_string

log = structlog.get_logger(__name__)
_postman = ThreadPoolExecutor(max_workers=1, thread_name_prefix="mail")


def send(template: str, to: str, context: Mapping[str, Any]) -> None:
    """Send `accounts/mail/<template>.txt`, whose first line is the subject, to one address."""
    subject, _, body = render_to_string(f"accounts/mail/{template}.txt", dict(context)).partition("\n")
    message = EmailMessage(subject.strip(), body.strip() + "\n", to=[to])
    _postman.submit(_deliver, message, template)


def wait_until_sent() -> None:
    """Return when all mails that were handed in so far have left."""
    _postman.submit(lambda: None).result()


def _deliver(message: EmailMessage, template: str) -> None:
    try:
        message.send()
    except Exception:  # a mail server can fail in any way, and nobody waits for this thread
        log.exception("mail not sent", template=template)
