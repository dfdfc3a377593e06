"""Everything that is compared takes turns, and the call that finds the caches full of others' data is kept apart."""

from __future__ import annotations

import itertools

import pytest

from facette import measure
from facette.measure import interleaved


def test_calls_take_turns_and_each_is_measured_often_enough() -> None:
    order: list[str] = []
    found = interleaved({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, seconds=0.0, warmup=2)
    assert order[:4] == ["a", "a", "b", "b"]  # the warm-up
    turns = [(label, len(list(calls))) for label, calls in itertools.groupby(order[4:])]
    assert [label for label, _ in turns] == ["a", "b"] * (len(turns) // 2)
    assert {length for _, length in turns} == {1 + measure._TURN}
    assert found["a"].rounds == found["b"].rounds >= measure._FEWEST


def test_the_first_call_of_a_turn_counts_as_cold_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    now, last = 0.0, ""

    def call(label: str) -> None:
        nonlocal now, last
        now += 0.001 if label == last else 0.003  # three times as long after another
        last = label

    monkeypatch.setattr(measure, "perf_counter", lambda: now)
    found = interleaved({"a": lambda: call("a"), "b": lambda: call("b")}, seconds=0.5)
    for latency in found.values():
        assert latency.cold == pytest.approx(3)
        assert latency.median == latency.high == pytest.approx(1)


def test_a_slow_call_has_short_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    now, count = 0.0, 0

    def call() -> None:
        nonlocal now, count
        now, count = now + 0.1, count + 1

    monkeypatch.setattr(measure, "perf_counter", lambda: now)
    assert interleaved({"slow": call}, seconds=0.0, warmup=0)["slow"].rounds == measure._FEWEST
    assert count == 2 * measure._FEWEST
