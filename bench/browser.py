"""What a member sees, measured in Chromium on the real pages: from the hand's movement to the painted picture."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Page, sync_playwright

from bench.lanes import busy, compared
from bench.report import Row, median, milliseconds, percentile, seconds
from bench.stage import Stage

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WINDOW = {"width": 1400, "height": 1400}  # ten cards are in view: pictures out of view are not loaded
DRAG_SECONDS = 5.0
HAND_SECONDS = 1 / 60

# Each movement is shown when a frame has been painted that was asked for at or after it. Painted: a message
# that is sent in an animation frame arrives after that frame was drawn.
WATCH_SLIDER = """(() => {
  const bench = { moves: [], frames: [] };
  const asked = new Map();
  window.bench = bench;
  const send = WebSocket.prototype.send;
  WebSocket.prototype.send = function (data) {
    if (typeof data === "string" && data.includes('"render"')) asked.set(JSON.parse(data).seq, bench.moves.length);
    return send.call(this, data);
  };
  const painted = (act) => requestAnimationFrame(() => {
    const channel = new MessageChannel();
    channel.port1.onmessage = () => act(performance.now());
    channel.port2.postMessage(0);
  });
  document.addEventListener("input", (event) => {
    if (event.target.matches("[data-range]")) bench.moves.push({ at: event.timeStamp, shown: null });
  }, true);
  document.addEventListener("preview-frame", ({ detail }) => painted((now) => {
    bench.frames.push(now);
    for (const move of bench.moves.slice(0, asked.get(detail.seq) ?? 0)) move.shown ??= now;
  }));
})()"""

# From the click to the moment at which the pictures of ten new cards are loaded and painted.
WATCH_CARDS = """() => new Promise((resolve, reject) => {
  const cards = () => [...document.querySelectorAll("#image-grid [data-picture]")];
  const old = new Set(cards().map((card) => card.dataset.picture));
  const button = document.querySelector("#dialog-body form [type=submit]");
  const begun = performance.now();
  const look = () => {
    const pictures = cards().filter((card) => !old.has(card.dataset.picture)).map((card) => card.querySelector("img"));
    const here = pictures.filter((picture) => picture?.complete && picture.naturalWidth > 0);
    if (here.length === 10) resolve((performance.now() - begun) / 1000);
    else if (performance.now() - begun > 60000) reject(new Error(`${here.length} of ten pictures after a minute`));
    else requestAnimationFrame(look);
  };
  button.click();
  requestAnimationFrame(look);
})"""


@contextmanager
def page_of(stage: Stage) -> Iterator[Page]:
    """A page of Chromium in which the stage's member is signed in."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        context = browser.new_context(viewport={"width": WINDOW["width"], "height": WINDOW["height"]})
        cookies = [{"name": n, "value": v, "url": stage.server.url} for n, v in stage.member.cookies.items()]
        context.add_cookies(cookies)  # type: ignore[arg-type]  # playwright's own TypedDict, with more keys
        context.add_init_script(WATCH_SLIDER)
        try:
            yield context.new_page()
        finally:
            browser.close()


def ten_pictures(stage: Stage, rounds: int = 3) -> Iterator[Row]:
    took = []
    with page_of(stage) as page:
        for _ in range(rounds):
            page.goto(f"{stage.server.url}/gallery/")
            page.locator("[hx-get='/gallery/generate/']").first.click()
            page.locator("#dialog-body [name=count]").fill("10")
            page.wait_for_timeout(500)  # htmx takes the form over; before that it would be sent as a page
            took.append(float(page.evaluate(WATCH_CARDS)))
    measured = f"median {seconds(median(took))}, worst {seconds(max(took))}"
    yield Row("ten random pictures: click to all ten shown (Chromium)", "≤ 3 s", measured, max(took) <= 3)


