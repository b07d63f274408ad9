"""A member as a program: signs up, asks for pages and work, and watches the sockets, as the browser's scripts do."""

from __future__ import annotations

import http.client
import json
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import urlencode, urlsplit

from bench.websocket import WebSocket

PASSWORD = "correct-horse-9"  # noqa: S105  (of accounts that live as long as the measurement)
OVER = {"succeeded", "failed", "canceled"}
PATIENCE_SECONDS = 300
CARD = re.compile(r'id="image-([0-9a-f-]{36})"')

Job = dict[str, Any]


class Refused(Exception):
    """The server said no, or a job did not succeed."""


@dataclass(frozen=True)
class Answer:
    status: int
    location: str
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def data(self) -> Any:
        return json.loads(self.body)


class Member:
    """Somebody with an account of their own on the site at `url`."""

    def __init__(self, url: str) -> None:
        where = urlsplit(url)
        self.host, self.port = where.hostname or "", where.port or 80
        self.cookies: dict[str, str] = {}
        self.name = f"bench-{secrets.token_hex(4)}"
        self._connection = http.client.HTTPConnection(self.host, self.port, timeout=120)
        self._sign_up()

    def _sign_up(self) -> None:
        self.get("/accounts/register/")
        person = {"user_name": self.name, "email": f"{self.name}@example.com", "password": PASSWORD}
        answer = self.post("/accounts/register/", person)
        if answer.status != 302:
            raise Refused(f"Signing up answered {answer.status}.")

    # --- Requests ---

    @property
    def cookie(self) -> str:
        return "; ".join(f"{name}={value}" for name, value in self.cookies.items())

    def get(self, path: str) -> Answer:
        return self._ask("GET", path)

    def post(self, path: str, fields: dict[str, object] | dict[str, str]) -> Answer:
        """A form; the answer is JSON where the site knows how."""
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
        return self._ask("POST", path, urlencode(fields).encode(), headers)

    def upload(self, name: str, data: bytes) -> str:
        """Upload a picture as the page does. Gives its id."""
        edge = secrets.token_hex(16)
        head = f'--{edge}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
        body = head.encode() + data + f"\r\n--{edge}--\r\n".encode()
        headers = {"Content-Type": f"multipart/form-data; boundary={edge}", "HX-Request": "true"}
        answer = self._ask("POST", "/gallery/upload/", body, headers)
        cards = CARD.findall(answer.text)
        if answer.status != 200 or not cards:
            raise Refused(f"The upload answered {answer.status}.")
        return str(cards[0])

    def _ask(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> Answer:
        token = {"X-CSRFToken": self.cookies["csrftoken"]} if "csrftoken" in self.cookies else {}
        self._connection.request(method, path, body, {"Cookie": self.cookie, **token, **(headers or {})})
        response = self._connection.getresponse()
        for name, value in response.getheaders():
            if name.lower() == "set-cookie":
                self.cookies |= {key: morsel.value for key, morsel in SimpleCookie(value).items()}
        return Answer(response.status, response.getheader("Location", ""), response.read())

    # --- Work ---

    def ask_for(self, path: str, fields: dict[str, object]) -> Job:
        """Ask for work; the job that was made."""
        answer = self.post(path, fields)
        if answer.status != 202:
            raise Refused(f"{path} answered {answer.status}: {answer.text[:200]}")
        job: Job = answer.data["job"]
        return job

    def socket(self, path: str) -> WebSocket:
        return WebSocket(self.host, self.port, path, self.cookie)

    def watch(self, jobs: WebSocket, pk: str, on_news: Callable[[Job], None] = lambda job: None) -> Job:
        """Listen until a job is over. Its last state. Raises Refused unless it succeeded."""
        until = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < until:
            message = jobs.receive()
            if not isinstance(message, dict):
                continue
            for job in [message.get("job"), *message.get("jobs", [])]:
                if not job or job["id"] != pk or "state" not in job:  # news of its place in line has none
                    continue
                on_news(job)
                if job["state"] in OVER:
                    if job["state"] != "succeeded":
                        raise Refused(f"{job['title']}: {job['error'] or job['state']}")
                    return dict(job)
        raise Refused(f"The job did not end within {PATIENCE_SECONDS} s.")

    def do(self, path: str, fields: dict[str, object]) -> Job:
        """Ask for work and wait for it."""
        with self.socket("/ws/jobs/") as jobs:
            jobs.receive()  # the snapshot: from here on nothing is missed
            return self.watch(jobs, self.ask_for(path, fields)["id"])

    def draw(self, generator: str, count: int = 1) -> list[str]:
        """Random pictures; their ids."""
        fields: dict[str, object] = {"generator": generator, "count": count, "truncation_psi": 0.7}
        return [str(pk) for pk in self.do("/gallery/generate/", fields)["images"]]
