"""What this process counts and measures, for Prometheus: jobs, previews, sockets, memory of GPUs, the process itself.

What the database knows (how much waits, and since when) is not counted here: `pixellift.metrics` asks it. A worker process
has no pages, so it shows `registry` on a port of its own: see `serve`.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import structlog
from django.conf import settings
from django.http.request import HttpHeaders
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import ThreadingWSGIServer, make_wsgi_app
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from transforms.engine import memory_of_gpus
from transforms.models import Job

log = structlog.get_logger(__name__)

JOB_BUCKETS_SECONDS = (0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3000)
FRAME_BUCKETS_SECONDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
PASS_BUCKETS_PICTURES = (1, 2, 4, 8)
PORTS_TRIED = 16
PROXY_HEADERS = ("forwarded", "via", "x-forwarded", "x-real-ip", "cf-")
REFUSED = "Metrics are for this machine only. From elsewhere, send METRICS_TOKEN as a bearer token.\n"

disable_created_metrics()  # type: ignore[no-untyped-call]  # when each counter began is noise beside what it counts
registry = CollectorRegistry()
ProcessCollector(registry=registry)

_ended = Counter(
    "pixellift_jobs_ended",
    "Jobs that came to an end, by the state in which they did.",
    ["operation", "state"],
    registry=registry,
)
_waited = Histogram(
    "pixellift_job_wait_seconds",
    "From the wish for a job to the moment when a worker first took it.",
    ["operation"],
    buckets=JOB_BUCKETS_SECONDS,
    registry=registry,
)
_ran = Histogram(
    "pixellift_job_run_seconds",
    "One attempt at a job, however it ended.",
    ["operation"],
    buckets=JOB_BUCKETS_SECONDS,
    registry=registry,
)
_frames = Histogram(
    "pixellift_preview_frame_seconds",
    "Preview frames that were drawn, and how long each took, with its wait for a free thread.",
    ["kind"],
    buckets=FRAME_BUCKETS_SECONDS,
    registry=registry,
)
_dropped = Counter(
    "pixellift_preview_dropped",
    "Wishes for previews that were dropped because a newer one came.",
    ["kind"],
    registry=registry,
)
_passes = Histogram(
    "pixellift_preview_pass_pictures",
    "Passes in which this process drew previews, and how many pictures were drawn in each.",
    buckets=PASS_BUCKETS_PICTURES,
    registry=registry,
)
_sockets = Gauge("pixellift_sockets_open", "Open WebSockets.", ["socket"], registry=registry)


def job_taken(job: Job) -> None:
    """A worker has just claimed the job. Later attempts waited for something else, and are not counted."""
    if job.attempt == 1 and job.started_at is not None:
        waited = (job.started_at - job.created_at).total_seconds()
        _waited.labels(job.operation).observe(max(0.0, waited))


def job_run(operation: str, seconds: float) -> None:
    _ran.labels(operation).observe(seconds)


def job_ended(operation: str, state: str) -> None:
    _ended.labels(operation, state).inc()


def frame_drawn(kind: str, seconds: float) -> None:
    _frames.labels(kind).observe(seconds)


def preview_dropped(kind: str) -> None:
    _dropped.labels(kind).inc()


def pass_drawn(pictures: int) -> None:
    _passes.observe(pictures)


@contextmanager
def open_socket(label: str) -> Iterator[None]:
    """A socket is open for as long as the block lasts."""
    gauge = _sockets.labels(label)
    gauge.inc()
    try:
        yield
    finally:
        gauge.dec()


class GpuMemory(Collector):
    """What torch holds on each GPU that this process computes on. Says nothing where there is none."""

    def collect(self) -> Iterable[GaugeMetricFamily]:
        memory = GaugeMetricFamily(
            "pixellift_gpu_memory_bytes",
            "Memory of a GPU: used by tensors, reserved by torch for them, and in all.",
            labels=["device", "kind"],
        )
        for device, sizes in memory_of_gpus().items():
            for kind, size in sizes.items():
                memory.add_metric([device, kind], size)
        yield memory


registry.register(GpuMemory())

# --- Who may look -------------------------------------------------------------------------------------------


def may_look(address: str, headers: Mapping[str, str]) -> bool:
    """Whoever asks from this machine itself, and whoever has the token.

    address: the other end of the connection. A proxy on this machine asks from here too, on behalf of anybody, and so does a
    browser that a page elsewhere sends here: what came through a proxy, or asks for a public name, needs the token.
    """
    scheme, _, token = headers.get("Authorization", "").partition(" ")
    if settings.METRICS_TOKEN and scheme.lower() == "bearer":
        return hmac.compare_digest(token.strip().encode(), settings.METRICS_TOKEN.encode())
    proxied = any(name.lower().startswith(PROXY_HEADERS) for name in headers)
    return _is_loopback(address) and not proxied and _is_local_name(headers.get("Host", ""))


def _is_loopback(address: str) -> bool:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return (mapped or found).is_loopback


def _is_local_name(host: str) -> bool:
    name = re.sub(r":\d+$", "", host)
    return name.lower() == "localhost" or _is_loopback(name.strip("[]"))


# --- The port of a worker -----------------------------------------------------------------------------------


class _ServerV6(ThreadingWSGIServer):
    address_family = socket.AF_INET6


class _Quiet(WSGIRequestHandler):
    timeout = 10  # seconds that a silent client holds a thread

    def log_message(self, format: str, *args: Any) -> None:
        pass


def serve() -> int | None:
    """Show `registry` at METRICS_HOST:METRICS_PORT, from a thread. Gives the port, None if there is none.

    Several processes on a machine share a setting, so each takes the first port from there on that is free. A port that
    cannot be had is logged and stops nobody from working.
    """
    host, first, problem = settings.METRICS_HOST, settings.METRICS_PORT, ""
    kind = _ServerV6 if ":" in host else ThreadingWSGIServer
    for port in range(first, first + PORTS_TRIED) if first else ():
        try:
            server = make_server(host, port, _guarded(make_wsgi_app(registry)), kind, _Quiet)
        except OSError as error:
            problem = error.strerror or str(error)
            continue
        threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
        log.info("metrics_served", host=host, port=port)
        return port
    if first:
        log.error("metrics_not_served", host=host, port=first, error=problem)
    return None


def _guarded(app: Callable[..., Any]) -> Callable[..., Any]:
    def guarded(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        if may_look(environ.get("REMOTE_ADDR", ""), HttpHeaders(environ)):
            return app(environ, start_response)
        start_response("403 Forbidden", [("Content-Type", "text/plain; charset=utf-8")])
        return [REFUSED.encode()]

    return guarded
