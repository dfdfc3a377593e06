"""The compiler's choice, from measurements that are given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from torch import nn

from facette.calibration import Quantization
from facette.candidates import Candidate, Plan
from facette.catalogue import DLIB_IMAGE
from facette.compile_report import report_rows
from facette.export.artifact import Artifact
from facette.gate import Judgement
from facette.measure import Latency
from facette.model import Model
from facette.selection import TIE, choose, judge
from facette.target import Target, TargetEngine
from facette_runtime.engines.base import Engine
from facette_runtime.errors import FacetteError
from facette_runtime.manifest import EmbeddingDecoder, Parity, Precision

TARGET = Target(
    name="board",
    description="",
    architecture="x86_64",
    cpu_features=(),
    cores=2,
    memory_mb=1024,
    threads=1,
    os="",
    python="",
    wheel_tags=(),
    engines=(TargetEngine("onnxruntime", ("fp32",), ("dw2", "stock")), TargetEngine("litert", ("fp32",), ("max", "stock"))),
    sources=(),
)


WAYS = (Quantization("min-max"), Quantization("percentile"), Quantization("mse"))
FORM = Model("net", nn.Identity(), DLIB_IMAGE, EmbeddingDecoder("embedding", 128), None, None, (), "")


def candidate(engine: str, form: str, ms: float | None, refusal: str | None = None, precision: Precision = "fp32") -> Candidate:
    latency = None if ms is None else Latency(ms, ms, ms, 20, ms)
    way = WAYS[0] if precision == "int8" else None
    return Candidate(
        Plan(replace(FORM, form=form), engine, precision, way),
        Artifact(engine, precision, form, f"{engine} {precision} {form} {ms}".encode()),
        parity={"embedding": Parity(0.0, 1.0)},
        exact=precision != "int8",
        latency=latency,
        refusal=refusal,
    )


def chosen(detector: list[Candidate], embedder: list[Candidate]) -> list[tuple[str, str]]:
    result = choose({"detector": detector, "embedder": embedder}, TARGET)
    return [(result[role].engine, result[role].form) for role in ("detector", "embedder")]


def test_the_engine_that_is_fastest_for_both_together() -> None:
    detector = [candidate("onnxruntime", "stock", 2.0), candidate("litert", "stock", 3.5)]
    embedder = [candidate("onnxruntime", "dw2", 5.0), candidate("onnxruntime", "stock", 9.0), candidate("litert", "max", 4.0)]
    assert chosen(detector, embedder) == [("onnxruntime", "stock"), ("onnxruntime", "dw2")]


def test_a_refused_candidate_never_ships_however_fast() -> None:
    detector = [candidate("onnxruntime", "stock", 2.0)]
    embedder = [candidate("onnxruntime", "dw2", 1.0, "cosine 0.9"), candidate("onnxruntime", "stock", 9.0)]
    assert chosen(detector, embedder)[1] == ("onnxruntime", "stock")


def test_within_the_tie_the_order_of_the_target_decides() -> None:
    detector = [candidate("onnxruntime", "stock", 2.0), candidate("litert", "stock", 2.0 / (TIE * 0.999))]
    embedder = [candidate("onnxruntime", "dw2", 2.0), candidate("litert", "max", 2.0 / (TIE * 0.999))]
    assert chosen(detector, embedder)[0][0] == "onnxruntime"
    embedder[1] = candidate("litert", "max", 1.5)
    assert chosen(detector, embedder)[0][0] == "litert"


def test_unmeasured_candidates_ship_in_the_order_of_the_target() -> None:
    detector = [candidate("onnxruntime", "stock", None), candidate("litert", "stock", None)]
    embedder = [candidate("onnxruntime", "dw2", None), candidate("onnxruntime", "stock", None), candidate("litert", "max", None)]
    assert chosen(detector, embedder) == [("onnxruntime", "stock"), ("onnxruntime", "dw2")]


def test_when_nothing_can_ship_the_reasons_are_told() -> None:
    with pytest.raises(FacetteError, match=r"no engine of target board.*onnxruntime embedder: cosine 0\.5"):
        chosen([candidate("onnxruntime", "stock", 1.0)], [candidate("onnxruntime", "dw2", 1.0, "cosine 0.5")])


def test_the_report_says_why_each_one_lost() -> None:
    embedder = [
        candidate("onnxruntime", "dw2", 3.0),
        candidate("onnxruntime", "stock", 9.0),
        candidate("onnxruntime", "max", 2.0, "embedding differs"),
        candidate("litert", "max", 4.0),
    ]
    rows = report_rows({"embedder": embedder}, {"embedder": embedder[0]})
    assert [row.verdict for row in rows] == [
        "shipped",
        "3.00× the time of the one shipped",
        "refused: embedding differs",
        "onnxruntime is faster for the whole bundle",
    ]
    assert [row.speedup for row in rows] == [3.0, 1.0, 4.5, 2.25]


class Verdicts:
    """A gate that refuses what it is told to, and remembers what it was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, refused: Mapping[str, str]) -> None:
        self.asked: list[str] = []
        self._refused = refused
        monkeypatch.setattr("facette.selection.open_candidate", lambda candidate, threads: candidate)

    def judge(self, engine: Engine, digest: str, parity: Mapping[str, Parity], *, trained: bool = False) -> Judgement:
        assert isinstance(engine, Candidate)
        assert engine.plan.quantization is not None
        way = engine.plan.quantization
        name = f"{engine.form} {way.method}" + (f" {way.float_share}" if way.float_share else "")
        self.asked.append(name)
        return Judgement(self._refused.get(name))


