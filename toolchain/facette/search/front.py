"""The Pareto plot: accuracy against latency, the size of a file as the area of its dot."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from facette.search.budget import Budget
from facette.search.outcome import SearchResult
from facette_runtime.errors import FacetteError
from facette_runtime.files import replacing

_INK, _SOFT, _LINE, _GREY, _COLOUR, _BEST = "#1f2a30", "#64727a", "#dfe5e8", "#c9d3d7", "#0f6e7c", "#d1793b"
_STYLE = {
    "font.family": "sans-serif", "font.size": 10, "text.color": _INK, "axes.edgecolor": _LINE, "axes.labelcolor": _SOFT,
    "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True, "axes.axisbelow": True, "grid.color": _LINE,
    "grid.linewidth": 0.7, "xtick.color": _SOFT, "ytick.color": _INK, "legend.frameon": False, "svg.hashsalt": "facette",
}  # fmt: skip
_AREA = 260.0
"""Of the largest file, in square points."""
_SPREAD = 8.0
"""From this ratio of slowest to fastest on, latency is drawn logarithmically."""


@dataclass(frozen=True, slots=True)
class Point:
    """One candidate in the plot.

    Attributes:
        quality: accuracy or cosine, 0..1.
        cost: latency in ms, or millions of multiply-accumulates.
        bytes: of its file.
        on_front: whether no other beats it.
        best: whether it is the one that ships.
    """

    label: str
    quality: float
    cost: float
    bytes: int
    on_front: bool = False
    best: bool = False


def points_of(result: SearchResult) -> list[Point]:
    """A search's candidates that were measured in full."""
    front = {trial.number for trial in result.front}
    best = result.best.number if result.best else None
    return [
        Point(t.choice.label, t.measured.quality, t.measured.cost, t.measured.bytes or 0, t.number in front, t.number == best)
        for t in result.trials
        if t.state == "measured"
    ]


def front_figure(points: Sequence[Point], quality: str, cost: str, budget: Budget | None = None, *, named: bool = False) -> Figure:
    """Draws candidates: those on the front in colour, a line along those that are best for their cost whatever their size, the one
    that ships named above, the budget's bounds dashed.

    Args:
        quality, cost: names of the axes, e.g. "LFW accuracy, %" and "latency, ms".
        budget: of the same accuracy and latency, or None.
        named: write each candidate's label beside it, where there are few.

    Raises:
        FacetteError: no points.
    """
    if not points:
        raise FacetteError("the Pareto plot needs at least one candidate that was measured in full")
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(4.8, 3.4), layout="constrained")
        figure.patch.set_alpha(0)
        axes = figure.add_subplot()
        axes.patch.set_alpha(0)
        largest = max(max(point.bytes for point in points), 1)
        edge = _edge(points)
        axes.step([p.cost for p in edge], [100 * p.quality for p in edge], where="post", color=_COLOUR, linewidth=1, zorder=1)
        for point in sorted(points, key=lambda point: -point.bytes):  # small ones above large ones
            colour = _BEST if point.best else _COLOUR if point.on_front else _GREY
            area = max(_AREA * point.bytes / largest, 8)
            axes.scatter(point.cost, 100 * point.quality, area, color=colour, alpha=0.85, edgecolors="white", zorder=2)
            if named:
                place: dict[str, Any] = {"textcoords": "offset points", "xytext": (0, -14), "ha": "center", "fontsize": 7}
                axes.annotate(point.label, (point.cost, 100 * point.quality), color=_SOFT, **place)
            if point.best:
                figures = f"{point.cost:.2f}, {100 * point.quality:.2f}, {point.bytes / 1e6:.2f} MB"
                axes.set_title(textwrap.fill(f"{point.label}: {figures}", 64), loc="left", fontsize=8, color=_BEST)
        for constraint in budget.constraints if budget else ():
            style: dict[str, Any] = {"color": _INK, "linewidth": 1, "linestyle": (0, (4, 3))}
            if constraint.name == "latency":
                axes.axvline(constraint.bound, **style)
            elif constraint.name in ("lfw", "cosine"):
                axes.axhline(100 * constraint.bound, **style)
        costs = [point.cost for point in points]
        if min(costs) > 0 and max(costs) / min(costs) >= _SPREAD:
            axes.set_xscale("log")
        else:
            axes.set_xlim(left=0)
        axes.margins(0.12)
        axes.set_xlabel(f"{cost}; area: size, the largest {largest / 1e6:.2f} MB", fontsize=9)
        axes.set_ylabel(quality, fontsize=9)
        return figure


def _edge(points: Sequence[Point]) -> list[Point]:
    """Points that no cheaper one matches in quality, the cheapest first."""
    edge: list[Point] = []
    for point in sorted(points, key=lambda point: (point.cost, -point.quality)):
        if not edge or point.quality > edge[-1].quality:
            edge.append(point)
    return edge


def result_figure(result: SearchResult) -> Figure:
    """A search's plot, with axes named after what was measured."""
    measured = [trial.measured for trial in result.trials if trial.state == "measured"]
    quality = "LFW accuracy, %" if measured and measured[0].accuracy is not None else "cosine with the original, %"
    cost = "latency, ms" if measured and measured[0].latency_ms is not None else "multiply-accumulates, M"
    return front_figure(points_of(result), quality, cost, result.budget)


def to_svg(figure: Figure) -> str:
    """SVG text that can stand in a page."""
    text = io.StringIO()
    with mpl.rc_context(_STYLE):  # the salt makes ids repeat
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    return text.getvalue()[text.getvalue().index("<svg") :]


def write_figure(figure: Figure, path: Path) -> None:
    """Writes a .png or .svg.

    Raises:
        FacetteError: another ending, or the place can't be written to.
    """
    if path.suffix not in (".png", ".svg"):
        raise FacetteError(f"{path}: a plot's file ends in .png or .svg")
    with replacing(path) as temporary:
        if path.suffix == ".svg":
            temporary.write_text(to_svg(figure), encoding="utf-8")
        else:
            figure.savefig(temporary, dpi=160, facecolor="white")
