"""The whole database as one file, and back: SQLite by its own backup, PostgreSQL by pg_dump and pg_restore."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Protocol

from django.apps import apps
from django.contrib.contenttypes.models import ContentType
from django.db import Error, connection, models, transaction
from django.db.backends.postgresql.client import DatabaseClient

from pixellift.archive import BadBackup
from pixellift.health import first_line

MOVED_AWAY = "pixellift_before_restore"
LOCK_SECONDS = 10
# Rows that a database has as soon as it is migrated.
MADE_BY_MIGRATIONS = {"django_migrations", "django_content_type", "auth_permission", "sqlite_sequence"}


class Snapshot(Protocol):
    """The database at one moment, while it is being written to elsewhere."""

    def rows(self, sql: str) -> Iterator[tuple[Any, ...]]: ...
    def tables(self) -> list[str]: ...


class Engine(Protocol):
    """What both kinds of database can do. All raise BadBackup with a sentence."""

    name: str
    member: str

    def version(self) -> str: ...
    def snapshot(self, target: Path) -> contextlib.AbstractContextManager[Snapshot]:
        """Write the database into `target`, and look at exactly what was written."""

    def check(self, dump: Path, tables: dict[str, int]) -> None:
        """Whether the dump can be restored here, and holds these rows as far as that can be seen beforehand."""

    def restore(self, dump: Path) -> None:
        """Put the dump in place of all tables. If that fails they are as they were."""


def engine() -> Engine:
    return Postgres() if connection.vendor == "postgresql" else SQLite()


def count(snapshot: Snapshot) -> dict[str, int]:
    """How many rows each table has."""
    return {
        table: next(snapshot.rows(f"SELECT COUNT(*) FROM {_quoted(table)}"))[0]  # noqa: S608
        for table in sorted(snapshot.tables())
    }


def migrations(snapshot: Snapshot) -> list[list[str]]:
    return sorted([app, name] for app, name in snapshot.rows("SELECT app, name FROM django_migrations"))


def file_names(snapshot: Snapshot) -> Iterator[str]:
    """The names of all files that rows speak of."""
    tables = set(snapshot.tables())
    for model in apps.get_models():
        for field in model._meta.local_fields:
            if isinstance(field, models.FileField) and model._meta.db_table in tables:
                column = _quoted(str(field.column))
                sql = f"SELECT {column} FROM {_quoted(model._meta.db_table)} WHERE {column} <> ''"  # noqa: S608
                yield from (name for (name,) in snapshot.rows(sql))


class Live:
    """The site's database as it is now."""

    def rows(self, sql: str) -> Iterator[tuple[Any, ...]]:
        with connection.cursor() as cursor:
            cursor.execute(sql)
            while block := cursor.fetchmany(1000):
                yield from block

    def tables(self) -> list[str]:
        return connection.introspection.table_names()


def live_counts() -> dict[str, int]:
    return count(Live())


def is_empty() -> bool:
    """Nobody has put anything in: there are no tables, or they are as migrations made them."""
    return not any(number for table, number in live_counts().items() if table not in MADE_BY_MIGRATIONS)


def _quoted(name: str) -> str:
    return connection.ops.quote_name(name)


def _forget_connections() -> None:
    """What this process remembers of the tables that were there before is not true any more."""
    connection.close()
    if hasattr(connection, "close_pool"):
        connection.close_pool()
    ContentType.objects.clear_cache()


class SQLite:
    name = "sqlite"
    member = "database/pixellift.sqlite3"

    def version(self) -> str:
        return sqlite3.sqlite_version

    @contextmanager
    def snapshot(self, target: Path) -> Iterator[Snapshot]:
        connection.ensure_connection()
        with closing(sqlite3.connect(target)) as copy:
            connection.connection.backup(copy)  # in one step: writers may go on, and are not in it
            copy.execute("PRAGMA journal_mode=DELETE")  # one file, without -wal and -shm
            _demand_sound(copy)
            yield _SQLiteFile(copy)

    def check(self, dump: Path, tables: dict[str, int]) -> None:
        try:
            with closing(sqlite3.connect(f"{dump.absolute().as_uri()}?mode=ro", uri=True)) as copy:
                _demand_sound(copy)
                _demand_counts(count(_SQLiteFile(copy)), tables)
        except sqlite3.Error as error:
            raise BadBackup(f"The database in this backup cannot be read ({first_line(error)}).") from error

    def restore(self, dump: Path) -> None:
        try:
            with transaction.atomic():  # waits for whoever writes, and complains if that takes too long
                pass
            connection.ensure_connection()
            with closing(sqlite3.connect(f"{dump.absolute().as_uri()}?mode=ro", uri=True)) as copy:
                copy.backup(connection.connection)  # in one transaction: all of it or nothing
        except (sqlite3.Error, Error) as error:
            raise BadBackup(
                f"The database could not be replaced ({first_line(error)}): stop the server, and try again."
            ) from error
        finally:
            _forget_connections()


