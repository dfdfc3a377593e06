"""What a compilation tried, what it measured and why it chose."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from facette.bundle import packed_size
from facette.candidates import STAND_IN, Candidate
from facette.evaluation.agreement import Agreement
from facette.evaluation.verification import Verification
from facette.islands import FloatIsland, float_islands
from facette.tables import table
from facette.tensorrt_host.result import HostBuild, NotChecked
from facette_runtime.bundle import Bundle
from facette_runtime.manifest import Parity, Precision
from facette_runtime.schema import from_dict

COMPILE_REPORT_FILE = "report/compile.json"
"""Where it lies in the bundle."""
GATE_HEADERS = ("LFW 1–5 %", "TAR@FAR=1e-3 %", "both over all pairs")
"""Accuracy and TAR on the listed pairs of LFW's choosing folds, then over all pairs of their photos, by which a loss is judged."""
STOCK = ("onnxruntime", "fp32", "stock")
"""Engine, precision and form that speed-ups are told against."""


@dataclass(frozen=True, slots=True)
class CandidateRow:
    """One candidate.

    Attributes:
        role: "detector" or "embedder".
        engine, precision, form: what it is.
        bytes: of its file, packed as the bundle packs it; None where it could not be made.
        latency_ms, latency_low_ms, latency_high_ms: median and quartiles, all candidates of a role interleaved in one run;
            None where the host can't stand in for the target.
        speedup: times faster than ONNX Runtime on the stock fp32 graph, None where that wasn't measured.
        parity: against the uncompiled network.
        verdict: "shipped", or why not.
        ranges: how int8's ranges were found.
        verification: an embedder's on LFW's choosing folds; None where the gate was not asked or had no data.
        agreement: a detector's with the original; None where the gate was not asked.
        islands: operators left in float, of an int8 candidate that may ship.
        host_build: what TensorRT on the workstation said to it; None for other engines.
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
    ranges: str | None = None
    verification: Verification | None = None
    agreement: Agreement | None = None
    islands: tuple[FloatIsland, ...] = ()
    host_build: HostBuild | NotChecked | None = None


@dataclass(frozen=True, slots=True)
class PassRow:
    """A network after one pass.

    Attributes:
        role: "detector" or "embedder".
        name: the pass, or "as given".
        settings: its own, in words.
        macs, parameters: multiply-accumulates for one picture, and weights.
        bytes: of the weights in fp32.
        latency_ms: fp32, in the target's first engine and graph form, all passes interleaved in one run; None where the host can't
            stand in for the target.
        verification, agreement: as in `CandidateRow`.
        verdict: "passes", "not the last pass" or why the result is refused.
    """

    role: str
    name: str
    settings: str
    macs: int | None
    parameters: int | None
    bytes: int | None
    latency_ms: float | None
    verification: Verification | None
    agreement: Agreement | None
    verdict: str


@dataclass(frozen=True, slots=True)
class CompileReport:
    """One compilation.

    Attributes:
        target: for what.
        threads: intra-op threads that were measured.
        rows: every candidate of both networks.
        passes: what each pass of the recipe did; empty where it names none.
        cache_hits, cache_misses: exports and measurements taken from the cache, and made anew.
    """

    target: str
    threads: int
    rows: tuple[CandidateRow, ...]
    cache_hits: int
    cache_misses: int
    passes: tuple[PassRow, ...] = ()


def read_compile_report(bundle: Bundle) -> CompileReport | None:
    """What a bundle says of its own compilation; None for a bundle that says nothing."""
    if COMPILE_REPORT_FILE not in bundle.manifest.files:
        return None
    return from_dict(CompileReport, json.loads(bundle.read(COMPILE_REPORT_FILE)), COMPILE_REPORT_FILE)


def report_rows(candidates: Mapping[str, Sequence[Candidate]], chosen: Mapping[str, Candidate]) -> tuple[CandidateRow, ...]:
    """A row for each candidate, by role, in the order in which they were tried."""
    return tuple(_row(role, candidate, chosen[role], _stock_ms(tried)) for role, tried in candidates.items() for candidate in tried)


def to_table(report: CompileReport) -> str:
    """The decision table for people: the passes, if there are any, then the candidates."""
    parts = []
    if report.passes:
        headers = ["network", "pass", "settings", "M MACs", "K parameters", "ms (fp32)", *GATE_HEADERS, "verdict"]
        parts.append(table(headers, [_pass_cells(row) for row in report.passes]))
    headers = ["network", "engine", "precision", "form", "ranges", "KB", "ms (median)", "× stock", "cosine", *GATE_HEADERS]
    parts.append(table([*headers, "verdict"], [_candidate_cells(row) for row in report.rows]))
    builds = [f"{row.role} {row.precision}, form {row.form}: {row.host_build.summary}" for row in report.rows if row.host_build]
    if builds:
        parts.append("TensorRT on this machine:\n" + "\n".join(f"  {line}" for line in builds))
    islands = [[row.role, row.engine, row.precision, *_island_cells(island)] for row in report.rows for island in row.islands]
    if islands:
        headers = ["network", "engine", "precision", "left in float", "name", "numbers put out", "% of the time"]
        parts.append(table(headers, islands))
    return "\n\n".join(parts)


def gate_cells(row: CandidateRow | PassRow) -> list[str]:
    """What the gate measured, under `GATE_HEADERS`."""
    if row.agreement is not None:
        return [f"{row.agreement.recall:.1%} found", f"landmarks {row.agreement.landmark_shift:.1%}", ""]
    if row.verification is None:
        return ["", "", ""]
    listed, everyone = row.verification, row.verification.all_pairs
    return [
        f"{100 * listed.accuracy:.2f}",
        f"{100 * listed.tar:.2f} ({100 * listed.tar_low:.1f}–{100 * listed.tar_high:.1f})",
        f"{100 * everyone.accuracy:.2f}, {100 * everyone.tar_at(1e-3):.2f}",
    ]


def _pass_cells(row: PassRow) -> list[str]:
    return [
        row.role,
        row.name,
        row.settings,
        "" if row.macs is None else f"{row.macs / 1e6:.1f}",
        "" if row.parameters is None else f"{row.parameters / 1e3:.0f}",
        _number(row.latency_ms, 2),
        *gate_cells(row),
        row.verdict,
    ]


def _candidate_cells(row: CandidateRow) -> list[str]:
    cosine = min((p.cosine for p in row.parity.values()), default=None) if row.parity else None
    return [
        row.role,
        row.engine,
        row.precision,
        row.form,
        row.ranges or "",
        "" if row.bytes is None else f"{row.bytes / 1024:.0f}",
        _number(row.latency_ms, 2),
        _number(row.speedup, 2),
        _number(cosine, 6),
        *gate_cells(row),
        row.verdict,
    ]


def _island_cells(island: FloatIsland) -> list[str]:
    share = "" if island.share is None else f"{island.share * 100:.1f}"
    return [island.operator, island.name, "" if island.elements is None else str(island.elements), share]


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _stock_ms(tried: Sequence[Candidate]) -> float | None:
    return next((c.latency.median for c in tried if c.latency and (c.engine, c.precision, c.form) == STOCK), None)


def _row(role: str, candidate: Candidate, shipped: Candidate, stock_ms: float | None) -> CandidateRow:
    latency = candidate.latency
    return CandidateRow(
        role=role,
        engine=candidate.engine,
        precision=candidate.precision,
        form=candidate.form,
        ranges=candidate.plan.quantization.label if candidate.plan.quantization else None,
        bytes=packed_size(candidate.artifact.model) if candidate.artifact else None,
        latency_ms=latency.median if latency else None,
        latency_low_ms=latency.low if latency else None,
        latency_high_ms=latency.high if latency else None,
        speedup=stock_ms / latency.median if latency and stock_ms else None,
        parity=candidate.parity,
        verification=candidate.judgement.verification if candidate.judgement else None,
        agreement=candidate.judgement.agreement if candidate.judgement else None,
        islands=_islands(candidate),
        host_build=candidate.host_build,
        verdict=_verdict(candidate, shipped),
    )


def _islands(candidate: Candidate) -> tuple[FloatIsland, ...]:
    shippable = candidate.precision == "int8" and candidate.artifact is not None and candidate.refusal is None
    # What a stand-in leaves in float says nothing of the engine that it stands in for.
    return float_islands(candidate.content, candidate.engine) if shippable and candidate.engine not in STAND_IN else ()


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
