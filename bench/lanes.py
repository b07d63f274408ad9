"""Both lanes from the outside, over HTTP and the sockets: jobs that are waited for, and previews one after the other."""

from __future__ import annotations

import hashlib
import math
import re
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

from bench.member import Job, Member, Refused
from bench.report import Row, median, milliseconds, percentile, seconds
from bench.stage import LARGE_GENERATOR, Stage
from bench.websocket import WebSocket

FRAME = 1
HEADER = struct.Struct(">BIBBB")
PICTURE = re.compile(r'src="(/files/[^"]+)"')
LONGEST_PROJECTION_STEPS = 1000


def starting(stage: Stage) -> Iterator[Row]:
    first, second = stage.starts
    yield Row("first start, with empty data, until it serves", "", seconds(first))
    yield Row("second start, until it serves", "≤ 10 s", seconds(second), second <= 10)


def ten_pictures(stage: Stage, rounds: int = 5) -> Iterator[Row]:
    took = [_ten_pictures(stage) for _ in range(rounds)]
    measured = f"median {seconds(median(took))}, worst {seconds(max(took))}"
    yield Row("ten random pictures: request to all ten files here (HTTP)", "≤ 3 s", measured, max(took) <= 3)


def _ten_pictures(stage: Stage) -> float:
    """As the page does it: each piece of news brings the cards of new pictures, and their thumbnails."""
    member, here = stage.member, set[str]()

    def fetch(job: Job) -> None:
        new = [pk for pk in job["ready"] if pk not in here]
        if new:
            cards = member.get("/gallery/cards/?" + "&".join(f"id={pk}" for pk in new))
            for address in PICTURE.findall(cards.text):
                member.get(address.replace("&amp;", "&"))
            here.update(new)

    with member.socket("/ws/jobs/") as jobs:
        jobs.receive()
        begun = time.perf_counter()
        wish: dict[str, object] = {"generator": stage.generator, "count": 10, "truncation_psi": 0.7}
        member.watch(jobs, member.ask_for("/gallery/generate/", wish)["id"], fetch)
        if len(here) != 10:
            raise Refused(f"{len(here)} of ten pictures were there in the end.")
        return time.perf_counter() - begun


def slider_on_socket(stage: Stage) -> Iterator[Row]:
    yield _slider_on_socket(stage, stage.generator, "slider message to frame received (WebSocket alone)")
    yield _slider_on_socket(stage, LARGE_GENERATOR, "the same with a generator of 128 pixels")


def _slider_on_socket(stage: Stage, generator: str, what: str, frames: int = 150) -> Row:
    took = socket_latencies(stage, stage.member.draw(generator)[0], frames)
    middle, late = median(took), percentile(took, 0.95)
    measured = (
        f"median {milliseconds(middle)}, p95 {milliseconds(late)}, {len(took) / sum(took):.0f} frames/s"
    )
    return Row(what, "median ≤ 80 ms, p95 ≤ 150 ms", measured, middle <= 0.08 and late <= 0.15)


def socket_latencies(stage: Stage, image: str, frames: int) -> list[float]:
    """Seconds from each message to its frame, the next one being sent when the last has arrived."""
    with stage.member.socket(f"/ws/transform/{image}/") as socket:
        ready = socket.receive()
        if not isinstance(ready, dict) or ready.get("type") != "ready":
            raise Refused(f"The editor's socket said {ready!r:.200}.")
        layers = int(ready["num_ws"])
        draw_once(socket, 1, 0.0, layers)  # opens the picture's place
        return [draw_once(socket, seq, 3 * math.sin(seq / 9), layers) for seq in range(2, frames + 2)]


def draw_once(socket: WebSocket, seq: int, strength: float, layers: int) -> float:
    edit = {"component": 0, "strength": round(strength, 3), "start": 0, "end": layers}
    begun = time.perf_counter()
    socket.send({"type": "render", "seq": seq, "edits": [edit], "noise_mode": "const", "exact": False})
    while True:
        message = socket.receive()
        if isinstance(message, bytes):
            kind, answered = HEADER.unpack_from(message)[:2]
            if kind == FRAME and answered == seq:
                return time.perf_counter() - begun
        elif message.get("type") == "error":
            raise Refused(str(message.get("text")))


