"""One PostgreSQL cluster and one Redis server for all, and a site whose tables and styles others copy."""

from __future__ import annotations

import secrets
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.report import table
from tests.chaos import bars
from tests.chaos.services import Postgres, Redis
from tests.chaos.site import Site, prepare

MakeSite = Callable[..., Site]
TEMPLATE = "prepared"


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    folder = Path("/tmp") / f"pixellift-chaos-{secrets.token_hex(4)}"  # noqa: S108  (postgres must reach it)
    cluster = Postgres(folder)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop("immediate")
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Redis]:
    server = Redis()
    server.start()
    yield server
    server.stop(signal.SIGKILL)


@pytest.fixture(scope="session")
def prepared(postgres: Postgres, redis_server: Redis, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with collected styles; its tables are the database that others are copied from."""
    folder = tmp_path_factory.mktemp("prepared")
    prepare(Site(folder, postgres.create(TEMPLATE), redis_server.url()))
    return folder


@pytest.fixture(scope="session")
def make_site(
    prepared: Path, postgres: Postgres, redis_server: Redis, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MakeSite]:
    """Sites with a database, a Redis number and a folder of their own. They end with the session at the latest."""
    made: list[Site] = []

    def make(name: str, **settings: str) -> Site:
        folder = tmp_path_factory.mktemp(name)
        shutil.copytree(prepared / "static", folder / "static")
        number = len(made) + 1
        redis_url = settings.pop("REDIS_URL", redis_server.url(number))
        site = Site(folder, postgres.create(f"{name}_{number}", TEMPLATE), redis_url, **settings)
        site.witness()
        made.append(site)
        return site

    yield make
    for site in made:
        site.__exit__(None, None, None)


@pytest.fixture(scope="session")
def shared_site(make_site: MakeSite) -> Site:
    """The site that most tests break: a web process; each test says which workers it has."""
    site = make_site("shared")
    site.start_web()
    return site


@pytest.fixture
def site(shared_site: Site) -> Iterator[Site]:
    """Whole before the test and after it."""
    if not shared_site.web.is_alive:
        shared_site.start_web()
    yield shared_site
    shared_site.change("DELETE FROM transforms_job WHERE state IN ('queued', 'running')")


@pytest.fixture(autouse=True)
def bars_are_met() -> Iterator[None]:
    before = len(bars.ROWS)
    yield
    missed = bars.missed(bars.ROWS[before:])
    if missed:
        pytest.fail("\n".join(missed), pytrace=False)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if bars.ROWS:
        terminalreporter.section("Bars" if bars.FULL else "Bars at small size")
        terminalreporter.write_line(table(bars.ROWS))
