"""The real process that `make run` starts, and real Chromium."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.browser import camera
from tests.browser.studio import Studio
from tests.server import SiteServer

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DESKTOP = {"viewport": {"width": 1280, "height": 800}}
PHONE = {
    "viewport": {"width": 390, "height": 844},
    "device_scale_factor": 2,
    "is_mobile": True,
    "has_touch": True,
}

OpenStudio = Callable[..., Studio]


@pytest.fixture(scope="session")
def browser_type_launch_args() -> dict[str, Any]:
    return {"executable_path": CHROMIUM, "args": CHROMIUM_ARGUMENTS}


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SiteServer]:
    with SiteServer(tmp_path_factory.mktemp("site")) as running:
        yield running


@pytest.fixture(scope="session")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return camera.photo(tmp_path_factory.mktemp("camera") / "IMG_0042.JPG")


@pytest.fixture
def open_studio(browser: Browser, site: SiteServer) -> Iterator[OpenStudio]:
    """Opens a browser of its own for somebody: `open_studio(**PHONE)`. At the end no console may have complained.

    `url`: of another server than that of all tests.
    """
    opened: list[Studio] = []

    def open_one(url: str = "", **options: Any) -> Studio:
        opened.append(Studio(browser.new_context(**(options or DESKTOP)), url or site.url))
        return opened[-1]

    yield open_one
    complaints = [line for studio in opened for line in studio.complaints]
    for studio in opened:
        studio.page.context.close()
    assert complaints == []
