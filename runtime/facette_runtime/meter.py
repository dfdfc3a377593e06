"""Where the time goes: one pool of samples a stage, real percentiles, and whether memory grows."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter_ns

import numpy as np

CAPACITY = 20_000
"""Samples kept by stage: a camera runs for weeks, and its meter must not grow."""

JUDGED_FRAMES = 250
"""Frames before memory is judged: an allocator needs that long to settle."""

LEAK_MB = 4.0
"""Growth that is called a leak; see `memory_trend`."""


@dataclass(frozen=True, slots=True)
class StageTimes:
    """One stage's times in milliseconds.

    Attributes:
        count: calls measured, also those whose samples have been overwritten.
        mean, p50, p95, p99: of the samples kept, the last `CAPACITY`; percentiles interpolate linearly.
    """

    count: int
    mean: float
    p50: float
    p95: float
    p99: float


class Samples:
    """The last `CAPACITY` durations of one stage, in nanoseconds."""

    __slots__ = ("_count", "_ring", "_start")

    def __init__(self) -> None:
        self._ring = np.zeros(CAPACITY, np.int64)
        self._count = 0
        self._start = 0

    def __enter__(self) -> None:
        self._start = perf_counter_ns()

    def __exit__(self, *_: object) -> None:
        self.add(perf_counter_ns() - self._start)

    def add(self, duration_ns: int) -> None:
        """Stores one duration over the oldest."""
        self._ring[self._count % CAPACITY] = duration_ns
        self._count += 1

    def times(self) -> StageTimes:
        """Summary; all zero before the first sample."""
        if not self._count:
            return StageTimes(0, 0.0, 0.0, 0.0, 0.0)
        kept = self._ring[: min(self._count, CAPACITY)] / 1e6
        p50, p95, p99 = np.percentile(kept, (50, 95, 99), method="linear")
        return StageTimes(self._count, float(kept.mean()), float(p50), float(p95), float(p99))


class Meter:
    """Times by stage, in the order in which the stages first ran."""

    def __init__(self) -> None:
        self._samples: dict[str, Samples] = {}

    def stage(self, name: str) -> Samples:
        """To be used as ``with meter.stage("embed"): …``; the same stage must not nest in itself."""
        samples = self._samples.get(name)
        if samples is None:
            samples = self._samples[name] = Samples()
        return samples

    def reset(self) -> None:
        """Forgets everything, as after warming up."""
        self._samples.clear()

    def stages(self) -> dict[str, StageTimes]:
        """Summary by stage."""
        return {name: samples.times() for name, samples in self._samples.items()}


@dataclass(frozen=True, slots=True)
class MemoryTrend:
    """Whether resident memory grows while frames go by.

    Attributes:
        slope_mb_per_1000_frames: of the least-squares line through the samples.
        verdict: "steady", "growing", or "too short to say".
        rule: how the verdict was reached, in words.
    """

    slope_mb_per_1000_frames: float | None
    verdict: str
    rule: str


def memory_trend(frames: Sequence[int], rss_mb: Sequence[float]) -> MemoryTrend:
    """Judges resident memory sampled while running, after warm-up.

    Args:
        frames: frame number of each sample, rising.
        rss_mb: resident memory at that frame.

    Returns:
        "growing" when the medians of the four quarters of the run rise each time and the fitted line rises by more than
        `LEAK_MB` over the run: an allocator settles early, a leak goes on to the end.
    """
    rule = (
        f"growing: each quarter's median RSS is above the one before, and the fitted line rises over {LEAK_MB:g} MB;"
        f" 16 samples over {JUDGED_FRAMES} frames at least"
    )
    if len(frames) < 16 or frames[-1] - frames[0] < JUDGED_FRAMES:
        return MemoryTrend(None, "too short to say", rule)
    slope = float(np.polyfit(np.asarray(frames, float), np.asarray(rss_mb, float), 1)[0])
    medians = [float(np.median(quarter)) for quarter in np.array_split(np.asarray(rss_mb, float), 4)]
    rises = all(later > earlier for earlier, later in itertools.pairwise(medians))
    growing = rises and slope * (frames[-1] - frames[0]) > LEAK_MB
    return MemoryTrend(slope * 1000, "growing" if growing else "steady", rule)
