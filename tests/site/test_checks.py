"""The system checks of the site, by their stable ids."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.core import checks
from pytest_django import Settings


def ids(*, deploy: bool = False) -> set[str]:
    found = checks.run_checks(include_deployment_checks=deploy)
    return {message.id for message in found if message.id and message.id.startswith("pixellift.")}


def test_the_default_settings_pass_even_for_deployment() -> None:
    assert ids(deploy=True) == set()


def test_e001_a_media_folder_that_cannot_be_written(settings: Settings, tmp_path: Path) -> None:
    settings.MEDIA_ROOT = tmp_path / "file" / "media"
    (tmp_path / "file").write_text("in the way")
    assert ids() == {"pixellift.E001"}


def test_e003_debugging_on_a_public_site(settings: Settings) -> None:
    settings.DEBUG, settings.HTTPS = True, True
    settings.ALLOWED_HOSTS = ["pictures.example"]
    assert ids() == {"pixellift.E003"}


def test_w002_https_without_a_public_name(settings: Settings) -> None:
    settings.HTTPS, settings.ALLOWED_HOSTS = True, ["localhost"]
    assert ids() == {"pixellift.W002"}


def test_w001_redis_beside_a_one_file_database(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.REDIS_URL = "redis://localhost/0"
    monkeypatch.setattr("pixellift.checks.connection.vendor", "sqlite")
    assert ids() == {"pixellift.W001"}
