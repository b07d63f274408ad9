"""Sockets that are lost: when the page opens them again."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from playwright.sync_api import WebSocketRoute, expect

from tests.browser.conftest import OpenStudio

pytestmark = pytest.mark.timeout(600)
TRY_AGAIN_LATER = 1013
DELAYS_SECONDS = [0.5, 1, 2, 2, 2]
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


def close(socket: WebSocketRoute) -> None:
    socket.close(code=TRY_AGAIN_LATER)


def test_both_sockets_of_the_editor_are_opened_again_by_the_same_schedule(open_studio: OpenStudio) -> None:
    studio = open_studio()
    studio.sign_up("returner")
    studio.generate(1, seed=5)
    studio.page.add_init_script(f"({NOTE_OPENINGS})()")
    studio.page.route_web_socket("**/ws/**", close)
    studio.open_card(studio.cards.first)
    count = len(DELAYS_SECONDS) + 1
    studio.page.wait_for_function(
        "(count) => Object.values(window.openings).every((times) => times.length >= count)", arg=count
    )
    openings: dict[str, Any] = studio.page.evaluate("window.openings")
    for times in openings.values():
        gaps = [later - earlier for earlier, later in pairwise(times[:count])]
        for gap, delay in zip(gaps, DELAYS_SECONDS, strict=True):
            assert delay / 2 <= gap <= delay + LATE_SECONDS
    studio.page.unroute_all()
    studio.page.reload()
    studio.wait_for_editor()
    expect(studio.page.locator("[data-jobs-connection]")).to_be_hidden()
