"""What a member does, in the words of the pages: a page object over a real browser."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from playwright.sync_api import BrowserContext, ConsoleMessage, Locator, Page, expect

PASSWORD = "a-long-walk-in-autumn"
PATIENCE_MS = 60_000
CANVAS_HASH = """() => {
  const canvas = document.querySelector('[data-canvas]');
  const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
  let hash = 0;
  for (const value of data) hash = (hash * 31 + value) | 0;
  return hash;
}"""
OWN_DOING = "Canvas2D: Multiple readback"  # the tests read the canvas to see whether it changed
DIFFERS = f"(old) => ({CANVAS_HASH})() !== old"


class Studio:
    """One member at one browser window. Everything that the console complains about is kept in `complaints`."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.url = url
        self.complaints: list[str] = []
        self.page: Page = context.new_page()
        self.page.set_default_timeout(PATIENCE_MS)
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.complaints.append(f"{self.page.url}: {error}"))
        expect.set_options(timeout=PATIENCE_MS)

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and OWN_DOING not in message.text:
            self.complaints.append(f"{self.page.url}: {message.text}")

    def open(self, path: str) -> None:
        self.page.goto(self.url + path)

    # --- Account ---

    def sign_up(self, name: str) -> None:
        self.open("/accounts/register/")
        self.page.get_by_label("User name").fill(name)
        self.page.get_by_label(re.compile("mail", re.I)).fill(f"{name}@example.com")
        for field in self.page.locator("input[type=password]").all():
            field.fill(PASSWORD)
        self.page.get_by_role("button", name="Sign up").click()
        self.page.wait_for_url("**/gallery/")

    # --- Gallery ---

    @property
    def cards(self) -> Locator:
        return self.page.locator("#image-grid [data-picture]")

    @property
    def drawn_cards(self) -> Locator:
        return self.page.locator("#image-grid [data-picture][data-ready]")

    def open_generate(self) -> None:
        self.page.locator("a[href$='/gallery/generate/']").first.click()
        expect(self.page.locator("#dialog #id_count")).to_be_visible()

    def generate(self, count: int, seed: int | None = None) -> None:
        before = self.cards.count()
        self.ask_for_pictures(count, seed)
        expect(self.drawn_cards).to_have_count(before + count)

    def ask_for_pictures(self, count: int, seed: int | None = None) -> None:
        """Their cards are there then, whatever is drawn."""
        before = self.cards.count()
        self.open_generate()
        self.page.locator("#id_count").fill(str(count))
        if seed is not None:
            self.page.locator("#id_seed").fill(str(seed))
        self.page.locator("#dialog").get_by_role("button", name="Generate").click()
        expect(self.cards).to_have_count(before + count)

    def upload(self, file: Path) -> Locator:
        before = self.cards.count()
        self.page.locator("#upload-files").set_input_files(file)
        expect(self.cards).to_have_count(before + 1)
        card = self.cards.first
        expect(card.locator("img")).to_be_visible()
        return card

    def open_card(self, card: Locator) -> None:
        card.locator("[data-card-link]").click()
        self.page.wait_for_url("**/transform/**")

    # --- Projection ---

    def crop_and_project(self, steps: str = "40") -> None:
        self.page.locator("[data-crop-step='-1']").click()
        box = self.page.locator("[data-cropper-box]")
        expect(box).to_be_visible()
        size = self.page.locator("#crop-size")
        before = int(size.input_value())
        box.focus()
        self.page.keyboard.press("-")
        assert int(size.input_value()) < before
        self.page.keyboard.press("ArrowUp")
        self.page.locator("#crop-steps").select_option(steps)
        self.page.get_by_role("button", name="Find it in the model").click()
        expect(self.page.locator("[data-projecting]")).to_be_visible()

    def watch_projection(self) -> list[str]:
        """Wait until the editor comes. Gives the addresses of the previews that were shown, in order."""
        self.page.evaluate(
            """() => {
              const seen = [];
              const picture = document.querySelector('[data-converging]');
              const note = () => { if (picture.src && !picture.hidden) sessionStorage.setItem('seen', JSON.stringify(
                [...new Set([...JSON.parse(sessionStorage.getItem('seen') || '[]'), picture.src])])); };
              new MutationObserver(note).observe(picture, { attributes: true });
            }"""
        )
        expect(self.page.locator("[data-editor][data-drawn]")).to_be_visible()
        seen: list[str] = self.page.evaluate("JSON.parse(sessionStorage.getItem('seen') || '[]')")
        return seen

    # --- Editor ---

    def wait_for_editor(self) -> None:
        expect(self.page.locator("[data-editor][data-drawn]")).to_be_visible()
        expect(self.page.locator("[data-range]").first).to_be_visible()

    def canvas(self) -> int:
        value: int = self.page.evaluate(CANVAS_HASH)
        return value

    def slider(self, index: int) -> Locator:
        return self.page.locator("[data-range]").nth(index)

    def strength(self, index: int) -> float:
        return float(self.slider(index).input_value())

    def drag(self, index: int, share: float) -> None:
        """Drag a slider's handle with the pointer from the middle to `share` (0 to 1) of its width."""
        slider = self.slider(index)
        slider.scroll_into_view_if_needed()
        area = slider.bounding_box()
        assert area is not None
        y = area["y"] + area["height"] / 2
        old = self.canvas()
        mouse = self.page.mouse
        mouse.move(area["x"] + area["width"] / 2, y)
        mouse.down()
        for step in range(1, 11):
            mouse.move(area["x"] + area["width"] * (0.5 + (share - 0.5) * step / 10), y)
            self.page.wait_for_timeout(30)
        mouse.up()
        self.page.wait_for_function(DIFFERS, arg=old)
        self.page.wait_for_timeout(700)  # the exact frame follows when the hand rests

    def press(self, selector: str) -> None:
        old = self.canvas()
        self.page.locator(selector).first.click()
        self.page.wait_for_function(DIFFERS, arg=old)

    def draw_series(self) -> int:
        panel = self.page.locator("[data-series]").first
        if panel.get_attribute("open") is None:
            panel.locator("summary").click()
        self.page.locator("[data-series-draw]").click()
        frames = self.page.locator("[data-series-strip] button[data-drawn=yes]")
        expect(frames).to_have_count(7)
        return frames.count()

    def save(self, name: str) -> None:
        self.page.locator("button[data-save]").click()
        self.page.locator("#save-name").fill(name)
        self.page.locator("#save-dialog").get_by_role("button", name="Save").click()
        expect(self.page.locator("#save-dialog")).to_be_hidden()

    # --- Saved images ---

    def open_saved(self, name: str) -> str:
        """Open the saved picture's page once it is drawn. Gives its path."""
        self.open("/saved/")
        card = self.page.locator("article", has_text=name).first
        expect(card.locator("img")).to_be_visible()
        card.locator("a").first.click()
        expect(self.page.locator("[data-saved-detail]")).to_be_visible()
        return self.page.url.removeprefix(self.url)

    def enlarge(self) -> None:
        self.page.get_by_role("button", name=re.compile("Enlarge")).click()
        expect(self.page.get_by_text(re.compile("Enlarged to"))).to_be_visible()
        expect(self.page.locator("[data-compare] .compare__after")).to_be_visible()

    def natural_width(self, selector: str) -> int:
        image = self.page.locator(selector).first
        self.page.wait_for_function(
            "(image) => image.complete && image.naturalWidth", arg=image.element_handle()
        )
        value: int = image.evaluate("(image) => image.naturalWidth")
        return value

    def fetch(self, path: str) -> Any:
        return self.page.request.get(self.url + path)
