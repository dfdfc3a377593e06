"""The report's figures, as SVG text that stands in the page itself."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from facette.compile_report import CandidateRow
from facette.search.front import Point, front_figure, to_svg
from facette_runtime.report import Report

INK, SOFT, LINE = "#1f2a30", "#64727a", "#dfe5e8"
PALETTE = ("#0f6e7c", "#d1793b", "#6a5acd", "#5b8c3a", "#b34a6c", "#8a6d3b")
"""Told apart by people who are colour-blind, and in grey by their lightness."""

_WIDTH = 4.8  # inches: near a phone's width at which text of 10 points is still read
_STYLE = {
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": LINE,
    "axes.labelcolor": SOFT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.7,
    "xtick.color": SOFT,
    "ytick.color": INK,
    "ytick.left": False,
    "legend.frameon": False,
    "svg.hashsalt": "facette",
    "svg.fonttype": "path",
}


def stage_figure(runs: Sequence[tuple[str, Report]]) -> str:
    """Each stage's median as a bar, its 95th and 99th percentile as a whisker; one colour a run."""
    names = list(dict.fromkeys(stage for _, report in runs for stage in report.stages))
    height = 0.8 / len(runs)
    with mpl.rc_context(_STYLE):
        figure, axes = _axes(0.7 + len(names) * (0.24 + 0.16 * len(runs)))
        for place, (label, report) in enumerate(runs):
            rows = [(names.index(stage) + (place - (len(runs) - 1) / 2) * height, times) for stage, times in report.stages.items()]
            positions = [row for row, _ in rows]
            p50, p95, p99 = (np.array([getattr(times, key) for _, times in rows]) for key in ("p50", "p95", "p99"))
            colour = PALETTE[place % len(PALETTE)]
            axes.barh(positions, p50, height * 0.82, color=colour, label=label)
            axes.hlines(positions, p50, p99, color=INK, linewidth=1)
            axes.plot(p95, positions, "|", color=INK, markersize=8)
            axes.plot(p99, positions, "o", color=INK, markersize=3)
            if len(runs) == 1:
                for position, median, high in zip(positions, p50, p99, strict=True):
                    axes.annotate(f"{median:.2f}", (high, position), (6, 0), textcoords="offset points", va="center", fontsize=9)
        axes.set_yticks(range(len(names)), names)
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        axes.margins(x=0.14)
        axes.set_xlim(left=0)
        axes.set_xlabel("ms: bar p50, tick p95, dot p99")
        if len(runs) > 1:
            axes.legend(loc="best", fontsize=9)
        return _svg(figure)


def memory_figure(runs: Sequence[tuple[str, Report]]) -> str | None:
    """Resident memory after load and at its peak, MB; None where no system told."""
    known = [
        (label, report.memory.after_load_mb, report.memory.peak_mb)
        for label, report in runs
        if report.memory.after_load_mb is not None and report.memory.peak_mb is not None
    ]
    if not known:
        return None
    with mpl.rc_context(_STYLE):
        figure, axes = _axes(0.95 + 0.5 * len(known))
        for row, (_, loaded, peak) in enumerate(known):
            axes.barh(row, loaded, 0.5, color=PALETTE[0], label="after load" if row == 0 else None)
            axes.barh(row, peak - loaded, 0.5, left=loaded, color="#7fbac3", label="up to the peak" if row == 0 else None)
            axes.annotate(f"{loaded:.0f}", (loaded, row), (-24, 0), textcoords="offset points", va="center", color="white")
            axes.annotate(f"{peak:.0f}", (peak, row), (5, 0), textcoords="offset points", va="center")
        axes.set_yticks(range(len(known)), [label if len(known) > 1 else "RSS" for label, _, _ in known])
        _legend_above(axes)
        return _finish_bars(figure, axes, "MB of 2²⁰ bytes")


def start_figure(runs: Sequence[tuple[str, Report]]) -> str:
    """From the start of the process to the first recognised frame, ms, part by part."""
    with mpl.rc_context(_STYLE):
        figure, axes = _axes(0.95 + 0.5 * len(runs))
        totals = []
        for row, (_, report) in enumerate(runs):
            cold = report.cold_start
            left = 0.0
            parts = (
                ("interpreter, imports", cold.start_ms or 0.0),
                ("load bundle", cold.load_ms),
                ("first frame", cold.first_frame_ms),
            )
            for (part, value), colour in zip(parts, (PALETTE[0], "#7fbac3", PALETTE[1]), strict=True):
                axes.barh(row, value, 0.5, left=left, color=colour, label=part if row == 0 else None)
                left += value
            totals.append(left)
            axes.annotate(f"{left:.0f}", (left, row), (5, 0), textcoords="offset points", va="center")
        axes.set_yticks(range(len(runs)), [label if len(runs) > 1 else "start" for label, _ in runs])
        _legend_above(axes)
        return _finish_bars(figure, axes, "ms")


