"""Dockerfile, compose.yaml and the proxy's configuration: what they name is there, and nothing is left open."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from gallery import serving
from pixellift import server
from tests.server import ROOT

COMPOSE: dict[str, Any] = YAML(typ="safe").load(ROOT / "compose.yaml")
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = [name for name, service in SERVICES.items() if "pixellift:" in service["image"]]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
NGINX = (ROOT / "deploy" / "nginx.conf").read_text()
OPERATING = (ROOT / "docs" / "operating.md").read_text()


def test_each_of_our_processes_is_there() -> None:
    commands = {name: SERVICES[name]["command"][2] for name in OURS}
    assert commands == {
        "migrate": "migrate",
        "web": "serve",
        "worker": "worker",
        "preview": "previewworker",
    }


@pytest.mark.parametrize("name", OURS)
def test_ours_write_nowhere_and_may_nothing(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["tmpfs"] == ["/tmp"]  # noqa: S108


def test_only_the_proxy_is_reached_from_outside() -> None:
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["proxy"]
    assert COMPOSE["networks"]["inside"] == {"internal": True}
    assert [name for name, service in SERVICES.items() if "outside" in service["networks"]] == [
        "proxy",
        "web",
    ]


def test_no_secret_is_written_down() -> None:
    text = (ROOT / "compose.yaml").read_text()
    for secret in ("SECRET_KEY", "POSTGRES_PASSWORD", "S3_PASSWORD"):
        assert f"${{{secret}:?" in text
        assert re.search(rf"^{secret}=$", (ROOT / "deploy" / "env.example").read_text(), re.MULTILINE)


def test_every_setting_is_one_of_ours() -> None:
    given = set(SERVICES["web"]["environment"]) - {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
    given |= set(re.findall(r"^(?:ENV|   ) ([A-Z_]+)=", DOCKERFILE, re.MULTILINE))
    given = {name for name in given if not name.startswith(("PYTHON", "PIP_", "OMP_", "PATH", "NVIDIA_"))}
    assert len(given) > 10
    assert {name for name in given if f"`{name}`" not in OPERATING} == set()


def test_processes_have_longer_to_stop_than_they_take() -> None:
    for name in ("web", "worker", "preview"):
        assert int(SERVICES[name]["stop_grace_period"].removesuffix("s")) > server.FINISH_SECONDS + 10


def test_the_image_runs_as_nobody_and_holds_what_it_copies() -> None:
    for target in ("cpu", "cuda"):
        stage = DOCKERFILE.partition(f"FROM site AS {target}\n")[2].partition("\nFROM ")[0]
        assert "\nUSER 10001:10001" in stage
    copied = re.findall(r"^COPY (?!--)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    names = {name for line in copied for name in line.split()}
    assert {name for name in names if not (ROOT / name).exists()} == set()
    kept = {line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().splitlines()}
    assert {name for name in names if name.partition("/")[0] not in kept} == set()


def test_the_proxy_sends_files_that_the_server_names_and_nobody_else_may_ask_for() -> None:
    for address in (serving.INTERNAL_BUCKET, serving.INTERNAL_DISK):
        block = re.search(rf"location {address} \{{(.*?)\}}", NGINX, re.DOTALL)
        assert block is not None
        assert "internal;" in block.group(1)
        assert "nosniff" in block.group(1)
    assert "location = /metrics" in NGINX


def test_sockets_keep_the_headers_that_pages_have() -> None:
    """nginx inherits headers only into a location that sets none of its own."""
    block = re.search(r"location /ws/ \{(.*?)\}", NGINX, re.DOTALL)
    assert block is not None
    assert "proxy_set_header" not in block.group(1)


class _Site(BaseHTTPRequestHandler):
    hosts: list[str] = []
    status = 200

    def do_GET(self) -> None:
        self.hosts.append(self.headers["Host"])
        self.send_response(self.status)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


def probe(port: int, **settings: str) -> int:
    """The exit status of the container's health check."""
    script = Path(ROOT, "deploy", "healthcheck.py")
    return subprocess.run(
        [sys.executable, str(script)], env={"PORT": str(port), **settings}, timeout=60, check=False
    ).returncode


def test_the_health_check_asks_for_a_name_that_the_site_knows() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Site) as site:
        threading.Thread(target=site.serve_forever, daemon=True).start()
        assert probe(site.server_port, ALLOWED_HOSTS="*, .pictures.example, other.example") == 0
        assert probe(site.server_port) == 0
        assert _Site.hosts == ["pictures.example", "localhost"]
        _Site.status = 500
        assert probe(site.server_port) == 1
        port = site.server_port
        site.shutdown()
    assert probe(port) == 1
