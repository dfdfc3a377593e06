"""The run's CSV log."""

from __future__ import annotations

import csv
from pathlib import Path
from types import TracebackType

from facette_runtime.files import replacing


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

    def write(self, row: dict[str, float]) -> None:
        """Adds a row and flushes it to the disk's cache, so that a kill loses nothing."""
        if self._columns is None:
            self._columns = list(row)
            csv.writer(self._file).writerow(self._columns)
        csv.DictWriter(self._file, self._columns).writerow({key: f"{value:.6g}" for key, value in row.items()})
        self._file.flush()

    def __enter__(self) -> CsvLog:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()


def read_log(path: Path) -> list[dict[str, str]]:
    """All rows of a log, as text by column."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
