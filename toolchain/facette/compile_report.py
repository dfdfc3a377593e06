"""What a compilation tried, what it measured and why it chose."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from facette.candidates import Candidate
from facette.tables import table
from facette_runtime.bundle import Bundle
from facette_runtime.manifest import Parity, Precision
from facette_runtime.schema import from_dict

COMPILE_REPORT_FILE = "report/compile.json"
"""Where it lies in the bundle."""


@dataclass(frozen=True, slots=True)
class CandidateRow:
    """One candidate.

    Attributes:
        role: "detector" or "embedder".
        engine, precision, form: what it is.
        bytes: of its file; None where it could not be made.
        latency_ms, latency_low_ms, latency_high_ms: median and quartiles, all candidates of a role interleaved in one run;
            None where the host can't stand in for the target.
        speedup: times faster than ONNX Runtime on the stock fp32 graph, None where that wasn't measured.
        parity: against the uncompiled network.
        verdict: "shipped", or why not.
    """

    role: str
    engine: str
    precision: Precision
    form: str
    bytes: int | None
    latency_ms: float | None
    latency_low_ms: float | None
    latency_high_ms: float | None
    speedup: float | None
    parity: dict[str, Parity] | None
    verdict: str


@dataclass(frozen=True, slots=True)
class CompileReport:
    """One compilation.

    Attributes:
        target: for what.
        threads: intra-op threads that were measured.
        rows: every candidate of both networks.
        cache_hits, cache_misses: exports and measurements taken from the cache, and made anew.
    """

    target: str
    threads: int
    rows: tuple[CandidateRow, ...]
    cache_hits: int
    cache_misses: int


def read_compile_report(bundle: Bundle) -> CompileReport | None:
    """What a bundle says of its own compilation; None for a bundle that says nothing."""
    if COMPILE_REPORT_FILE not in bundle.manifest.files:
        return None
    return from_dict(CompileReport, json.loads(bundle.read(COMPILE_REPORT_FILE)), COMPILE_REPORT_FILE)


def report_rows(candidates: Mapping[str, Sequence[Candidate]], chosen: Mapping[str, Candidate]) -> tuple[CandidateRow, ...]:
    """A row for each candidate, by role, in the order in which they were tried."""
    return tuple(_row(role, candidate, chosen[role], _stock_ms(tried)) for role, tried in candidates.items() for candidate in tried)


def to_table(report: CompileReport) -> str:
    """The decision table for people."""
    headers = ["network", "engine", "precision", "form", "KB", "ms (median)", "× stock", "cosine", "verdict"]
    rows = []
    for row in report.rows:
        cosine = min((p.cosine for p in row.parity.values()), default=None) if row.parity else None
        rows.append(
            [
                row.role,
                row.engine,
                row.precision,
                row.form,
                "" if row.bytes is None else f"{row.bytes / 1024:.0f}",
                "" if row.latency_ms is None else f"{row.latency_ms:.2f}",
                "" if row.speedup is None else f"{row.speedup:.2f}",
                "" if cosine is None else f"{cosine:.6f}",
                row.verdict,
            ]
        )
    return table(headers, rows)


def _stock_ms(tried: Sequence[Candidate]) -> float | None:
    return next((c.latency.median for c in tried if c.latency and (c.engine, c.form) == ("onnxruntime", "stock")), None)


def _row(role: str, candidate: Candidate, shipped: Candidate, stock_ms: float | None) -> CandidateRow:
    latency = candidate.latency
    return CandidateRow(
        role=role,
        engine=candidate.engine,
        precision=candidate.precision,
        form=candidate.form,
        bytes=len(candidate.artifact.model) if candidate.artifact else None,
        latency_ms=latency.median if latency else None,
        latency_low_ms=latency.low if latency else None,
        latency_high_ms=latency.high if latency else None,
        speedup=stock_ms / latency.median if latency and stock_ms else None,
        parity=candidate.parity,
        verdict=_verdict(candidate, shipped),
    )


def _verdict(candidate: Candidate, shipped: Candidate) -> str:
    if candidate is shipped:
        return "shipped"
    if candidate.refusal is not None:
        return candidate.refusal if candidate.artifact is None else f"refused: {candidate.refusal}"
    if candidate.latency is None or shipped.latency is None:
        return "not measured: the target's order of preference decides"
    if candidate.engine != shipped.engine:
        return f"{shipped.engine} is faster for the whole bundle"
    return f"{candidate.latency.median / shipped.latency.median:.2f}× the time of the one shipped"
