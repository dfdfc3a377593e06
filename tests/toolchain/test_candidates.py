"""How candidates are timed against each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from torch import nn

from facette.cache import Cache
from facette.calibration import Quantization
from facette.candidates import Bench, Candidate, Plan, measure_beside, ways_for
from facette.catalogue import DLIB_IMAGE
from facette.measure import Latency
from facette.model import Model
from facette.recipe import Choices
from facette_runtime.manifest import EmbeddingDecoder

FORM = Model("net", nn.Identity(), DLIB_IMAGE, EmbeddingDecoder("embedding", 128), None, None, (), "")
BENCH = Bench((), (), 1, measured=True)


def test_a_later_run_is_told_in_the_time_of_the_earlier(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    cache = Cache(tmp_path_factory.mktemp("cache"))
    first = Candidate(Plan(FORM, "litert", "int8"), latency=Latency(2.0, 1.9, 2.1, 50, 2.5))
    other = Candidate(Plan(FORM, "litert", "int8", Quantization("mse", float_share=0.1)))

    def busy(candidates: Sequence[Candidate], bench: Bench, cache: Cache) -> list[Candidate]:
        """A machine that has become half as fast."""
        return [replace(c, latency=Latency(ms, ms, ms, 20, ms)) for c, ms in zip(candidates, (4.0, 5.0), strict=True)]

    monkeypatch.setattr("facette.candidates.measure", busy)
    assert measure_beside(first, other, BENCH, cache).milliseconds == pytest.approx(2.5)
    monkeypatch.setattr("facette.candidates.measure", lambda candidates, bench, cache: list(candidates))
    assert measure_beside(first, other, BENCH, cache).latency is None


def test_layers_in_float_come_after_every_other_way() -> None:
    ways = Choices(ranges=("mse", "percentile"), repairs=("none", "correct-bias"), float_shares=(0.1,)).quantizations
    assert [way.label for way in ways] == ["mse", "percentile", "mse, correct-bias", "percentile, correct-bias", "mse, 10% float"]
    assert [way.label for way in ways_for("openvino", ways)] == ["percentile", "percentile, correct-bias", "percentile, 10% float"]
    with pytest.raises(ValueError, match="float_shares must lie between 0 and 1"):
        Choices(float_shares=(1.5,))
