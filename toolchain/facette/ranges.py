"""How far a tensor's numbers reach, from all that were seen: what eight bits are stretched over.

A `Histogram` takes numbers as they come, in constant memory; `range_of` reads one of four ranges from it. Neither knows an engine.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from facette.calibration import RangeMethod
from facette_runtime.errors import FacetteError

SIDE = 4096
"""Bins on each side of zero; after a doubling at least half of them are in use."""
LEVELS = 256
"""Numbers that eight bits can tell apart."""
PERCENTILE = 99.99
SHRINKING = 128
"""Clippings tried by "mse", on each side."""


class Histogram:
    """Counts of equally wide bins around zero. A number beyond the last bin doubles the width of all, which merges them in pairs.

    Attributes:
        low, high: smallest and largest number seen; 0 before any.
        zeros: how many were exactly zero, as half of what a ReLU gives is. They are not in ``counts``.
        counts: int64 [2 * SIDE]; bin i holds numbers in [i - SIDE, i - SIDE + 1) * width.
        width: of a bin; 0 while nothing but zeros was seen.
    """

    def __init__(self) -> None:
        self.low = 0.0
        self.high = 0.0
        self.zeros = 0
        self.width = 0.0
        self.counts = np.zeros(2 * SIDE, np.int64)
        self._empty = True

    def add(self, values: np.ndarray) -> None:
        """Counts numbers of any shape.

        Raises:
            FacetteError: some aren't finite.
        """
        flat = np.asarray(values, np.float32).ravel()
        if not flat.size:
            return
        low, high = float(flat.min()), float(flat.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            raise FacetteError("calibration met numbers that aren't finite")
        self.low, self.high = (low, high) if self._empty else (min(self.low, low), max(self.high, high))
        self._empty = False
        self._widen(max(-low, high))
        some = flat[flat != 0]
        self.zeros += flat.size - some.size
        if not some.size:
            return
        # Shifted before the cut, so that it rounds towards minus infinity. What lies right on an edge may land on either side.
        bins = (some * np.float32(1 / self.width) + np.float32(SIDE)).astype(np.int64)
        self.counts += np.bincount(np.clip(bins, 0, 2 * SIDE - 1), minlength=2 * SIDE)

    def _widen(self, reach: float) -> None:
        if self.width == 0:
            self.width = reach / SIDE
            return
        while reach > self.width * SIDE:
            merged = self.counts.reshape(SIDE, 2).sum(1)
            self.counts = np.zeros(2 * SIDE, np.int64)
            self.counts[SIDE // 2 : SIDE // 2 + SIDE] = merged
            self.width *= 2


def range_of(histogram: Histogram, method: RangeMethod) -> tuple[float, float]:
    """The range that eight bits should span. It always holds zero, which every engine needs to represent exactly.

    - "min-max": all that was seen.
    - "percentile": all but 0.005 % on each side.
    - "entropy": clipped at the same magnitude on both sides, where the clipped histogram and its 256-level version differ least in
      Kullback–Leibler divergence (Migacz, "8-bit inference with TensorRT", 2017). Zeros don't count: no range rounds them.
    - "mse": clipped on each side where rounding and clipping together have the least squared error.
    """
    low, high = min(histogram.low, 0.0), max(histogram.high, 0.0)
    if histogram.width == 0 or method == "min-max":
        return low, high
    if method == "percentile":
        found = _percentile(histogram)
    elif method == "entropy":
        found = _least_divergence(histogram)
    else:
        found = _least_error(histogram, low, high)
    return max(low, min(found[0], 0.0)), min(high, max(found[1], 0.0))


def _percentile(histogram: Histogram) -> tuple[float, float]:
    counts = histogram.counts.copy()
    counts[SIDE] += histogram.zeros
    share = np.cumsum(counts) / counts.sum()
    tail = (1 - PERCENTILE / 100) / 2
    first = int(np.searchsorted(share, tail, side="right"))
    last = int(np.searchsorted(share, 1 - tail, side="left"))
    return (first - SIDE) * histogram.width, (last + 1 - SIDE) * histogram.width


def _least_divergence(histogram: Histogram) -> tuple[float, float]:
    used = np.flatnonzero(histogram.counts)
    reach = max(SIDE - int(used[0]), int(used[-1]) + 1 - SIDE)
    best, best_reach = np.inf, reach
    for candidate in range(LEVELS // 2, reach + 1, max(1, LEVELS // 16)):
        start, stop = max(SIDE - candidate, int(used[0])), min(SIDE + candidate, int(used[-1]) + 1)
        if start < stop and (divergence := _divergence(histogram.counts, start, stop)) < best:
            best, best_reach = divergence, candidate
    return -best_reach * histogram.width, best_reach * histogram.width


def _divergence(counts: np.ndarray, start: int, stop: int) -> float:
    """KL(P ‖ Q): P is the histogram with what lies outside added to its ends, Q what ``LEVELS`` levels leave of its inside."""
    inside = counts[start:stop].astype(np.float64)
    wanted = inside.copy()
    wanted[0] += counts[:start].sum()
    wanted[-1] += counts[stop:].sum()
    level = np.arange(stop - start) * LEVELS // (stop - start)
    full = inside > 0
    shared = np.bincount(level, inside, LEVELS) / np.maximum(np.bincount(level, full, LEVELS), 1)
    given = np.where(full, shared[level], 0.0)
    if not given.sum():
        return np.inf
    p, q = wanted / wanted.sum(), given / given.sum()
    # A bin that holds only what was clipped has no counterpart in Q: it counts as lost with a small, finite weight.
    some = p > 0
    return float((p[some] * np.log(p[some] / np.maximum(q[some], 1e-9))).sum())


def _least_error(histogram: Histogram, low: float, high: float) -> tuple[float, float]:
    used = np.flatnonzero(histogram.counts)
    centres = (used - SIDE + 0.5) * histogram.width
    weights = histogram.counts[used].astype(np.float64)

    def error(span: tuple[float, float]) -> float:
        step = (span[1] - span[0]) / (LEVELS - 1)
        first = np.round(span[0] / step)
        rounded = np.clip(np.round(centres / step), first, first + LEVELS - 1) * step
        return float((weights * (centres - rounded) ** 2).sum())

    best = (low, high)
    for _ in range(2):  # one side at a time; a second turn changes little
        best = min(_clippings(best, 0, low), key=error)
        best = min(_clippings(best, 1, high), key=error)
    return best


def _clippings(span: tuple[float, float], side: int, extreme: float) -> Iterator[tuple[float, float]]:
    """``span`` first, so that ties keep it, then with one side at each share of its extreme."""
    yield span
    for share in range(1, SHRINKING + 1):
        end = extreme * share / SHRINKING
        candidate = (end, span[1]) if side == 0 else (span[0], end)
        if candidate[1] > candidate[0]:
            yield candidate
