"""What /metrics shows beside this process's own counters: requests, and what database and cache know of the whole site."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

import structlog
from django.conf import settings
from django.db import connection
from django.db.models import Count, Min
from django.http import HttpRequest
from django.utils import timezone
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from transforms import presence
from transforms.metrics import registry
from transforms.models import Job, Operation, State

log = structlog.get_logger(__name__)

CONTENT_TYPE = CONTENT_TYPE_LATEST
KEPT_SECONDS = 1.0
ANSWER_SECONDS = 3.0
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
REQUEST_BUCKETS_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)

_requests = Counter(
    "pixellift_http_requests",
    "Requests that were answered, by the name of their route.",
    ["method", "status", "route"],
    registry=registry,
)
_request_seconds = Histogram(
    "pixellift_http_request_seconds",
    "Time until an answer began.",
    ["method", "route"],
    buckets=REQUEST_BUCKETS_SECONDS,
    registry=registry,
)


def request_served(request: HttpRequest, status: int, seconds: float) -> None:
    """Count a request. All labels come from small sets, whatever a client sends."""
    method = request.method if request.method in METHODS else "other"
    route = _route(request)
    _requests.labels(method, f"{status // 100}xx", route).inc()
    _request_seconds.labels(method, route).observe(seconds)


def _route(request: HttpRequest) -> str:
    if request.resolver_match is not None:
        return request.resolver_match.view_name or "unnamed"
    return "static" if request.path.startswith(settings.STATIC_URL) else "none"


@dataclass(frozen=True)
class Outlook:
    """How the whole site stands: what database and cache know. `oldest_seconds` of what waits, 0 if nothing does."""

    database: bool = False
    cache: bool = False
    waiting: dict[str, int] = field(default_factory=dict)
    running: dict[str, int] = field(default_factory=dict)
    oldest_seconds: float = 0.0
    workers: list[presence.Worker] = field(default_factory=list)


class Lookout:
    """Asks database and cache at most once in `KEPT_SECONDS`, in a thread of its own: a scrape never waits for long.

    While they do not answer, what they would have said is left out rather than repeated.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen = Outlook()
        self._seen_at = float("-inf")
        self._asking: threading.Thread | None = None

    def look(self) -> Outlook:
        with self._lock:
            if time.monotonic() - self._seen_at < KEPT_SECONDS:
                return self._seen
            if self._asking is None or not self._asking.is_alive():
                self._asking = threading.Thread(target=self._ask, name="lookout", daemon=True)
                self._asking.start()
            asking = self._asking
        asking.join(ANSWER_SECONDS)
        with self._lock:
            return Outlook() if asking.is_alive() else self._seen

    def _ask(self) -> None:
        try:
            seen = look_at_site()
        finally:
            connection.close()
        with self._lock:
            self._seen, self._seen_at = seen, time.monotonic()


def look_at_site() -> Outlook:
    """One query over the index of active jobs, and one question to the cache."""
    workers: list[presence.Worker] = []
    try:
        workers, cache_answers = presence.alive(), True
    except Exception as error:
        log.warning("metrics_without_cache", error=repr(error))
        cache_answers = False
    waiting = dict.fromkeys(Operation.values, 0)
    running = dict.fromkeys(Operation.values, 0)
    try:
        rows = list(
            Job.objects.active()
            .order_by()
            .values_list("state", "operation")
            .annotate(number=Count("pk"), oldest=Min("created_at"))
        )
    except Exception as error:
        log.warning("metrics_without_database", error=repr(error))
        return Outlook(cache=cache_answers, workers=workers)
    now, oldest = timezone.now(), timezone.now()
    for state, operation, number, since in rows:
        (waiting if state == State.QUEUED else running)[operation] = number
        oldest = min(oldest, since) if state == State.QUEUED else oldest
    seconds = max(0.0, (now - oldest).total_seconds())
    return Outlook(True, cache_answers, waiting, running, seconds, workers)


class SiteCollector(Collector):
    """The whole site, as every server process sees it alike: take the maximum over processes, not the sum."""

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        site = lookout.look()
        up = _gauge("pixellift_dependency_up", "Whether it answers: 1, or 0.", "dependency")
        up.add_metric(["database"], site.database)
        up.add_metric(["cache"], site.cache)
        yield up
        if site.database:
            yield from _of_jobs(site)
        if site.cache:
            yield from _of_workers(site.workers)


def _of_jobs(site: Outlook) -> Iterable[Metric]:
    waiting = _gauge("pixellift_jobs_waiting", "Jobs that wait, by operation.", "operation")
    running = _gauge("pixellift_jobs_running", "Jobs that run, by operation.", "operation")
    for operation, number in site.waiting.items():
        waiting.add_metric([operation], number)
    for operation, number in site.running.items():
        running.add_metric([operation], number)
    oldest = _gauge(
        "pixellift_oldest_waiting_job_seconds", "Age of the oldest job that waits; 0 if none does."
    )
    oldest.add_metric([], site.oldest_seconds)
    return waiting, running, oldest


def _of_workers(workers: list[presence.Worker]) -> Iterable[Metric]:
    alive = _gauge("pixellift_workers_alive", "Worker processes that show signs of life, by kind.", "kind")
    for kind in (presence.JOBS, presence.PREVIEWS):
        alive.add_metric([kind], sum(worker.kind == kind for worker in workers))
    started = _gauge(
        "pixellift_worker_start_time_seconds", "When each worker started.", "kind", "host", "worker"
    )
    resident = _gauge(
        "pixellift_generators_resident", "How many workers keep a generator loaded.", "kind", "generator"
    )
    loaded: dict[tuple[str, str], int] = {}
    for worker in workers:
        started.add_metric([worker.kind, worker.host, worker.name], worker.started_at)
        for name in worker.generators:
            loaded[worker.kind, name] = loaded.get((worker.kind, name), 0) + 1
    for (kind, name), number in loaded.items():
        resident.add_metric([kind, name], number)
    return alive, started, resident


def _gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, labels=labels)


lookout = Lookout()
site_registry = CollectorRegistry()
site_registry.register(SiteCollector())


def exposition() -> bytes:
    """All metrics, in Prometheus' text format."""
    return generate_latest(registry) + generate_latest(site_registry)
