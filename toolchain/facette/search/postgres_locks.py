"""The locks of `facette.search.locks` by PostgreSQL, for workers on any number of machines."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy

from facette.search.locks import POLL_S


class PostgresLocks:
    """PostgreSQL's advisory locks, one connection for each that is held.

    Args:
        url: the study's.
        scope: part of every lock's name, since one database may hold many studies.
    """

    def __init__(self, url: str, scope: str) -> None:
        self._engine = sqlalchemy.create_engine(url, isolation_level="AUTOCOMMIT", poolclass=sqlalchemy.pool.NullPool)
        self._scope = scope

    @contextmanager
    def holding(self, name: str) -> Iterator[None]:
        """See `Locks.holding`."""
        # A lock belongs to its connection, which the server drops with the process.
        with self._engine.connect() as connection:
            while not self._take(connection, name):
                time.sleep(POLL_S)
            yield

    def is_held(self, name: str) -> bool:
        """See `Locks.is_held`."""
        with self._engine.connect() as connection:
            return not self._take(connection, name)

    def _take(self, connection: sqlalchemy.Connection, name: str) -> bool:
        # The server wants a signed 64-bit number.
        digest = hashlib.sha256(f"{self._scope}/{name}".encode()).digest()
        key = int.from_bytes(digest[:8], "big", signed=True)
        return bool(connection.execute(sqlalchemy.text("SELECT pg_try_advisory_lock(:key)"), {"key": key}).scalar())
