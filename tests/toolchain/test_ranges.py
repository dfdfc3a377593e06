"""Ranges of known distributions."""

from __future__ import annotations

import numpy as np
import pytest

from facette.calibration import RangeMethod
from facette.ranges import Histogram, range_of
from facette_runtime.errors import FacetteError

METHODS: tuple[RangeMethod, ...] = ("min-max", "percentile", "entropy", "mse")


def seen(*batches: np.ndarray) -> Histogram:
    histogram = Histogram()
    for batch in batches:
        histogram.add(batch)
    return histogram


def rounding_error(values: np.ndarray, span: tuple[float, float]) -> float:
    """Mean squared error of 256 equal levels over ``span``."""
    step = (span[1] - span[0]) / 255
    return float(((np.round(np.clip(values, *span) / step) * step - values) ** 2).mean())


@pytest.fixture(scope="module")
def normal() -> np.ndarray:
    return np.random.default_rng(0).normal(size=1_000_000).astype(np.float32)


@pytest.fixture(scope="module")
def heavy() -> np.ndarray:
    """A normal distribution with three numbers far outside."""
    values = np.random.default_rng(1).normal(size=100_000).astype(np.float32)
    values[:3] = (60, 80, 100)
    return values


def test_counts_survive_growth() -> None:
    scales = np.array([[0], [1], [0.1], [30], [2], [900]], np.float32)
    values = np.random.default_rng(2).normal(size=(6, 1000)).astype(np.float32) * scales
    histogram = seen(*values)
    assert histogram.counts.sum() + histogram.zeros == values.size
    assert histogram.zeros == 1000
    assert (histogram.low, histogram.high) == (values.min(), values.max())
    edges = (np.arange(len(histogram.counts) + 1) - len(histogram.counts) // 2) * histogram.width
    # Doubling keeps the edges, so the counts are those of one look at everything (but for numbers that are next to an edge).
    wanted, _ = np.histogram(values[values != 0].astype(np.float64), edges)
    assert np.abs(wanted - histogram.counts).sum() <= 10


def test_zeros_are_counted_apart() -> None:
    histogram = seen(np.zeros(5), np.array([1.0, 0.0]))
    assert (histogram.zeros, histogram.counts.sum()) == (6, 1)


def test_entropy_does_not_shrink_a_rectified_tensor() -> None:
    values = np.maximum(np.random.default_rng(5).normal(size=1_000_000), 0).astype(np.float32)
    assert range_of(seen(values), "entropy")[1] > 2.5


def test_min_max(normal: np.ndarray) -> None:
    assert range_of(seen(normal), "min-max") == (normal.min(), normal.max())


def test_percentile_of_a_normal_distribution(normal: np.ndarray) -> None:
    low, high = range_of(seen(normal), "percentile")
    assert (low, high) == pytest.approx((-3.89, 3.89), abs=0.1)  # the 0.005th and 99.995th percentiles


def test_percentile_of_a_uniform_distribution() -> None:
    values = np.linspace(0, 10, 200_001, dtype=np.float32)
    assert range_of(seen(values), "percentile") == pytest.approx((0, 9.9995), abs=0.005)


def test_mse_is_the_least_error(heavy: np.ndarray) -> None:
    found = range_of(seen(heavy), "mse")
    highs = np.linspace(1, 100, 400)
    least = min(rounding_error(heavy, (found[0], float(high))) for high in highs)
    assert rounding_error(heavy, found) <= 1.02 * least


def test_mse_keeps_a_uniform_distribution_whole() -> None:
    values = np.random.default_rng(3).uniform(-2, 6, 100_000).astype(np.float32)
    assert range_of(seen(values), "mse") == pytest.approx((-2, 6), abs=0.1)


def test_entropy_drops_far_outliers(heavy: np.ndarray) -> None:
    low, high = range_of(seen(heavy), "entropy")
    assert 2.5 < high < 15
    assert -5.5 < low < -2.5


def test_entropy_keeps_a_uniform_distribution_whole() -> None:
    values = np.random.default_rng(4).uniform(0, 5, 1_000_000).astype(np.float32)
    assert range_of(seen(values), "entropy") == pytest.approx((0, 5), abs=0.05)


@pytest.mark.parametrize("method", METHODS)
def test_ranges_hold_zero_and_stay_within_what_was_seen(method: RangeMethod, heavy: np.ndarray) -> None:
    low, high = range_of(seen(heavy), method)
    assert heavy.min() <= low < 0 < high <= heavy.max()
    low, high = range_of(seen(np.abs(heavy) + 1), method)
    assert low == 0
    assert high > 1
    low, high = range_of(seen(-np.abs(heavy) - 1), method)
    assert high == 0
    assert low < -1


@pytest.mark.parametrize("method", METHODS)
def test_nothing_but_zeros(method: RangeMethod) -> None:
    assert range_of(seen(np.zeros((2, 3))), method) == (0, 0)
    assert range_of(Histogram(), method) == (0, 0)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_refuses_what_is_not_finite(bad: float) -> None:
    with pytest.raises(FacetteError, match="aren't finite"):
        seen(np.array([1.0, bad]))
