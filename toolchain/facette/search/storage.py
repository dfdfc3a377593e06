"""Where a study is kept: an SQLite file for the workers of one machine, or PostgreSQL for those of several."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from facette.search.locks import FileLocks, Locks
from facette_runtime.errors import FacetteError

if TYPE_CHECKING:
    import optuna

DIRECTIONS: tuple[Literal["maximize", "minimize"], ...] = ("maximize", "minimize", "minimize")
"""Of quality, cost and size."""
_SQLITE_WAIT_S = 60


class _Connection(sqlite3.Connection):
    """Appends what is written to a log instead of waiting for the disk each time: a trial is a dozen small writes. Killed processes
    lose nothing; a power cut may lose the last trials."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.execute("PRAGMA journal_mode=WAL")
        self.execute("PRAGMA synchronous=NORMAL")


@dataclass(frozen=True)
class SharedStudy:
    """An opened study with the locks that its workers share."""

    study: optuna.Study
    locks: Locks


@contextmanager
def open_study(where: str | Path, name: str) -> Iterator[SharedStudy]:
    """Opens a study, or begins it.

    Args:
        where: the path of an SQLite file, made if missing, or ``postgresql+psycopg2://user:password@host/database``.
        name: several studies may share one place.

    Raises:
        FacetteError: optuna or the database's driver is not installed, or the place can't be opened.
    """
    try:
        import optuna
        import sqlalchemy
    except ImportError:
        raise FacetteError("search: optuna is not installed; pip install 'facette[search]'") from None

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    url, locks, options = _place(where, name)
    try:
        # Two workers that start together must not both make the tables.
        with locks.holding("setup"):
            storage = optuna.storages.RDBStorage(url, engine_kwargs=options)
            study = optuna.create_study(study_name=name, storage=storage, directions=DIRECTIONS, load_if_exists=True)
    except (sqlalchemy.exc.SQLAlchemyError, ImportError) as error:
        reason = str(error.__cause__ or error).strip().splitlines()[0]
        raise FacetteError(f"study {_without_password(str(where))}: can't be opened: {reason}") from None
    try:
        yield SharedStudy(study, locks)
    finally:
        storage.remove_session()


def _place(where: str | Path, name: str) -> tuple[str, Locks, dict[str, object]]:
    text = str(where)
    if text.startswith(("postgresql://", "postgresql+psycopg2://")):
        if find_spec("psycopg2") is None:
            raise FacetteError("search: psycopg2 is not installed; pip install psycopg2-binary")
        from facette.search.postgres_locks import PostgresLocks

        return text, PostgresLocks(text, name), {"pool_pre_ping": True}
    if "://" in text:
        known = "the path of an SQLite file, postgresql+psycopg2://USER:PASSWORD@HOST/DATABASE"
        raise FacetteError(f"study {_without_password(text)}: unknown kind of place; valid: {known}")
    path = Path(text).absolute()
    try:
        locks = FileLocks(path)
    except OSError as error:
        raise FacetteError(f"study {path}: can't be opened: {error.strerror or error}") from None
    return f"sqlite:///{path}", locks, {"connect_args": {"timeout": _SQLITE_WAIT_S, "factory": _Connection}}


def _without_password(where: str) -> str:
    """For messages."""
    kind, mark, rest = where.partition("://")
    user, at, host = rest.rpartition("@")
    return f"{kind}{mark}{user.partition(':')[0]}{at}{host}"
