"""A site in full mode as an operator runs it: one web process, some workers, and what supervises them."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg

from bench.websocket import WebSocket
from tests.chaos.services import free_port, wait_until
from tests.server import ROOT, environment

START_SECONDS = 120
STOP_SECONDS = 30
ANSWER_SECONDS = 60
QUERY_SECONDS = 60
"""How long a test waits for the database: a worker that it froze may hold a lock for ever."""
WORKER = ("rundramatiq", "--processes", "1", "--threads", "1")

# Everything that happens to a job's state is written down by the database itself, whoever did it.
WITNESS = """
CREATE TABLE chaos_history (
    number bigserial PRIMARY KEY, job uuid NOT NULL, before text NOT NULL, after text NOT NULL,
    worker text NOT NULL, at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE FUNCTION chaos_witness() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO chaos_history (job, before, after, worker) VALUES (OLD.id, OLD.state, NEW.state, NEW.worker);
    RETURN NULL;
END $$;
CREATE TRIGGER chaos_witness AFTER UPDATE ON transforms_job FOR EACH ROW
    WHEN (OLD.state <> NEW.state OR OLD.attempt < NEW.attempt) EXECUTE FUNCTION chaos_witness();
"""


class Process:
    """`manage.py` with some arguments, in a process group of its own, its output in `log`."""

    def __init__(self, arguments: Iterable[str], env: Mapping[str, str], log: Path) -> None:
        self._arguments, self._env, self._log = [sys.executable, "manage.py", *arguments], dict(env), log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    @property
    def is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def is_frozen(self) -> bool:
        """SIGSTOP has reached it."""
        state = Path(f"/proc/{self.pid}/stat").read_text().rpartition(") ")[2][0]
        return state == "T"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def children(self) -> list[int]:
        listed = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        return [int(pid) for pid in listed.read_text().split()] if listed.exists() else []

    def start(self, **settings: str) -> None:
        with self._log.open("ab") as out:
            self._process = subprocess.Popen(
                self._arguments,
                cwd=ROOT,
                env={**self._env, **settings},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def signal(self, how: signal.Signals) -> None:
        """To the whole group, as when the machine fails."""
        if self._process is not None:
            try:
                os.killpg(self._process.pid, how)
            except ProcessLookupError:
                return

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait(STOP_SECONDS)

    def wait_for_end(self) -> None:
        """Of the first process: it ends by itself when a child of its was killed."""
        assert self._process is not None
        self._process.wait(STOP_SECONDS)

    def stop(self) -> None:
        """In order, as a supervisor does: SIGTERM to the first process."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            pass
        finally:
            self.kill()


class Worker(Process):
    """One worker process under its name. May be killed and started again."""

    starts = 0

    def __init__(self, site: Site, name: str, **settings: str) -> None:
        super().__init__(WORKER, {**site.env, **settings}, site.folder / f"{name}.log")
        self._site, self.name = site, name

    def start(self, **settings: str) -> None:
        """Its sessions with the database carry its name, by which it is known that it has begun."""
        Worker.starts += 1
        self.session = f"{self.name}-{Worker.starts}"
        url = f"{self._site.database_url}?application_name={self.session}"
        super().start(DATABASE_URL=url, dramatiq_queue_prefetch="1", **settings)

    def wait(self) -> None:
        asked = "SELECT 1 FROM pg_stat_activity WHERE application_name = %s"
        wait_until(
            lambda: self._site.rows(asked, self.session),
            START_SECONDS,
            f"{self.name} works",
            lambda: self.log[-3000:],
        )


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes
    seconds: float

    @property
    def text(self) -> str:
        return self.body.decode(errors="replace")

    @property
    def data(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Member:
    """Somebody with an account: asks with a token as programs do, watches with a session as pages do."""

    site: Site
    name: str
    pk: str
    session: str
    token: str

    def ask(self, method: str, path: str, body: Any = None, *, patience: float = ANSWER_SECONDS) -> Answer:
        """One request on a connection of its own. TimeoutError when nothing comes within `patience` seconds."""
        headers = {"Authorization": f"Bearer {self.token}"} if path.startswith("/api/") else {}
        headers |= {"Cookie": f"sessionid={self.session}"} if not headers else {}
        data = None
        if isinstance(body, bytes):
            edge = "a-part-of-the-form"
            head = f'--{edge}\r\nContent-Disposition: form-data; name="file"; filename="photo.png"\r\n\r\n'
            data = head.encode() + body + f"\r\n--{edge}--\r\n".encode()
            headers["Content-Type"] = f"multipart/form-data; boundary={edge}"
        elif body is not None:
            data = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        begun = time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", self.site.port, timeout=patience)
        try:
            connection.request(method, path, data, headers)
            answer = connection.getresponse()
            return Answer(answer.status, answer.read(), time.monotonic() - begun)
        except TimeoutError as error:
            raise TimeoutError(
                f"{method} {path}: no answer in {patience:.0f} s. {self.site.web.log[-3000:]}"
            ) from error
        finally:
            connection.close()

    def draw(self, seed: int, count: int = 1) -> Answer:
        """Ask for one picture, or for several of the seeds from this one on."""
        generator = self.site.generator
        return self.ask("POST", "/api/v1/generate/", {"generator": generator, "seed": seed, "count": count})

    def watch(self, timeout_seconds: float = 30) -> WebSocket:
        return WebSocket(
            "127.0.0.1", self.site.port, "/ws/jobs/", f"sessionid={self.session}", timeout_seconds
        )


class Site:
    """`with Site(...) as site:` ends all its processes, and shows their logs if the block failed."""

    generator = "portraits"

    def __init__(self, folder: Path, database_url: str, redis_url: str, **settings: str) -> None:
        self.folder, self.database_url, self.port = folder, database_url, free_port()
        self.media = Path(settings.get("MEDIA_ROOT", folder / "media"))
        folder.mkdir(parents=True, exist_ok=True)
        self.env = environment(
            folder,
            DATABASE_URL=database_url,
            REDIS_URL=redis_url,
            PORT=str(self.port),
            ENGINE_CLASS="tests.chaos.engine.SleepingEngine",
            QUOTA_OUTSTANDING_JOBS="1000000",
            API_RATE="1000000/min",
            **settings,
        )
        self.web = Process(("serve", "--no-prepare"), self.env, folder / "web.log")
        self.workers: dict[str, Worker] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in (self.web, *self.workers.values()):
            process.signal(signal.SIGCONT)
            process.kill()

    # --- Processes ---

    def start_web(self) -> float:
        """How long until it answered."""
        self.web.start()
        return wait_until(self.is_served, START_SECONDS, "pages are served", lambda: self.web.log[-3000:])

    def is_served(self) -> bool:
        try:
            return self.visitor.ask("GET", "/healthz", patience=5).status == 200
        except (OSError, http.client.HTTPException):
            return False

    def worker(self, name: str, **settings: str) -> Worker:
        """The worker of this name; it is made if there is none, and started if it does not run."""
        worker = self.workers.get(name) or Worker(self, name, **settings)
        self.workers[name] = worker
        if not worker.is_alive:
            worker.kill()
            worker.start()
        return worker

    @contextmanager
    def working(self, *names: str, **settings: str) -> Iterator[list[Worker]]:
        """These workers and no others, ready."""
        for name in set(self.workers) - set(names):
            self.workers.pop(name).stop()
        workers = [self.worker(name, **settings) for name in names]
        for worker in workers:
            worker.wait()
        yield workers

    def worker_of(self, name: str) -> Worker | None:
        """Whose processes have the number in the row's `host/number`."""
        number = int("0" + "".join(filter(str.isdigit, name.rpartition("/")[2])))
        for worker in self.workers.values():
            if worker.is_alive and number in (worker.pid, *worker.children):
                return worker
        return None

    # --- People and their jobs ---

    @property
    def visitor(self) -> Member:
        return Member(self, "", "", "", "")

    def people(self, *names: str) -> list[Member]:
        return self.order(names, [])[0]

    def order(
        self, names: Iterable[str], jobs: Sequence[tuple[str, int] | tuple[str, int, float]]
    ) -> tuple[list[Member], list[str]]:
        """Members, and the ids of jobs that were asked for in this order: who, the seed, and after how many seconds."""
        timed = [(*job, 0.0)[:3] for job in jobs]
        done = subprocess.run(
            [sys.executable, "-m", "tests.chaos.cast"],
            cwd=ROOT,
            env=self.env,
            input=json.dumps({"members": list(names), "jobs": timed}),
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        made = json.loads(done.stdout)
        people = [
            Member(self, name, one["id"], one["session"], one["token"])
            for name, one in made["members"].items()
        ]
        return people, made["jobs"]

    # --- The truth ---

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._connected() as connection:
            return connection.execute(query, values).fetchall()

    def change(self, query: str, *values: Any) -> None:
        with self._connected() as connection:
            connection.execute(query, values)

    def _connected(self) -> psycopg.Connection[tuple[Any, ...]]:
        patience = f"-c statement_timeout={QUERY_SECONDS}s"
        return psycopg.connect(self.database_url, autocommit=True, options=patience)

    def witness(self) -> None:
        self.change(WITNESS)

    def states(self, jobs: list[str]) -> dict[str, str]:
        return dict(self.rows("SELECT id::text, state FROM transforms_job WHERE id = ANY(%s::uuid[])", jobs))

    def unfinished(self, jobs: list[str]) -> int:
        asked = "SELECT count(*) FROM transforms_job WHERE id = ANY(%s::uuid[]) AND state IN ('queued', 'running')"
        return int(self.rows(asked, jobs)[0][0])

    def wait_for(self, jobs: list[str], seconds: float, *, every_seconds: float = 0.05) -> float:
        """Where costs are measured, look seldom: each look is a new session with the database."""
        return wait_until(
            lambda: not self.unfinished(jobs),
            seconds,
            "all jobs are over",
            self.explain,
            every_seconds=every_seconds,
        )

    def explain(self) -> str:
        """What a failed test shows: jobs that are not over, and the ends of the logs."""
        asked = (
            "SELECT id, state, attempt, worker, lease_until, not_before, error FROM transforms_job "
            "WHERE state IN ('queued', 'running') ORDER BY created_at LIMIT 5"
        )
        parts = [f"Unfinished: {self.rows(asked)}"]
        for name, process in {"web": self.web, **self.workers}.items():
            parts.append(f"--- {name} ({'runs' if process.is_alive else 'ended'}) ---\n{process.log[-3000:]}")
        return "\n".join(parts)


def prepare(site: Site) -> None:
    """Tables and static files."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.chaos.prepare"],
        cwd=ROOT,
        env=site.env,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
