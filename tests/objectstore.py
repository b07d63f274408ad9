"""An object store for tests: moto's server, which speaks S3, behind a door that can be told to misbehave."""

from __future__ import annotations

import http.client
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Literal, Self

import boto3
from moto.server import ThreadedMotoServer

BUCKET = "pictures"
REGION = "eu-central-1"
Mood = Literal["well", "broken", "full", "slow", "cut"]
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "server", "date", "content-length"}


class ObjectStore:
    """`with ObjectStore() as store:` its `url` is the endpoint. `mood` says how it answers from now on.

    `broken`: 500. `full`: 507, to what is written. `slow`: says nothing for half a minute. `cut`: half of what is read.
    `spare` requests are answered well before the mood shows. What was asked for is in `log`.
    """

    def __init__(self) -> None:
        self.mood: Mood = "well"
        self.spare = 0
        self.log: list[tuple[str, str]] = []
        self._moto = ThreadedMotoServer(port=0, verbose=False)
        self._moto.start()
        _, self._port = self._moto.get_host_and_port()
        self._door = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._door.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._door.server_port}"
        threading.Thread(target=self._door.serve_forever, daemon=True).start()
        self.client = boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{self._port}",
            region_name=REGION,
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )
        with suppress(self.client.exceptions.BucketAlreadyOwnedByYou):  # moto's buckets are the process's
            self.client.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": REGION})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._door.shutdown()
        self._moto.stop()

    def names(self) -> list[str]:
        """What lies in the bucket."""
        return [item["Key"] for item in self.client.list_objects_v2(Bucket=BUCKET).get("Contents", [])]

    def empty(self) -> None:
        self.mood, self.spare = "well", 0
        for name in self.names():
            self.client.delete_object(Bucket=BUCKET, Key=name)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        store = self

        class Door(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                super().handle_one_request()

            def log_message(self, format: str, *args: Any) -> None:
                pass

            def __getattr__(self, name: str) -> Any:
                if name.startswith("do_"):
                    return self.answer
                raise AttributeError(name)

            def answer(self) -> None:
                store.log.append((self.command, self.path))
                body = self.body()
                mood = store.mood
                if store.spare > 0:
                    store.spare -= 1
                    mood = "well"
                if mood == "slow":
                    time.sleep(30)
                if mood == "broken":
                    self.refuse(500, "InternalError")
                elif mood == "full" and self.command in {"PUT", "POST"}:
                    self.refuse(507, "XMinioStorageFull")
                else:
                    self.hand_on(body, cut=mood == "cut" and self.command == "GET")

            def body(self) -> bytes:
                if "100-continue" in self.headers.get("Expect", "").lower():
                    self.send_response_only(100)
                    self.end_headers()
                if "chunked" not in self.headers.get("Transfer-Encoding", ""):
                    return self.rfile.read(int(self.headers.get("Content-Length", 0)))
                whole = b""
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    whole += self.rfile.read(size)
                    self.rfile.readline()
                while self.rfile.readline().strip():
                    pass
                return whole

            def refuse(self, status: int, code: str) -> None:
                text = f"<Error><Code>{code}</Code><Message>No.</Message></Error>".encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/xml")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text if self.command != "HEAD" else b"")

            def hand_on(self, body: bytes, *, cut: bool) -> None:
                behind = http.client.HTTPConnection("127.0.0.1", store._port, timeout=30)
                headers = {
                    name: value
                    for name, value in self.headers.items()
                    if name.lower() not in {"transfer-encoding", "expect", "content-length"}
                }
                behind.request(self.command, self.path, body, headers)
                answer = behind.getresponse()
                data = answer.read()
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in HOP_BY_HOP:
                        self.send_header(name, value)
                length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(data))
                self.send_header("Content-Length", length or "0")
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(data[: len(data) // 2] if cut else data)
                if cut:
                    self.close_connection = True
                behind.close()

        return Door
