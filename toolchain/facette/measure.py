"""Latency side by side: everything that is compared is run in turn, so that a drift of the machine hits all alike.

A turn is several calls. The first finds the caches full of what the others touched, and would tell as much of their company as of
the network; it is kept apart from those that follow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import perf_counter

import numpy as np


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds a call.

    Attributes:
        median, low, high: median and quartiles in the steady state, one call after the other.
        rounds: calls measured in it.
        cold: median of the first calls of the turns, just after the others ran: what a network costs that takes turns with another.
    """

    median: float
    low: float
    high: float
    rounds: int
    cold: float


_FEWEST = 20
"""Steady calls of each."""

_TURN, _TURN_MS = 8, 20.0
"""A turn ends after so many steady calls, or once they took so long."""


def interleaved(calls: Mapping[str, Callable[[], object]], *, seconds: float = 3.0, warmup: int = 5) -> dict[str, Latency]:
    """Times several calls in turns, A A A … B B B … C C C … A A A …, until ``seconds`` are used up; each at least twenty times.

    Args:
        calls: what to time, by label.
        seconds: wall time for all of them together.
        warmup: calls of each that aren't counted.
    """
    for call in calls.values():
        for _ in range(warmup):
            call()
    firsts: dict[str, list[float]] = {label: [] for label in calls}
    steady: dict[str, list[float]] = {label: [] for label in calls}
    end = perf_counter() + seconds
    while perf_counter() < end or min(map(len, steady.values())) < _FEWEST:
        for label, call in calls.items():
            firsts[label].append(_milliseconds(call))
            turn = [_milliseconds(call)]
            while len(turn) < _TURN and sum(turn) < _TURN_MS:
                turn.append(_milliseconds(call))
            steady[label] += turn
    return {label: _summary(steady[label], firsts[label]) for label in calls}


def _milliseconds(call: Callable[[], object]) -> float:
    start = perf_counter()
    call()
    return (perf_counter() - start) * 1e3


def _summary(steady: list[float], firsts: list[float]) -> Latency:
    low, median, high = np.percentile(steady, (25, 50, 75))
    return Latency(float(median), float(low), float(high), len(steady), float(np.median(firsts)))