class _SQLiteFile:
    def __init__(self, opened: sqlite3.Connection) -> None:
        self._opened = opened

    def rows(self, sql: str) -> Iterator[tuple[Any, ...]]:
        yield from self._opened.execute(sql)

    def tables(self) -> list[str]:
        sql = "SELECT name FROM sqlite_master WHERE type = 'table' AND name <> 'sqlite_sequence'"
        return [name for (name,) in self.rows(sql)]


def _demand_sound(opened: sqlite3.Connection) -> None:
    found = opened.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if found != "ok":
        raise BadBackup(f"The database is damaged ({first_line(Exception(found))}).")


def _demand_counts(found: dict[str, int], wanted: dict[str, int]) -> None:
    for table in sorted(found.keys() | wanted.keys()):
        if found.get(table) != wanted.get(table):
            raise BadBackup(
                f"The table {table} has {found.get(table, 'no')} rows, but the backup says {wanted.get(table, 'none')}."
            )


def demand_restored(tables: dict[str, int]) -> None:
    """Whether the site's database now has the rows that the manifest names."""
    _demand_counts(live_counts(), tables)


class Postgres:
    name = "postgresql"
    member = "database/postgres.dump"

    def version(self) -> str:
        with connection.cursor() as cursor:
            cursor.execute("SHOW server_version")
            return str(cursor.fetchone()[0])

    @contextmanager
    def snapshot(self, target: Path) -> Iterator[Snapshot]:
        self._demand_tool("pg_dump")
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
                cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0")  # it waits for pg_dump
                cursor.execute("SELECT pg_export_snapshot()")
                exported = cursor.fetchone()[0]
            self._run("pg_dump", "--format=custom", f"--snapshot={exported}", f"--file={target}")
            yield Live()

    def check(self, dump: Path, tables: dict[str, int]) -> None:
        self._demand_tool("pg_restore")
        listed = self._run("pg_restore", "--list", str(dump), connect=False)
        found = set(re.findall(r" TABLE DATA \S+ (\S+) ", listed))
        if missing := sorted(tables.keys() - found):
            raise BadBackup(f"The database in this backup lacks the table {missing[0]}.")

    def restore(self, dump: Path) -> None:
        moved = self._move_away()
        _forget_connections()
        try:
            self._run("pg_restore", "--exit-on-error", "--single-transaction", str(dump))
        except BadBackup:
            self._move_back(moved)
            raise
        finally:
            _forget_connections()
        with connection.cursor() as cursor:
            cursor.execute(f"DROP SCHEMA IF EXISTS {MOVED_AWAY} CASCADE")

    def _move_away(self) -> list[str]:
        """The tables that are there step aside, whole, until those of the backup are in."""
        try:
            with transaction.atomic(), connection.cursor() as cursor:
                tables = connection.introspection.table_names(cursor)
                cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")
                cursor.execute(f"CREATE SCHEMA {MOVED_AWAY}")
                for table in tables:
                    cursor.execute(f"ALTER TABLE {_quoted(table)} SET SCHEMA {MOVED_AWAY}")
        except Error as error:
            raise BadBackup(
                f"The tables cannot be replaced ({first_line(error)}): stop all servers and workers, and try again."
            ) from error
        return tables

    def _move_back(self, tables: list[str]) -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT current_schema()")
            schema = cursor.fetchone()[0]
            for table in tables:
                cursor.execute(f"ALTER TABLE {MOVED_AWAY}.{_quoted(table)} SET SCHEMA {_quoted(schema)}")
            cursor.execute(f"DROP SCHEMA {MOVED_AWAY}")

    def _demand_tool(self, tool: str) -> None:
        """The tools refuse servers that are newer than they are."""
        if shutil.which(tool) is None:
            raise BadBackup(f"{tool} is not installed: install the client programs of PostgreSQL.")
        server = int(self.version().partition(".")[0])
        said = self._run(tool, "--version", connect=False)
        found = re.search(r"(\d+)", said)
        if found is not None and int(found.group(1)) < server:
            raise BadBackup(
                f"{tool} is of PostgreSQL {found.group(1)}, but the server is of {server}: "
                f"install the client programs of PostgreSQL {server}."
            )

    def _run(self, tool: str, *options: str, connect: bool = True) -> str:
        """Run one of PostgreSQL's programs. The password travels in its environment, where others cannot read it."""
        (_, *where, name), env = DatabaseClient.settings_to_cmd_args_env(connection.settings_dict, [])
        if connect:
            ownership = ["--no-owner", "--no-privileges"]
            options = (*where, f"--dbname={name}", *ownership, *options)
        done = subprocess.run(  # noqa: S603
            [tool, *options],
            env={**os.environ, "LC_ALL": "C", **(env or {})},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            said = done.stderr.rpartition("error:")[2].strip() or f"status {done.returncode}"
            raise BadBackup(f"{tool} failed ({first_line(Exception(said))}).")
        return done.stdout
