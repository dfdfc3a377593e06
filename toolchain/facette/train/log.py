"""A run's log: a CSV file, and TensorBoard beside it where it is asked for."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Protocol

from facette_runtime.errors import FacetteError
from facette_runtime.files import replacing

LogKind = Literal["csv", "tensorboard"]


class Log(Protocol):
    """Takes a row of numbers every now and then; each holds the ``step``."""

    def write(self, row: Mapping[str, float]) -> None:
        """Adds a row."""
        ...

    def close(self) -> None:
        """Writes what is still held back."""
        ...


class CsvLog:
    """Appends rows to a CSV file; the first row's keys are the columns.

    Args:
        path: the file. Rows after ``step`` are dropped on opening: a resumed run writes them again.
        step: the last step that counts; 0 starts afresh.
    """

    def __init__(self, path: Path, step: int) -> None:
        kept = [row for row in read_log(path) if int(row["step"]) <= step] if path.exists() and step else []
        self._columns = list(kept[0]) if kept else None
        with replacing(path) as temporary, temporary.open("w", newline="") as file:
            if kept:
                writer = csv.DictWriter(file, self._columns or ())
                writer.writeheader()
                writer.writerows(kept)
        self._file = path.open("a", newline="")

    def write(self, row: Mapping[str, float]) -> None:
        """Adds a row and flushes it to the disk's cache, so that a kill loses nothing."""
        if self._columns is None:
            self._columns = list(row)
            csv.writer(self._file).writerow(self._columns)
        csv.DictWriter(self._file, self._columns).writerow({key: f"{value:.6g}" for key, value in row.items()})
        self._file.flush()

    def close(self) -> None:
        """See `Log.close`."""
        self._file.close()


class TensorBoardLog:
    """A curve for each number, in event files below ``folder``; a resumed run hides what came after ``step``.

    Raises:
        FacetteError: the package is missing; the message says how to install it.
    """

    def __init__(self, folder: Path, step: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise FacetteError('log "tensorboard" needs a package: pip install tensorboard; valid without it: csv') from None
        writer: Any = SummaryWriter
        self._writer = writer(str(folder), purge_step=step + 1)

    def write(self, row: Mapping[str, float]) -> None:
        """See `Log.write`."""
        for name, value in row.items():
            if name != "step":
                self._writer.add_scalar(name, value, int(row["step"]))
        self._writer.flush()

    def close(self) -> None:
        """See `Log.close`."""
        self._writer.close()


class Logs:
    """Several logs as one, closed when the block ends.

    Args:
        kinds: which.
        run_dir: the run's folder: ``log.csv``, and ``tensorboard/``.
        step: the last step that counts.

    Raises:
        FacetteError: a package is missing.
    """

    def __init__(self, kinds: Sequence[LogKind], run_dir: Path, step: int) -> None:
        self._logs: list[Log] = []
        if "tensorboard" in kinds:
            self._logs.append(TensorBoardLog(run_dir / "tensorboard", step))
        if "csv" in kinds:
            self._logs.append(CsvLog(run_dir / "log.csv", step))

    def write(self, row: Mapping[str, float]) -> None:
        """Adds a row to each."""
        for log in self._logs:
            log.write(row)

    def __enter__(self) -> Logs:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for log in self._logs:
            log.close()


def read_log(path: Path) -> list[dict[str, str]]:
    """All rows of a CSV log, as text by column."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
