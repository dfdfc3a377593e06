"""Plain text tables."""

from __future__ import annotations

from collections.abc import Sequence


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as they need to be; those that hold numbers are aligned right.

    Args:
        headers: one a column.
        rows: cells by row, as many as there are headers.
    """
    columns = list(zip(headers, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    right = [all(_is_number(cell) for cell in column[1:] if cell) and any(column[1:]) for column in columns]
    lines = [
        "  ".join(cell.rjust(width) if flush else cell.ljust(width) for cell, width, flush in zip(row, widths, right, strict=True))
        for row in [headers, *rows]
    ]
    return "\n".join(line.rstrip() for line in [lines[0], "─" * len(lines[0]), *lines[1:]])


def _is_number(cell: str) -> bool:
    try:
        float(cell.rstrip("%×"))
    except ValueError:
        return False
    return True
