"""`make screenshots`: the pictures of the README, the documentation and the first page, taken of a real site."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, expect, sync_playwright

from tests.browser.camera import photo
from tests.browser.conftest import CHROMIUM, CHROMIUM_ARGUMENTS, DESKTOP, PHONE
from tests.browser.studio import Studio
from tests.server import ROOT, SiteServer

IMAGES = ROOT / "docs" / "images"
# The first page shows two of them.
LANDING = ROOT / "static" / "img" / "landing"
ON_THE_FIRST_PAGE = {"series": "editor", "projecting": "search"}
MAX_BYTES = 150 * 1024
DARK = {"color_scheme": "dark", "reduced_motion": "reduce"}
LIGHT = {"color_scheme": "light", "reduced_motion": "reduce"}


def shoot(studio: Studio, name: str) -> None:
    """Write what the window shows to docs/images/NAME.webp, as good as 150 KB allow."""
    studio.page.evaluate("document.querySelectorAll('#toasts > *').forEach((toast) => toast.remove())")
    studio.page.wait_for_timeout(500)
    picture = Image.open(io.BytesIO(studio.page.screenshot()))
    for quality in (88, 80, 70, 60, 45):
        out = io.BytesIO()
        picture.save(out, "WEBP", quality=quality, method=6)
        if out.tell() < MAX_BYTES:
            break
    (IMAGES / f"{name}.webp").write_bytes(out.getvalue())
    if name in ON_THE_FIRST_PAGE:
        (LANDING / f"{ON_THE_FIRST_PAGE[name]}.webp").write_bytes(out.getvalue())
    print(f"{name}.webp: {out.tell() // 1024} KB")


def desktop(studio: Studio, picture: Path) -> None:
    studio.open("/")
    shoot(studio, "landing")
    studio.open("/accounts/register/")
    shoot(studio, "register")
    studio.sign_up("mira")
    studio.generate(8, seed=11)
    studio.upload(picture)
    shoot(studio, "gallery")
    studio.open_generate()
    shoot(studio, "generate")
    studio.open("/gallery/")
    studio.open_card(studio.cards.first)
    shoot(studio, "crop")
    studio.crop_and_project(steps="300")
    expect(studio.page.locator("[data-converging]")).to_be_visible()
    studio.page.wait_for_timeout(3000)
    shoot(studio, "projecting")
    studio.page.locator("[data-jobs-toggle]:visible").first.click()
    expect(studio.page.locator("#jobs-drawer .job progress").first).to_be_visible()
    shoot(studio, "jobs")
    studio.page.locator("[data-jobs-close]").click()
    studio.page.locator("[data-keep]").click()
    studio.wait_for_editor()
    studio.open("/gallery/")
    studio.open_card(studio.drawn_cards.nth(2))
    studio.wait_for_editor()
    studio.drag(3, 0.68)
    studio.drag(2, 0.42)
    studio.drag(7, 0.6)
    studio.page.evaluate("scrollTo(0, 0)")
    shoot(studio, "editor")
    studio.draw_series()
    studio.page.locator("[data-series-strip]").scroll_into_view_if_needed()
    shoot(studio, "series")
    studio.save("Turned to the light")
    studio.open_saved("Turned to the light")
    studio.enlarge()
    studio.natural_width(".compare__after")
    shoot(studio, "saved")
    studio.open("/accounts/profile/")
    shoot(studio, "profile")


def phone(studio: Studio) -> None:
    studio.sign_up("nils")
    studio.generate(6, seed=40)
    shoot(studio, "phone-gallery")
    studio.open_card(studio.drawn_cards.first)
    studio.wait_for_editor()
    studio.drag(0, 0.7)
    shoot(studio, "phone-editor")


def light(studio: Studio) -> None:
    studio.sign_up("lou")
    studio.generate(8, seed=70)
    shoot(studio, "gallery-light")


def window(browser: Browser, site: SiteServer, *options: dict[str, Any]) -> Studio:
    merged = {key: value for some in options for key, value in some.items()}
    return Studio(browser.new_context(**merged), site.url)


def main() -> None:
    IMAGES.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as place,
        SiteServer(Path(place) / "data") as site,
        sync_playwright() as player,
    ):
        browser = player.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGUMENTS)
        desktop(window(browser, site, DESKTOP, DARK), photo(Path(place) / "IMG_0042.JPG"))
        phone(window(browser, site, PHONE, DARK))
        light(window(browser, site, DESKTOP, LIGHT))
        browser.close()


if __name__ == "__main__":
    main()