def again(first: Candidate, way: Quantization) -> Candidate:
    """A way that leaves layers in float takes half as long again."""
    made = replace(first, plan=replace(first.plan, quantization=way))
    slower = None if first.latency is None or not way.float_share else Latency(first.latency.median * 1.5, 0, 0, 20, 0)
    return replace(made, latency=slower or first.latency)


def test_int8_slower_than_its_float_parent_is_refused_unheard(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Verdicts(monkeypatch, {})
    tried = [candidate("onnxruntime", "dw2", 4.0), candidate("onnxruntime", "stock", 12.7, None, "int8")]
    judged = judge(tried, 1, gate, again, WAYS)
    assert judged[1].refusal == "slower than its float parent: 12.70 ms against 4.00"
    assert gate.asked == []


def test_the_fastest_int8_is_judged_first_and_its_ranges_are_changed_until_it_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Verdicts(monkeypatch, {"dw2 min-max": "accuracy 97 %", "dw2 percentile": "accuracy 98 %"})
    tried = [
        candidate("onnxruntime", "dw2", 4.0),
        candidate("onnxruntime", "max", 3.0, None, "int8"),
        candidate("onnxruntime", "dw2", 2.0, None, "int8"),
    ]
    judged = judge(tried, 1, gate, again, WAYS)
    assert gate.asked == ["dw2 min-max", "dw2 percentile", "dw2 mse"]
    assert [c.refusal for c in judged if c.form == "dw2" and c.precision == "int8"] == ["accuracy 97 %", "accuracy 98 %", None]
    assert judged[-1].latency == tried[2].latency
    assert next(c for c in judged if c.form == "max").refusal == "int8, form dw2 passed and is as fast: accuracy not measured"


MIXED = Quantization("min-max", float_share=0.2)


def test_layers_in_float_are_the_last_resort_and_must_still_be_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = [candidate("onnxruntime", "dw2", 4.0), candidate("onnxruntime", "dw2", 2.0, None, "int8")]
    gate = Verdicts(monkeypatch, {"dw2 min-max": "accuracy 97 %"})
    judged = judge(tried, 1, gate, again, (WAYS[0], MIXED))
    assert gate.asked == ["dw2 min-max", "dw2 min-max 0.2"]
    assert judged[-1].refusal is None
    assert judged[-1].milliseconds == pytest.approx(3.0)
    slow = [tried[0], candidate("onnxruntime", "dw2", 3.0, None, "int8")]
    judged = judge(slow, 1, Verdicts(monkeypatch, {"dw2 min-max": "accuracy 97 %"}), again, (WAYS[0], MIXED))
    assert judged[-1].refusal == "slower than its float parent: 4.50 ms against 4.00"


def test_another_form_is_asked_where_layers_in_float_cost_the_lead(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Verdicts(monkeypatch, {"dw2 min-max": "accuracy 97 %"})
    tried = [
        candidate("onnxruntime", "dw2", 4.0),
        candidate("onnxruntime", "dw2", 2.0, None, "int8"),
        candidate("onnxruntime", "max", 2.5, None, "int8"),
        candidate("onnxruntime", "relu", 3.5, None, "int8"),
    ]
    judged = judge(tried, 1, gate, again, (WAYS[0], MIXED))
    assert gate.asked == ["dw2 min-max", "dw2 min-max 0.2", "max min-max"]
    assert choose({"embedder": judged}, TARGET)["embedder"].form == "max"


def test_int8_that_never_passes_leaves_the_float(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Verdicts(monkeypatch, {f"dw2 {way.method}": "accuracy 97 %" for way in WAYS})
    tried = [candidate("onnxruntime", "dw2", 4.0), candidate("onnxruntime", "dw2", 2.0, None, "int8")]
    judged = judge(tried, 1, gate, again, WAYS)
    best = choose({"embedder": judged}, TARGET)["embedder"]
    assert best.precision == "fp32"


def test_where_nothing_is_measured_the_order_of_precisions_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Verdicts(monkeypatch, {})
    tried = [candidate("onnxruntime", "dw2", None, None, "int8"), candidate("onnxruntime", "dw2", None)]
    best = choose({"embedder": judge(tried, 1, gate, again, WAYS)}, TARGET)["embedder"]
    assert best.precision == "int8"
    assert gate.asked == ["dw2 min-max"]
