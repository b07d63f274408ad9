"""What all tests share: a cast (alice owns, ben is a stranger, mo moderates), clients, a place for files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from django.core.cache import cache
from django.db import connection, connections
from django.test import Client
from pytest_django import Settings

from accounts.models import User

PASSWORD = "correct-horse-9"
ClientOf = Callable[[User], Client]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """On PostgreSQL run what asks for a database, or for a service by its mark: the rest would be the same as on SQLite."""
    if connection.vendor == "postgresql":
        apart = [item for item in items if not differs_by_service(item)]
        config.hook.pytest_deselected(items=apart)
        items[:] = [item for item in items if differs_by_service(item)]


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes are no name: some hold the time of their making, and each process must find the same cases."""
    return argname if isinstance(val, bytes) else None


def differs_by_service(item: pytest.Item) -> bool:
    marks = {mark.name for mark in item.iter_markers()}
    fixtures = set(getattr(item, "fixturenames", ()))
    return bool(marks & {"django_db", "postgres", "redis"} or fixtures & {"db", "transactional_db"})


@pytest.fixture(scope="session")
def django_db_modify_db_settings(
    tmp_path_factory: pytest.TempPathFactory, django_db_modify_db_settings_parallel_suffix: None
) -> None:
    """SQLite in a file, as in production: threads that share a database in memory lock each other out.

    PostgreSQL without its limit for idle transactions: each test is one, however long it computes.
    """
    database = connections.databases["default"]
    if database["ENGINE"].endswith("sqlite3"):
        database["TEST"]["NAME"] = str(tmp_path_factory.mktemp("database") / "test.sqlite3")
    else:
        database["OPTIONS"]["options"] += " -c idle_in_transaction_session_timeout=0"


@pytest.fixture(autouse=True)
def quick_passwords(settings: Settings) -> None:
    """Argon2 is slow on purpose; a test that is about hashing puts it back."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture(autouse=True)
def media(settings: Settings, tmp_path: Path) -> Path:
    """Each test has a media folder of its own."""
    folder = tmp_path / "media"
    settings.MEDIA_ROOT = folder
    settings.STORAGES = {
        **settings.STORAGES,
        "default": {"BACKEND": "gallery.storage.OverwritingStorage", "OPTIONS": {"location": str(folder)}},
    }
    return folder


@pytest.fixture(autouse=True)
def empty_cache() -> None:
    """No test is throttled for what another one did."""
    cache.clear()


@pytest.fixture
def alice(db: None) -> User:
    """The member whose things are looked at."""
    return User.objects.create_user("alice", "alice@example.com", PASSWORD)


@pytest.fixture
def ben(db: None) -> User:
    """A stranger: signed in, and owner of nothing that alice has."""
    return User.objects.create_user("ben", "ben@example.com", PASSWORD)


@pytest.fixture
def mo(db: None) -> User:
    """A moderator who may do everything in the admin."""
    return User.objects.create_user("mo", "mo@example.com", PASSWORD, is_staff=True, is_superuser=True)


@pytest.fixture
def client_of() -> ClientOf:
    """A client that is signed in as a given user: `client_of(alice).get(...)`."""

    def sign_in(user: User) -> Client:
        client = Client()
        client.force_login(user, backend="accounts.backends.NameOrEmailBackend")
        return client

    return sign_in
