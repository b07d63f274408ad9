"""Take the two screenshots of the first page from a running site, with a picture that its member may see.

    python -m tools.landing_shots http://127.0.0.1:8000 NAME PASSWORD PHOTO

The site needs the starter models; the member's gallery gets one generated picture and one upload.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

FOLDER = Path(__file__).resolve().parent.parent / "static" / "img" / "landing"
CHROMIUM = "/usr/bin/chromium"
SEED = "0"


def keep(page: Page, name: str) -> None:
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    picture.save(FOLDER / f"{name}.webp", "WEBP", quality=80, method=6)


def sign_in(page: Page, site: str, name: str, password: str) -> None:
    page.goto(f"{site}/accounts/login/")
    page.fill("[name=username]", name)
    page.fill("[name=password]", password)
    page.locator("main [type=submit]").first.click()
    page.wait_for_url("**/gallery/**")


def editor(page: Page, site: str) -> None:
    page.goto(f"{site}/gallery/generate/")
    page.fill("#id_count", "1")
    page.fill("#id_seed", SEED)
    page.locator("main form [type=submit]").last.click()
    page.locator("[data-picture][data-ready] [data-card-link]").first.click()
    page.locator("[data-editor][data-drawn=yes]").wait_for()
    page.locator("[data-series] summary").click()
    page.locator(".series__frame[data-drawn]").nth(6).wait_for()
    page.locator("[data-range]").nth(2).fill("-1.4")
    page.locator("[data-range]").nth(5).fill("-1")
    page.wait_for_timeout(1500)
    page.evaluate("scrollTo(0, 0)")
    page.wait_for_timeout(300)
    keep(page, "editor")


def search(page: Page, site: str, photo: str) -> None:
    page.goto(f"{site}/gallery/")
    page.set_input_files("#upload-files", photo)
    page.locator("[data-picture][data-ready] [data-card-link]").first.wait_for()
    page.wait_for_timeout(1500)
    page.locator("[data-picture][data-ready] [data-card-link]").first.click()
    page.get_by_role("button", name="Find it in the model").click()
    page.locator("[data-converging]:visible").wait_for()
    page.wait_for_timeout(5500)
    keep(page, "search")


def main() -> None:
    site, name, password, photo = sys.argv[1:]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1280, "height": 800}, color_scheme="dark")
        page.set_default_timeout(60_000)
        sign_in(page, site, name, password)
        editor(page, site)
        search(page, site, photo)
        browser.close()


if __name__ == "__main__":
    main()