def slider(stage: Stage) -> Iterator[Row]:
    """One drag of the first slider, alone and while a projection runs."""
    image = stage.member.draw(stage.generator)[0]
    with page_of(stage) as page:
        open_editor(page, stage, image)
        drag(page, 1)  # the first movements warm the page up
        idle = drag(page, DRAG_SECONDS)
        yield idle.row("slider moved to new frame painted, while dragging (Chromium)")
        yield single_moves(page)
        with busy(stage):
            late = drag(page, DRAG_SECONDS)
    yield compared("slider dragged while a projection runs (Chromium)", idle.p95, late.p95)


class Drag:
    """What a drag showed: seconds from each movement to its frame, and the frames that were painted meanwhile."""

    def __init__(self, moves: list[dict[str, Any]], frames: list[float]) -> None:
        self.latencies = [(move["shown"] - move["at"]) / 1000 for move in moves if move["shown"] is not None]
        self.lost = len(moves) - len(self.latencies)
        first, last = moves[0]["at"], moves[-1]["at"]
        painted = [moment for moment in frames if first <= moment <= last]
        self.frames_per_second = len(painted) / (last - first) * 1000
        self.p95 = percentile(self.latencies, 0.95)

    def row(self, what: str) -> Row:
        middle = median(self.latencies)
        measured = (
            f"median {milliseconds(middle)}, p95 {milliseconds(self.p95)}, {self.frames_per_second:.0f} frames/s "
            f"({len(self.latencies)} movements" + (f", {self.lost} never shown)" if self.lost else ")")
        )
        met = middle <= 0.08 and self.p95 <= 0.15 and self.frames_per_second >= 10 and not self.lost
        return Row(what, "median ≤ 80 ms, p95 ≤ 150 ms, ≥ 10 frames/s", measured, met)


def open_editor(page: Page, stage: Stage, image: str) -> None:
    page.goto(f"{stage.server.url}/gallery/{image}/transform/")
    page.locator("[data-editor][data-drawn=yes][data-connection=connected]").wait_for(timeout=60_000)
    page.wait_for_timeout(1000)


def drag(page: Page, duration_seconds: float) -> Drag:
    """Hold the first slider and swing it to and fro, moving sixty times a second."""
    page.evaluate("() => { bench.moves.length = 0; bench.frames.length = 0; }")
    range_ = page.locator("[data-range]").first
    range_.scroll_into_view_if_needed()
    box = range_.bounding_box()
    if box is None:
        raise RuntimeError("The slider is not to be seen.")
    middle, height, reach = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, box["width"] * 0.4
    page.mouse.move(middle, height)
    page.mouse.down()
    begun = time.perf_counter()
    step = 0
    while (passed := time.perf_counter() - begun) < duration_seconds:
        page.mouse.move(middle + reach * math.sin(passed * 2.5), height)
        step += 1
        time.sleep(max(0.0, begun + step * HAND_SECONDS - time.perf_counter()))
    page.mouse.move(middle, height)
    page.mouse.up()
    page.wait_for_timeout(1500)
    seen: dict[str, Any] = page.evaluate("() => bench")
    return Drag(seen["moves"], seen["frames"])


def single_moves(page: Page, count: int = 25) -> Row:
    """One press of an arrow key at a time, each after the last has come to rest."""
    page.locator("[data-range]").first.focus()
    page.evaluate("() => { bench.moves.length = 0; bench.frames.length = 0; }")
    for _ in range(count):
        page.keyboard.press("ArrowRight")
        page.wait_for_timeout(450)
    seen: dict[str, Any] = page.evaluate("() => bench")
    took = Drag(seen["moves"], seen["frames"]).latencies
    measured = f"median {milliseconds(median(took))}, p95 {milliseconds(percentile(took, 0.95))} ({len(took)} movements)"
    met = median(took) <= 0.08 and percentile(took, 0.95) <= 0.15
    return Row(
        "slider moved to new frame painted, one step at a time", "median ≤ 80 ms, p95 ≤ 150 ms", measured, met
    )
