"""The services that some tests need: are they there? Starts Debian's own if they are installed but not running."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable

import psycopg
import redis

ANSWER_SECONDS = 3
START_SECONDS = 20


def postgres_answers() -> bool:
    try:
        with psycopg.connect(os.environ["TEST_DATABASE_URL"], connect_timeout=ANSWER_SECONDS) as connection:
            connection.execute("SELECT 1")
    except psycopg.Error:
        return False
    return True


def redis_answers() -> bool:
    try:
        with redis.Redis.from_url(
            os.environ["TEST_REDIS_URL"], socket_connect_timeout=ANSWER_SECONDS
        ) as client:
            client.ping()
    except redis.RedisError:
        return False
    return True


def provide(label: str, answers: Callable[[], bool], service: str, setting: str) -> bool:
    if not answers() and shutil.which("service"):
        subprocess.run(["service", service, "start"], check=False)
        until = time.monotonic() + START_SECONDS
        while not answers() and time.monotonic() < until:
            time.sleep(0.5)
    if answers():
        print(f"{label} answers.")
        return True
    print(f"{label} does not answer: start it, or name another one with {setting}.")
    return False


def main() -> int:
    ready = [
        provide("PostgreSQL", postgres_answers, "postgresql", "TEST_DATABASE_URL"),
        provide("Redis", redis_answers, "redis-server", "TEST_REDIS_URL"),
    ]
    return 0 if all(ready) else 1


if __name__ == "__main__":
    sys.exit(main())
