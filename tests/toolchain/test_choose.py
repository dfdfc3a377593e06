"""The compiler's choice, from measurements that are given."""

from __future__ import annotations

import pytest

from facette.candidates import TIE, Candidate, choose
from facette.compile_report import report_rows
from facette.export.artifact import Artifact
from facette.measure import Latency
from facette.target import Target, TargetEngine
from facette_runtime.errors import FacetteError

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


def candidate(engine: str, form: str, ms: float | None, refusal: str | None = None) -> Candidate:
    latency = None if ms is None else Latency(ms, ms, ms, 20)
    return Candidate(engine, "fp32", form, Artifact(engine, "fp32", form, b"x"), None, {}, latency, refusal)


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
