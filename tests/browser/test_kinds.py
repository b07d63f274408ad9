"""Generators of other kinds in a real browser: panoramas that scroll, classes that change, pictures that move."""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Iterator

import pytest
from PIL import Image
from playwright.sync_api import Browser, Locator, expect

from tests.browser.conftest import DESKTOP, PHONE
from tests.browser.studio import Studio
from tests.server import SiteServer
from tests.transforms.kinds import make_kinds

pytestmark = pytest.mark.timeout(300)
names = (f"rambler{number}" for number in itertools.count())
SIDE_PX = 64
STRIP_HASHES = """() => Object.fromEntries([...document.querySelectorAll('[data-strip] canvas')].map((canvas) => {
  const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  let hash = 0;
  for (const value of data) hash = (hash * 31 + value) | 0;
  return [canvas.style.insetInlineStart, hash];
}))"""


@pytest.fixture(scope="module")
def kinds_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SiteServer]:
    models = make_kinds(tmp_path_factory.mktemp("kinds"), SIDE_PX)
    with SiteServer(tmp_path_factory.mktemp("site"), MODELS_DIR=str(models)) as running:
        yield running


@pytest.fixture(params=[pytest.param(DESKTOP, id="desktop")])
def studio(browser: Browser, kinds_site: SiteServer, request: pytest.FixtureRequest) -> Iterator[Studio]:
    """Somebody who has just signed up. At the end the console may not have complained."""
    opened = Studio(browser.new_context(**request.param, reduced_motion="reduce"), kinds_site.url)
    opened.sign_up(next(names))
    yield opened
    complaints = opened.complaints
    opened.page.context.close()
    assert complaints == []


on_a_phone_too = pytest.mark.parametrize(
    "studio", [pytest.param(DESKTOP, id="desktop"), pytest.param(PHONE, id="phone")], indirect=True
)


def draw(studio: Studio, generator: str, **fields: str) -> None:
    """Generate a picture of the seed 5 and open it in the editor."""
    studio.open_generate()
    dialog = studio.page.locator("#dialog")
    dialog.locator(f"input[value={generator}]").check(force=True)
    for field, value in fields.items():
        dialog.locator(f"[name={field}]").select_option(value)
    dialog.locator("#id_count").fill("1")
    dialog.locator("#id_seed").fill("5")
    dialog.get_by_role("button", name="Generate").click()
    expect(studio.drawn_cards).to_have_count(1)
    studio.open_card(studio.drawn_cards.first)
    studio.wait_for_editor()


def settled(studio: Studio) -> int:
    """The canvas once the exact picture stands on it."""
    studio.page.wait_for_timeout(600)
    return studio.canvas()


def facts_of(studio: Studio) -> dict[str, str]:
    pairs = studio.page.locator(".facts > div").all()
    return {pair.locator("dt").inner_text(): pair.locator("dd").inner_text() for pair in pairs}


def test_a_class_is_chosen_for_a_new_picture_and_changed_in_the_editor(studio: Studio) -> None:
    studio.open_generate()
    field = studio.page.locator("#dialog [data-class-of=kinds]")
    studio.page.locator("#dialog input[value=wide]").check(force=True)
    expect(field).to_be_hidden()
    studio.page.locator("#dialog input[value=kinds]").check(force=True)
    expect(field).to_be_visible()
    studio.page.keyboard.press("Escape")

    draw(studio, "kinds", class_kinds="dog")
    dog = settled(studio)
    choice = studio.page.locator("[data-class]")
    expect(choice).to_have_value("dog")
    choice.select_option("owl")
    owl = settled(studio)
    assert owl != dog
    studio.press("[data-undo]")
    assert settled(studio) == dog
    expect(choice).to_have_value("dog")
    studio.press("[data-redo]")
    assert settled(studio) == owl

    studio.save("Night bird")
    studio.open_saved("Night bird")
    assert facts_of(studio)["Class"] == "owl"
    studio.page.get_by_role("link", name="Open in the editor").click()
    studio.wait_for_editor()
    expect(choice).to_have_value("owl")
    assert settled(studio) == owl


def test_a_picture_is_moved_and_its_factors_are_found_again(studio: Studio) -> None:
    draw(studio, "shifts")
    still = settled(studio)
    page = studio.page
    page.locator("input[type=number][data-move=x]").fill("25")
    page.locator("input[type=range][data-move=degrees]").fill("-30")
    moved = settled(studio)
    assert moved != still
    page.locator("[data-family=factors]").click()
    expect(page.locator("[data-name]").first).to_have_text("Factor 1")
    studio.slider(0).fill("4")
    factored = settled(studio)
    assert factored != moved
    expect(page.locator("[data-family=factors] [data-moved]")).to_have_text("1")
    assert studio.draw_series() == 7

    studio.save("Aside")
    studio.open_saved("Aside")
    facts = facts_of(studio)
    assert facts["Moved"] == "25 % to the right, turned by −30°"  # noqa: RUF001  (the page's own sign)
    assert facts["Factor 1"].startswith("+4")
    page.get_by_role("link", name="Open in the editor").click()
    studio.wait_for_editor()
    assert settled(studio) == factored
    page.locator("[data-still]").click()
    page.locator("[data-reset-all]").click()
    assert settled(studio) == still


def hashes(studio: Studio) -> dict[str, int]:
    """What stands on each tile of the strip, by its place."""
    found: dict[str, int] = studio.page.evaluate(STRIP_HASHES)
    return found


def place(strip: Locator) -> int:
    left: int = strip.evaluate("(strip) => Math.round(strip.scrollLeft)")
    return left


@on_a_phone_too
def test_a_panorama_is_scrolled_edited_and_saved(studio: Studio) -> None:
    draw(studio, "places")
    page = studio.page
    strip = page.locator("[data-panorama]")
    wide, seen = page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    assert wide <= seen
    exact = strip.locator("canvas[data-drawn=exact]")
    expect(exact.nth(3)).to_be_visible()
    first = exact.count()

    strip.focus()
    page.keyboard.press("PageDown")
    page.wait_for_function(
        "(before) => document.querySelectorAll('[data-drawn=exact]').length > before", arg=first
    )
    assert place(strip) > 0
    page.keyboard.press("Home")
    assert place(strip) == 0

    page.wait_for_timeout(400)
    untouched = hashes(studio)
    studio.slider(0).fill("4")
    page.wait_for_timeout(900)
    edited = hashes(studio)
    assert edited["0px"] != untouched["0px"]
    page.keyboard.down("b")
    page.wait_for_timeout(500)
    assert hashes(studio)["0px"] == untouched["0px"]
    page.keyboard.up("b")
    page.wait_for_timeout(300)
    assert hashes(studio)["0px"] == edited["0px"]

    page.locator("button[data-save]").click()
    page.locator("#save-width").fill("6")
    expect(page.locator("[data-size]")).to_have_text("384 × 64 pixels")  # noqa: RUF001
    page.locator("#save-name").fill("Far hills")
    page.locator("#save-dialog").get_by_role("button", name="Save").click()
    expect(page.locator("#save-dialog")).to_be_hidden()
    path = studio.open_saved("Far hills")
    expect(page.locator(".saved__strip img")).to_be_visible()
    assert facts_of(studio)["Panorama"] == "384 pixels wide, from the start"
    answer = studio.fetch(f"/files/saved/{path.split('/')[2]}/original/?download=1")
    picture = Image.open(io.BytesIO(answer.body()))
    assert picture.size == (384, 64)
    assert re.search('"width": ?384', picture.info["pixellift-recipe"])
