"""What tests of the lane do to a job in the middle of its life."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from gallery.services import prepare_image
from transforms.models import Job
from transforms.operations import random as random_operation


def expire(job: Job) -> None:
    Job.objects.filter(pk=job.pk).update(lease_until=timezone.now() - timedelta(seconds=1))


def hook(monkeypatch: pytest.MonkeyPatch, before: Callable[[], Any]) -> None:
    """Do something in the middle of a batch: when its first picture is drawn, before it is stored."""
    prepare, done = prepare_image, list[bool]()

    def prepare_after(*args: Any) -> Any:
        if not done:
            done.append(True)
            before()
        return prepare(*args)

    monkeypatch.setattr(random_operation, "prepare_image", prepare_after)
