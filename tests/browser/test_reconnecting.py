"""Sockets that are lost: when the page opens them again."""

from __future__ import annotations

import signal
from itertools import pairwise

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import OpenStudio
from tests.server import SiteServer

pytestmark = pytest.mark.timeout(300)
DELAYS_SECONDS = [1, 2, 2, 2]
"""The longest ones after the first, which is half a second."""
LATE_SECONDS = 3.0
"""How late a timer may be on a machine that has other work."""
NOTE_OPENINGS = """() => {
  const Real = window.WebSocket;
  window.openings = { jobs: [], editor: [] };
  window.WebSocket = class extends Real {
    constructor(url) {
      super(url);
      window.openings[url.includes("/ws/jobs/") ? "jobs" : "editor"].push(performance.now() / 1000);
    }
  };
}"""
FORGET_OPENINGS = "for (const times of Object.values(window.openings)) times.length = 0"
ARE_OPENED = "(count) => Object.values(window.openings).every((times) => times.length >= count)"


def test_both_sockets_of_the_editor_are_opened_again_by_the_same_schedule(
    open_studio: OpenStudio, site: SiteServer
) -> None:
    studio = open_studio()
    studio.sign_up("returner")
    studio.generate(1, seed=5)
    studio.page.add_init_script(f"({NOTE_OPENINGS})()")
    studio.open_card(studio.cards.first)
    studio.wait_for_editor()

    studio.page.evaluate(FORGET_OPENINGS)
    complaints = len(studio.complaints)
    assert site.stop(signal.SIGTERM) == 0
    studio.page.wait_for_function(ARE_OPENED, arg=len(DELAYS_SECONDS) + 1)
    openings: dict[str, list[float]] = studio.page.evaluate("window.openings")
    site.start()
    expect(studio.page.locator("[data-jobs-connection]")).to_be_hidden()
    studio.drag(0, 0.7)
    del studio.complaints[complaints:]  # that the server was away may be complained about

    for times in openings.values():
        gaps = [later - earlier for earlier, later in pairwise(times)]
        for gap, delay in zip(gaps, DELAYS_SECONDS, strict=False):
            assert delay / 2 <= gap <= delay + LATE_SECONDS
