"""What a budget's text means, and which texts are refused with what words."""

from __future__ import annotations

import math

import pytest

from facette.search.budget import Constraint, parse_budget
from facette.search.choice import Measured
from facette.search.metrics import METRICS
from facette_runtime.errors import FacetteError


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("lfw>=99.0 size<=1.5MB latency<=2ms", {"lfw": 0.99, "size": 1.5e6, "latency": 2.0}),
        ("LFW >= 99%, tar >= 97.5 %", {"lfw": 0.99, "tar": 0.975}),
        ("cosine>=0.98", {"cosine": 0.98}),
        ("size<=900B", {"size": 900}),
        ("size ≤ 900kb", {"size": 9e5}),
        ("latency<=500us", {"latency": 0.5}),
        ("latency<=500µs", {"latency": 0.5}),
        ("latency<=0.1s", {"latency": 100}),
        ("macs<=110M parameters<=500K memory<=64MB", {"macs": 1.1e8, "parameters": 5e5, "memory": 64}),
        ("parameters<=1.2M", {"parameters": 1.2e6}),
        ("latency<=2e1ms", {"latency": 20}),
        ("lfw >= 99 size <= 1.5 MB\nlatency <= 2 ms", {"lfw": 0.99, "size": 1.5e6, "latency": 2.0}),
    ],
)
def test_budgets_are_read(text: str, wanted: dict[str, float]) -> None:
    found = {constraint.name: constraint.bound for constraint in parse_budget(text).constraints}
    assert found == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty.*valid metrics: lfw"),
        ("speed>=3", "unknown metric 'speed'.*valid metrics: lfw.*latency<="),
        ("latency<=2", "the unit is missing; valid units of latency: us, ms, s"),
        ("latency<=2min", "unknown unit 'min'; valid units of latency: us, ms, s"),
        ("size<=1.5.2MB", "'1.5.2MB' is not a number"),
        ("lfw<=99", "better the larger it is; valid: lfw>="),
        ("latency>=2ms", "better the smaller it is; valid: latency<="),
        ("latency==2ms", "valid: latency<="),
        ("latency", "can't read 'latency'"),
        ("lfw>=99 fast please", "unknown unit 'fast'"),
        ("lfw>=99%, and more", "can't read 'and more'"),
        ("lfw>=99 lfw>=98", "lfw is given twice"),
        ("lfw>=0.99", "lfw is in percent; valid: lfw>=99"),
        ("lfw>=101", "more than 100.00 % can't be had"),
        ("size<=0MB", "must be above 0"),
        ("size<=-3MB", "must be above 0"),
        ("latency<=nanms", "is not a number|above 0|unknown unit"),
    ],
)
def test_what_cannot_be_read_is_named_on_one_line(text: str, message: str) -> None:
    with pytest.raises(FacetteError, match=f"^budget: .*({message})") as error:
        parse_budget(text)
    assert "\n" not in str(error.value)


def test_every_metric_is_a_figure_of_a_candidate() -> None:
    assert {metric.attribute for metric in METRICS.values()} == set(Measured.__dataclass_fields__)


def test_shortfalls_tell_value_and_distance() -> None:
    budget = parse_budget("lfw>=99 size<=1.5MB latency<=2ms")
    (latency,) = budget.check(Measured(accuracy=0.99, bytes=1_500_000, latency_ms=3.0))
    assert (latency.value, latency.distance) == (3.0, pytest.approx(0.5))
    assert latency.text == "latency 3.00 ms, not ≤ 2.00 ms"
    (lfw,) = budget.check(Measured(accuracy=0.985))
    assert lfw.distance == pytest.approx(0.5)  # half as many errors again as are allowed
    assert budget.distance(Measured(accuracy=0.985, latency_ms=3.0)) == pytest.approx(1.0)


def test_what_was_not_measured_does_not_fit() -> None:
    budget = parse_budget("lfw>=99 latency<=2ms")
    fast = Measured(latency_ms=1.0)
    assert budget.check(fast) == ()
    assert budget.unmeasured(fast) == ("lfw",)
    assert not budget.fits(fast)
    assert budget.fits(Measured(latency_ms=1.0, accuracy=0.9901))


def test_nan_breaks_every_bound() -> None:
    (shortfall,) = parse_budget("latency<=2ms").check(Measured(latency_ms=math.nan))
    assert shortfall.distance == math.inf


def test_bounds_near_perfection_stay_finite() -> None:
    assert Constraint("lfw", 1.0).distance(0.999) == pytest.approx(1.0)
    assert parse_budget("lfw>=100").check(Measured(accuracy=0.9999))