def similarity_figure(series: Sequence[tuple[str, Sequence[int], Sequence[float]]], frames: int, threshold: float) -> str:
    """Cosine of each face with the gallery's best template over the frames.

    Args:
        series: label, frame numbers and similarities by person.
        frames: of the source.
        threshold: of a match.
    """
    with mpl.rc_context(_STYLE):
        figure, axes = _axes(2.7)
        for place, (label, indices, similarities) in enumerate(series):
            axes.plot(indices, similarities, ".", markersize=4, color=PALETTE[place % len(PALETTE)], label=label)
        axes.axhline(threshold, color=INK, linewidth=1, linestyle=(0, (4, 3)))
        axes.annotate(
            f"threshold {threshold:.3f}",
            (frames, threshold),
            (-2, 4),
            textcoords="offset points",
            ha="right",
            fontsize=9,
            color=SOFT,
        )
        axes.set_xlim(0, frames)
        # Down to the lowest similarity: some embedders spread their cosines over 0.8 to 1 only.
        low = min(threshold, *(min(values, default=threshold) for _, _, values in series))
        axes.set_ylim(low - (1 - low) * 0.1, 1 + (1 - low) * 0.04)
        axes.set_xlabel("frame")
        axes.set_ylabel("cosine, best template")
        _legend_above(axes)
        return _svg(figure)


def candidates_figure(rows: Sequence[CandidateRow]) -> str | None:
    """Latency of every candidate of one network that was measured, the shipped one in colour; None where none was."""
    measured = sorted((row for row in rows if row.latency_ms is not None), key=lambda row: row.latency_ms or 0.0)
    if not measured:
        return None
    with mpl.rc_context(_STYLE):
        figure, axes = _axes(0.75 + 0.3 * len(measured))
        for place, row in enumerate(measured):
            median = row.latency_ms or 0.0
            low, high = row.latency_low_ms or median, row.latency_high_ms or median
            axes.barh(place, median, 0.66, color=PALETTE[0] if row.verdict == "shipped" else "#c9d3d7")
            axes.hlines(place, low, high, color=INK, linewidth=1)
            text = f"{median:.2f}" + (f"  {row.speedup:.1f}×" if row.speedup else "")
            axes.annotate(text, (max(high, median), place), (5, 0), textcoords="offset points", va="center", fontsize=9)
        axes.set_yticks(range(len(measured)), [f"{row.engine} {row.precision} {row.form}" for row in measured])
        axes.invert_yaxis()
        return _finish_bars(figure, axes, "ms: bar median, line quartiles; × stock", room=0.22)


def pareto_figure(rows: Sequence[CandidateRow]) -> str | None:
    """Candidates whose accuracy and latency were both measured, those that no other beats joined; None where none were."""
    measured = [(row, row.verification.accuracy, row.latency_ms) for row in rows if row.verification and row.latency_ms is not None]
    if not measured:
        return None
    points = []
    for row, accuracy, latency in measured:
        beaten = any(better > accuracy and faster < latency for _, better, faster in measured)
        label = f"{row.engine} {row.precision} {row.form}"
        points.append(Point(label, accuracy, latency, row.bytes or 0, on_front=not beaten, best=row.verdict == "shipped"))
    return to_svg(front_figure(points, "LFW accuracy, %", "latency, ms"))


def _axes(height: float) -> tuple[Figure, Any]:
    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    figure.patch.set_alpha(0)
    axes = figure.add_subplot()
    axes.patch.set_alpha(0)
    return figure, axes


def _legend_above(axes: Any) -> None:
    axes.legend(
        loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=3, fontsize=9, handletextpad=0.4, columnspacing=1.2, borderpad=0
    )


def _finish_bars(figure: Figure, axes: Any, label: str, room: float = 0.12) -> str:
    axes.grid(axis="y", visible=False)
    axes.margins(x=room)
    axes.set_xlim(left=0)
    axes.set_xlabel(label, fontsize=9)
    return _svg(figure)


def _svg(figure: Figure) -> str:
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    return text.getvalue()[text.getvalue().index("<svg") :]
