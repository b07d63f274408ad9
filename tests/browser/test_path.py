"""The main job, end to end: from signing up to finding it all again tomorrow."""

from __future__ import annotations

import io
import itertools
import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import expect

from tests.browser.conftest import DESKTOP, PHONE, OpenStudio
from tests.browser.studio import Studio
from tests.server import SiteServer

pytestmark = pytest.mark.timeout(300)
names = (f"walker{number}" for number in itertools.count())
AWAY = "ERR_CONNECTION_REFUSED"
KNOWS_AGAIN_SECONDS = 5
SCREENS = [pytest.param(DESKTOP, id="desktop"), pytest.param(PHONE, id="phone")]


def picture_at(studio: Studio, path: str) -> Image.Image:
    answer = studio.fetch(path)
    assert answer.status == 200
    return Image.open(io.BytesIO(answer.body()))


def no_sideways_scrolling(studio: Studio) -> None:
    wide, seen = studio.page.evaluate(
        "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    )
    assert wide <= seen, f"{studio.page.url} is {wide} px wide on a screen of {seen} px"


@pytest.mark.parametrize("screen", SCREENS)
def test_from_a_camera_photo_to_an_enlarged_picture_that_is_kept(
    open_studio: OpenStudio, photo: Path, screen: dict[str, Any]
) -> None:
    studio = open_studio(**screen)
    name = next(names)
    studio.open("/")
    no_sideways_scrolling(studio)
    studio.sign_up(name)

    studio.generate(10, seed=100)
    no_sideways_scrolling(studio)

    card = studio.upload(photo)
    upload_path = card.locator("[data-card-link]").get_attribute("href") or ""
    stored = picture_at(studio, f"/files/images/{upload_path.split('/')[2]}/original/")
    assert stored.size == (3000, 4000)
    assert not stored.getexif()

    studio.open_card(card)
    no_sideways_scrolling(studio)
    studio.crop_and_project()
    previews = studio.watch_projection()
    assert len(previews) >= 2
    studio.wait_for_editor()
    no_sideways_scrolling(studio)

    studio.drag(0, 0.7)
    assert studio.strength(0) > 0.5
    studio.drag(1, 0.2)
    strengths = [studio.strength(0), studio.strength(1)]
    studio.press("[data-undo]")
    assert studio.strength(1) == 0
    studio.press("[data-redo]")
    assert [studio.strength(0), studio.strength(1)] == strengths
    assert studio.draw_series() == 7
    studio.save("Evening light")

    saved_path = studio.open_saved("Evening light")
    no_sideways_scrolling(studio)
    studio.enlarge()
    assert studio.natural_width(".compare__after") == 4 * studio.natural_width(".compare__before")
    slider = studio.page.locator(".compare__range")
    slider.focus()
    for _ in range(5):
        studio.page.keyboard.press("ArrowRight")
    assert int(slider.input_value()) > 50
    no_sideways_scrolling(studio)

    saved = saved_path.split("/")[2]
    recipe = picture_at(studio, f"/files/saved/{saved}/original/?download=1").info["pixellift-recipe"]
    assert '"component"' in recipe
    studio.page.get_by_role("link", name="Open in the editor").click()
    studio.wait_for_editor()
    assert [studio.strength(0), studio.strength(1)] == strengths

    studio.page.reload()
    studio.wait_for_editor()
    assert [studio.strength(0), studio.strength(1)] == strengths


def test_what_belongs_to_somebody_else_is_not_there(open_studio: OpenStudio, photo: Path) -> None:
    alice, ben = open_studio(), open_studio()
    alice.sign_up(next(names))
    card = alice.upload(photo)
    image = (card.locator("[data-card-link]").get_attribute("href") or "").split("/")[2]
    ben.sign_up(next(names))
    for path in (
        f"/gallery/{image}/transform/",
        f"/gallery/{image}/card/",
        f"/files/images/{image}/original/",
        f"/files/images/{image}/thumbnail/",
        f"/api/v1/images/{image}/",
    ):
        assert alice.fetch(path).status == 200, path
        assert ben.fetch(path).status == 404, path
    closed_with = ben.page.evaluate(
        """(path) => new Promise((resolve) => {
          const socket = new WebSocket(`ws://${location.host}${path}`);
          socket.onclose = (event) => resolve(event.code);
        })""",
        f"/ws/transform/{image}/",
    )
    assert closed_with == 4404


def test_a_server_that_restarts_in_the_middle_of_a_job_loses_nothing(
    open_studio: OpenStudio, site: SiteServer, photo: Path
) -> None:
    studio = open_studio()
    studio.sign_up(next(names))
    studio.generate(2, seed=5)
    studio.open_card(studio.upload(photo))
    studio.crop_and_project(steps="300")
    expect(studio.page.locator("[data-converging]")).to_be_visible()

    complaints = len(studio.complaints)
    assert site.stop(signal.SIGTERM) == 0
    site.start()
    del studio.complaints[complaints:]  # that the server was away may be complained about

    studio.page.reload()
    expect(studio.page.locator("[data-projecting] progress")).to_be_visible()
    studio.page.get_by_role("button", name=re.compile("Stop and keep")).click()
    studio.wait_for_editor()
    studio.drag(0, 0.7)
    studio.open("/gallery/")
    expect(studio.drawn_cards).to_have_count(3)
    studio.complaints[:] = [line for line in studio.complaints if AWAY not in line]


def test_a_page_whose_server_was_killed_shows_by_itself_how_the_job_ended(
    open_studio: OpenStudio, site: SiteServer, tmp_path: Path
) -> None:
    """With a server of its own, whose pictures take as many milliseconds as their seeds say."""
    settings = {
        "ENGINE_CLASS": "tests.chaos.engine.SleepingEngine",
        "STATIC_ROOT": str(site.data / "static"),
    }
    with SiteServer(tmp_path, **settings) as own:
        studio = open_studio(url=own.url)
        studio.sign_up(next(names))
        studio.ask_for_pictures(1, seed=3000)
        expect(studio.page.locator("[data-picture][data-status=running]")).to_be_visible()
        own.kill()
        connection = studio.page.locator("[data-jobs-connection]")
        expect(connection).to_have_text(re.compile("The connection was lost"))
        expect(studio.drawn_cards).to_have_count(0)
        own.start()
        back = time.monotonic()
        expect(connection).to_be_empty()
        assert time.monotonic() - back < KNOWS_AGAIN_SECONDS
        expect(studio.drawn_cards).to_have_count(1)
        assert studio.natural_width("#image-grid [data-picture] img") > 0
        expect(studio.page.locator("[data-toast]")).to_have_count(0)
        studio.complaints[:] = [line for line in studio.complaints if AWAY not in line]


def test_a_deleted_picture_comes_back_with_undo(open_studio: OpenStudio) -> None:
    studio = open_studio()
    studio.sign_up(next(names))
    studio.generate(1)
    studio.cards.first.get_by_label(re.compile("More for")).click()
    studio.cards.first.get_by_role("button", name="Delete").click()
    expect(studio.cards).to_have_count(0)
    studio.page.locator("#toasts").get_by_role("button", name="Undo").click()
    expect(studio.cards).to_have_count(1)


def test_a_file_that_is_no_picture_is_refused_in_words(open_studio: OpenStudio, tmp_path: Path) -> None:
    studio = open_studio()
    studio.sign_up(next(names))
    lying = tmp_path / "holiday.jpg"
    lying.write_bytes(b"<html>not a picture</html>")
    studio.page.locator("#upload-files").set_input_files(lying)
    expect(studio.page.get_by_text(re.compile("holiday.jpg")).first).to_be_visible()
    expect(studio.cards).to_have_count(0)
    studio.complaints[:] = [line for line in studio.complaints if "422" not in line]


def test_jobs_are_seen_in_another_tab_and_after_a_reload(open_studio: OpenStudio, photo: Path) -> None:
    studio = open_studio()
    studio.sign_up(next(names))
    studio.open_card(studio.upload(photo))
    studio.crop_and_project(steps="300")
    other = studio.page.context.new_page()
    other.goto(studio.url + "/gallery/")
    other.locator("[data-jobs-toggle]:visible").first.click()
    running = other.locator("#jobs-drawer .job")
    expect(running.locator("progress")).to_be_visible()
    other.reload()
    other.locator("[data-jobs-toggle]:visible").first.click()
    running.get_by_role("button", name="Cancel").click()
    expect(running.locator(".badge")).to_have_text("Canceled")


def test_a_visitor_drags_the_strip_on_the_landing_page(open_studio: OpenStudio) -> None:
    studio = open_studio()
    studio.open("/")
    slider = studio.page.locator("input[type=range]").first
    expect(slider).to_be_visible()
    picture = studio.page.locator("img[src*='strip'], [data-strip] img, canvas").first
    expect(picture).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_pages_follow_the_color_scheme(open_studio: OpenStudio, scheme: str) -> None:
    studio = open_studio(color_scheme=scheme)
    studio.open("/accounts/login/")
    color = studio.page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    shades = [int(number) for number in re.findall(r"\d+", color)[:3]]
    assert (sum(shades) / 3 > 128) is (scheme == "light")


def test_the_schema_can_be_browsed(open_studio: OpenStudio) -> None:
    studio = open_studio()
    studio.open("/api/docs/")
    expect(studio.page.locator(".opblock").first).to_be_visible()
