"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from facette_runtime.errors import FacetteError


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A temporary path beside ``path``, with the same ending, that takes its place when the block ends without an exception.

    Raises:
        FacetteError: the place can't be written to.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except BrokenPipeError:  # the reader of standard output has gone: no fault of this file
        raise
    except OSError as error:
        raise FacetteError(f"{path} cannot be written: {error.strerror or error}") from None
    finally:
        if temporary.exists():  # it cannot where its folder could not be made
            temporary.unlink()


def write_atomically(path: str | Path, content: bytes) -> None:
    """Writes a file; a reader sees the old one or the new one, never half of one. As `replacing`."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)
