"""Percentiles are numpy's, pools do not mix or grow, and the leak verdict follows its rule."""

from __future__ import annotations

import time

import numpy as np
import pytest

from facette_runtime import meter
from facette_runtime.meter import Meter, Samples, memory_trend


def test_percentiles_are_real() -> None:
    samples = Samples()
    durations = np.random.default_rng(0).integers(1, 10**7, 500)
    for duration in durations:
        samples.add(int(duration))
    times = samples.times()
    assert times.count == 500
    assert times.mean == pytest.approx(durations.mean() / 1e6)
    assert (times.p50, times.p95, times.p99) == pytest.approx(tuple(np.percentile(durations / 1e6, (50, 95, 99))))


def test_only_the_last_samples_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meter, "CAPACITY", 10)
    samples = Samples()
    for duration in [9_000_000] * 100 + [1_000_000] * 10:
        samples.add(duration)
    assert samples.times() == meter.StageTimes(110, 1.0, 1.0, 1.0, 1.0)


def test_stages_have_pools_of_their_own_and_keep_their_order() -> None:
    stages = Meter()
    for name, seconds in (("slow", 0.02), ("fast", 0.0)):
        with stages.stage(name):
            time.sleep(seconds)
    times = stages.stages()
    assert list(times) == ["slow", "fast"]
    assert times["slow"].p50 >= 20 > times["fast"].p50
    stages.reset()
    assert stages.stages() == {}
    assert Samples().times().count == 0


def test_an_exception_passes_through_a_stage() -> None:
    stages = Meter()
    with pytest.raises(KeyError), stages.stage("x"):
        raise KeyError
    assert stages.stages()["x"].count == 1


FRAMES = list(range(0, 640, 10))


@pytest.mark.parametrize(
    ("rss_mb", "verdict"),
    [
        ([100 + frame / 64 for frame in FRAMES], "growing"),
        ([100 + frame / 640 for frame in FRAMES], "steady"),  # 1 MB over the run
        ([100 + min(frame, 60) for frame in FRAMES], "steady"),  # an allocator that settles
        ([100.0] * len(FRAMES), "steady"),
        ([100 - frame / 64 for frame in FRAMES], "steady"),
        ([100.0, 200.0], "too short to say"),
    ],
)
def test_leak_verdict(rss_mb: list[float], verdict: str) -> None:
    trend = memory_trend(FRAMES[: len(rss_mb)], rss_mb)
    assert trend.verdict == verdict
    assert trend.rule


def test_a_short_run_is_not_judged_however_its_memory_grows() -> None:
    frames = list(range(0, 150, 5))
    assert memory_trend(frames, [100.0 + frame for frame in frames]).verdict == "too short to say"


def test_slope_is_per_thousand_frames() -> None:
    slope = memory_trend(FRAMES, [100 + frame / 64 for frame in FRAMES]).slope_mb_per_1000_frames
    assert slope == pytest.approx(1000 / 64)