def projecting(stage: Stage) -> Iterator[Row]:
    yield _projecting(stage, stage.generator, "projection of an upload, 100 steps")
    yield _projecting(stage, LARGE_GENERATOR, "the same into a generator of 128 pixels")


def _projecting(stage: Stage, generator: str, what: str) -> Row:
    """An upload into a generator, with nothing else to do."""
    member = stage.member
    image = member.upload("photo.jpg", stage.photo())
    seen: list[tuple[float, str]] = []
    last = ""

    def look(job: Job) -> None:
        nonlocal last
        last = job["stage"] or last
        if job["has_preview"] and job["state"] == "running":
            preview = hashlib.sha256(member.get(job["preview_url"]).body).hexdigest()
            if not seen or seen[-1][1] != preview:
                seen.append((time.perf_counter(), preview))

    with member.socket("/ws/jobs/") as jobs:
        jobs.receive()
        begun = time.perf_counter()
        job = member.ask_for(f"/gallery/{image}/project/", projection_into(generator, 100))
        member.watch(jobs, job["id"], look)
        took = time.perf_counter() - begun
    moments = [begun, *(moment for moment, _ in seen), begun + took]
    gap = max(later - earlier for earlier, later in pairwise(moments))
    measured = (
        f"{seconds(took)}, last seen at {last.lower()}; {len(seen)} previews, "
        f"longest wait for a new one {seconds(gap)}"
    )
    met = took <= 20 and gap <= 1
    return Row(what, "≤ 20 s, a new preview every second", measured, met)


def projection_into(generator: str, steps: int) -> dict[str, object]:
    return {"generator": generator, "space": "w+", "steps": steps}


@contextmanager
def busy(stage: Stage) -> Iterator[None]:
    """Inside it a projection runs, longer than anybody waits. Raises Refused if it ended before the block."""
    member: Member = stage.member
    image = member.upload("photo.jpg", stage.photo())
    job = member.ask_for(
        f"/gallery/{image}/project/", projection_into(stage.generator, LONGEST_PROJECTION_STEPS)
    )
    try:
        while not state_of(member, job)["has_preview"]:
            time.sleep(0.1)
        yield
        state = state_of(member, job)["state"]
        if state != "running":
            raise Refused(f"The projection beside it was {state} before the measurement ended.")
    finally:
        member.post(f"/jobs/{job['id']}/cancel/", {})
        while state_of(member, job)["state"] in {"queued", "running"}:
            time.sleep(0.1)


def state_of(member: Member, job: Job) -> Job:
    data: Job = member.get(f"/api/v1/jobs/{job['id']}/").data
    if data["state"] == "failed":
        raise Refused(f"{data['title']}: {data['error']}")
    return data


def slider_on_socket_while_projecting(stage: Stage, frames: int = 100) -> Iterator[Row]:
    image = stage.member.draw(stage.generator)[0]
    idle = percentile(socket_latencies(stage, image, frames), 0.95)
    with busy(stage):
        late = percentile(socket_latencies(stage, image, frames), 0.95)
    yield compared("slider on the WebSocket alone while a projection runs", idle, late)


def compared(what: str, idle: float, late: float) -> Row:
    measured = f"p95 {milliseconds(late)} against {milliseconds(idle)} idle: {late / idle:.1f} times"
    return Row(what, "p95 ≤ 3 times the idle one", measured, late <= 3 * idle)


def enlarging(stage: Stage, rounds: int = 3) -> Iterator[Row]:
    member = stage.member
    took = []
    for _ in range(rounds):
        image = member.draw(LARGE_GENERATOR)[0]
        saved = member.do(f"/gallery/{image}/save/", {"recipe": "{}", "name": "bench"})["saved_image"]
        begun = time.perf_counter()
        member.do(f"/saved/{saved}/upscale/", {"upscaler": "faithful-x4"})
        member.get(f"/files/saved/{saved}/upscaled/")
        took.append(time.perf_counter() - begun)
    measured = f"median {seconds(median(took))}, worst {seconds(max(took))}"
    yield Row("superresolution 128 → 512, click to file here", "≤ 3 s", measured, max(took) <= 3)


def memory(stage: Stage) -> Iterator[Row]:
    """Of the one process that does it all. Asked for last."""
    yield Row("memory of the server, the most of all this", "", f"{stage.peak_memory_bytes() / 1e6:.0f} MB")
