"""A progress bar of one line, for terminals only."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import TextIO

_WIDTH = 30
_PERIOD_S = 0.1


def progress_bar(stream: TextIO) -> Callable[[int, int], None]:
    """A function to call with steps done and steps in all; it draws at most ten times a second, and not at all off a terminal."""
    if not stream.isatty():
        return lambda done, total: None
    started = monotonic()
    drawn = started

    def draw(done: int, total: int) -> None:
        nonlocal drawn
        now = monotonic()
        if done == total:
            stream.write("\r\x1b[K")
        elif now - drawn >= _PERIOD_S:
            drawn = now
            filled = _WIDTH * done // total
            left_s = (now - started) / done * (total - done)
            stream.write(f"\r[{'#' * filled}{'.' * (_WIDTH - filled)}] {done}/{total}, {left_s:.0f} s left \x1b[K")
        stream.flush()

    return draw
