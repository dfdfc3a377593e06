"""Counting instructions: marks become stages, and the first frame is left out."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

from facette_runtime.pipeline import STAGES


@pytest.fixture
def pi_cost(benchmarks: Path) -> Any:
    """The benchmark as a module."""
    return importlib.import_module("pi_cost")


def _frame(start: int, cost: int) -> list[tuple[str, int]]:
    marks, now = [("1000", start)], start
    for number in range(len(STAGES)):
        marks += [(str(2 * number), now + 1), (str(2 * number + 1), now + 1 + cost * (number + 1))]
        now = marks[-1][1]
    return [*marks, ("1001", now + 1)]


def test_the_first_frame_is_left_out_and_the_median_taken(pi_cost: Any) -> None:
    marks = [*_frame(0, 1000), *_frame(50_000, 10), *_frame(60_000, 30), *_frame(70_000, 20), ("end", 99_999)]
    stages, frame = pi_cost.stage_counts(marks)
    assert stages == {name: 20 * (number + 1) for number, name in enumerate(STAGES)}
    assert frame == 20 * 21 + len(STAGES) + 1


def test_every_offer_of_the_board_is_counted(pi_cost: Any) -> None:
    offers = pi_cost._offers("raspberry-pi-5")
    assert ("litert", "fp32") in offers
    assert ("onnxruntime", "int8") in offers
