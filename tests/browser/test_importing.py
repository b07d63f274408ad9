"""Staff bring a checkpoint in with a real browser: chosen, sent in slices, read, and drawn from."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import DESKTOP, PHONE, OpenStudio
from tests.browser.studio import PASSWORD
from tests.browser.test_path import no_sideways_scrolling
from tests.ganworks.importing.writer import pickled, snapshot
from tests.server import ROOT, SiteServer, environment

pytestmark = pytest.mark.timeout(300)


def make_staff(site: SiteServer, name: str) -> None:
    command = [sys.executable, "manage.py", "createsuperuser", "--noinput", "--user_name", name]
    subprocess.run(
        [*command, "--email", f"{name}@example.com"],
        cwd=ROOT,
        env={**environment(site.data), "DJANGO_SUPERUSER_PASSWORD": PASSWORD},
        check=True,
        capture_output=True,
    )


@pytest.mark.parametrize(
    ("screen", "vector", "name"),
    [
        pytest.param(DESKTOP, "skip", "flowers", id="desktop"),
        pytest.param(PHONE, "cond", "leaves", id="phone"),
    ],
)
def test_a_checkpoint_is_uploaded_read_and_drawn_from(
    open_studio: OpenStudio, site: SiteServer, tmp_path: Path, screen: dict[str, Any], vector: str, name: str
) -> None:
    make_staff(site, f"staff-{name}")
    file = tmp_path / f"{name}.pkl"
    file.write_bytes(pickled(snapshot(vector)))
    studio = open_studio(**screen)
    page = studio.page
    studio.open("/admin/login/?next=/admin/transforms/checkpointimport/add/")
    page.get_by_label("User name").fill(f"staff-{name}")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    no_sideways_scrolling(studio)
    page.get_by_label("File").set_input_files(file)
    expect(page.get_by_label("Name", exact=False).first).to_have_value(name)
    page.get_by_role("button", name="Upload and import").click()
    page.wait_for_url("**/change/")
    expect(page.get_by_text("Contact sheet, components and factors are there.")).to_be_visible()
    no_sideways_scrolling(studio)
    sheet = page.get_by_alt_text("Sixteen pictures of this generator")
    assert sheet.evaluate("image => image.complete && image.naturalWidth") == 128
    studio.open("/gallery/")
    studio.open_generate()
    expect(page.locator("#dialog")).to_contain_text(name)
