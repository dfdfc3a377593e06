"""Latency side by side: everything that is compared is run in turn, so that a drift of the machine hits all alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import perf_counter

import numpy as np


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds a call.

    Attributes:
        median, low, high: median and quartiles.
        rounds: calls measured.
    """

    median: float
    low: float
    high: float
    rounds: int


def interleaved(calls: Mapping[str, Callable[[], object]], *, seconds: float = 3.0, warmup: int = 5) -> dict[str, Latency]:
    """Times several calls A B C A B C … until ``seconds`` are used up, at least twenty rounds.

    Args:
        calls: what to time, by label.
        seconds: wall time for all of them together.
        warmup: rounds that aren't counted.
    """
    samples: dict[str, list[float]] = {label: [] for label in calls}
    for _ in range(warmup):
        for call in calls.values():
            call()
    end = perf_counter() + seconds
    while perf_counter() < end or len(next(iter(samples.values()))) < 20:
        for label, call in calls.items():
            start = perf_counter()
            call()
            samples[label].append((perf_counter() - start) * 1e3)
    return {label: _summary(times) for label, times in samples.items()}


def _summary(times: list[float]) -> Latency:
    low, median, high = np.percentile(times, (25, 50, 75))
    return Latency(float(median), float(low), float(high), len(times))
