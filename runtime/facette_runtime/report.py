"""The result of a benchmark: JSON for machines, a fixed-width table for people."""

from __future__ import annotations

import json
from dataclasses import dataclass

from facette_runtime.machine import Machine
from facette_runtime.meter import MemoryTrend, StageTimes
from facette_runtime.schema import to_dict

REPORT_FORMAT = 1


@dataclass(frozen=True, slots=True)
class NetworkRun:
    """Which network ran on what; see `facette_runtime.manifest.NetworkEntry`.

    Attributes:
        engine: what really ran it: an engine that isn't at hand may have handed over to another, and says so in its name.
    """

    name: str
    engine: str
    precision: str
    threads: int


@dataclass(frozen=True, slots=True)
class ColdStart:
    """From nothing to the first recognised frame, in milliseconds, kept apart from the steady state.

    Attributes:
        start_ms: from the start of the process until the bundle is opened: interpreter and imports; None where unknown.
        load_ms: checking the bundle and loading both networks.
        first_frame_ms: the first frame through the pipeline.
    """

    start_ms: float | None
    load_ms: float
    first_frame_ms: float


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident memory in MB of 2^20 bytes; None where the system does not tell."""

    after_load_mb: float | None
    peak_mb: float | None
    trend: MemoryTrend


@dataclass(frozen=True, slots=True)
class Climate:
    """Temperature in °C at both ends of the run, and what the board says of throttling; None where it does not tell."""

    start_c: float | None
    end_c: float | None
    throttling: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Report:
    """One benchmark.

    Attributes:
        format: of this JSON.
        bundle, target, source: what ran, for what, on what.
        frames: measured, after ``warmup`` frames that are not.
        faces: found in the measured frames.
        recognised: measured faces by person.
        skipped: pictures or frames of the source that could not be read.
        fps: measured frames by wall time, reading the source included.
        pipeline_fps: the same without reading the source.
        stages: times by stage; "read" is the source, "frame" the whole pipeline.
    """

    format: int
    created: str
    runtime: str
    bundle: str
    target: str
    source: str
    detector: NetworkRun
    embedder: NetworkRun
    frames: int
    warmup: int
    faces: int
    recognised: dict[str, int]
    skipped: int
    fps: float
    pipeline_fps: float
    stages: dict[str, StageTimes]
    cold_start: ColdStart
    memory: Memory
    climate: Climate
    machine: Machine

    def to_json(self) -> str:
        """The report as JSON, keys in the order of the attributes."""
        return json.dumps(to_dict(self), indent=2) + "\n"


def to_table(report: Report) -> str:
    """The report for people: at most 100 columns, no trailing newline."""
    machine, cold, memory = report.machine, report.cold_start, report.memory
    start = "" if cold.start_ms is None else f"start {cold.start_ms:.0f} ms + "
    lines = [
        f"{report.bundle} for {report.target} on {machine.name} ({machine.architecture}, {machine.cores} cores)",
        *(f"  {role:<9}{_network(run)}" for role, run in (("detector", report.detector), ("embedder", report.embedder))),
        f"  source   {report.source}: {report.frames} frames after {report.warmup} to warm up,"
        f" {report.faces} faces, {report.skipped} skipped",
        "",
        f"{'stage':<12}{'mean':>10}{'p50':>10}{'p95':>10}{'p99':>10}   ms",
        *(f"{name:<12}{t.mean:>10.3f}{t.p50:>10.3f}{t.p95:>10.3f}{t.p99:>10.3f}" for name, t in report.stages.items()),
        "",
        f"FPS          {report.fps:.1f} ({report.pipeline_fps:.1f} without reading the source)",
        f"cold start   {start}load {cold.load_ms:.0f} ms + first frame {cold.first_frame_ms:.1f} ms",
        f"memory       {_mb(memory.after_load_mb)} after load, {_mb(memory.peak_mb)} peak, {_trend(memory.trend)}",
        f"temperature  {_degrees(report.climate.start_c)} -> {_degrees(report.climate.end_c)}, {_throttling(report.climate)}",
    ]
    if report.recognised:
        lines.append("recognised   " + ", ".join(f"{name} {count}x" for name, count in report.recognised.items()))
    return "\n".join(lines)


def _network(run: NetworkRun) -> str:
    return f"{run.name}, {run.engine} {run.precision}, {run.threads} thread{'s' if run.threads > 1 else ''}"


def _mb(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.1f} MB"


def _degrees(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.1f} °C"


def _trend(trend: MemoryTrend) -> str:
    if trend.slope_mb_per_1000_frames is None:
        return trend.verdict
    return f"{trend.verdict} ({trend.slope_mb_per_1000_frames:+.2f} MB per 1000 frames)"


def _throttling(climate: Climate) -> str:
    if climate.throttling is None:
        return "throttling unknown"
    return ", ".join(climate.throttling) or "not throttled"
