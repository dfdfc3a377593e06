"""Locks between the workers of one study. A lock is gone with the process that holds it, however that ends."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

POLL_S = 0.05
"""Between two attempts; a lock is held for milliseconds, but for a worker's own."""


class Locks(Protocol):
    """Locks by name."""

    def holding(self, name: str) -> AbstractContextManager[None]:
        """Waits for the lock and holds it for a block."""
        ...

    def is_held(self, name: str) -> bool:
        """Whether anybody holds the lock now."""
        ...


class FileLocks:
    """For workers of one machine that share an SQLite file.

    Args:
        beside: the lock files lie beside this one and begin with its name.
    """

    def __init__(self, beside: Path) -> None:
        beside.parent.mkdir(parents=True, exist_ok=True)
        self._beside = beside

    @contextmanager
    def holding(self, name: str) -> Iterator[None]:
        """See `Locks.holding`."""
        while (handle := self._take(name)) is None:
            time.sleep(POLL_S)
        try:
            yield
        finally:
            self._drop(name, handle)

    def is_held(self, name: str) -> bool:
        """See `Locks.is_held`."""
        if not self._path(name).exists():
            return False
        handle = self._take(name)
        if handle is not None:
            self._drop(name, handle)
        return handle is None

    def _path(self, name: str) -> Path:
        return self._beside.with_name(f"{self._beside.name}.{name}.lock")

    def _take(self, name: str) -> int | None:
        handle = os.open(self._path(name), os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Its last holder may have removed the file between the two calls; a lock on that one would bind nobody.
            if self._path(name).stat().st_ino == os.fstat(handle).st_ino:
                return handle
        except (BlockingIOError, FileNotFoundError):
            pass
        os.close(handle)
        return None

    def _drop(self, name: str, handle: int) -> None:
        self._path(name).unlink(missing_ok=True)
        os.close(handle)
