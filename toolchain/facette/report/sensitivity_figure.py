"""A network's sensitivity to cuts, as SVG text that stands in the page itself, or as a picture file."""

from __future__ import annotations

import io
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from facette.report.figures import INK, PALETTE, SOFT
from facette.sensitivity import Sensitivity
from facette_runtime.files import replacing

_STYLE = {
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": INK,
    "xtick.color": SOFT,
    "ytick.color": INK,
    "svg.hashsalt": "facette",
}
_COLOURS = LinearSegmentedColormap.from_list("drop", ["#ffffff", "#7fbac3", PALETTE[0]])


def sensitivity_figure(sensitivity: Sensitivity, proposal: dict[str, float] | None = None) -> str:
    """A field for each layer and ratio, the darker the more is lost; what is proposed is framed. SVG text."""
    with mpl.rc_context(_STYLE):
        text = io.StringIO()
        _draw(sensitivity, proposal or {}).savefig(text, format="svg", metadata={"Date": None, "Creator": None})
        return text.getvalue()[text.getvalue().index("<svg") :]


def save_sensitivity_figure(sensitivity: Sensitivity, path: Path, proposal: dict[str, float] | None = None) -> None:
    """Writes the same as a file of the kind that the path's ending says (.png, .svg, .pdf)."""
    with mpl.rc_context(_STYLE), replacing(path) as half:
        _draw(sensitivity, proposal or {}).savefig(half, format=path.suffix.lstrip(".") or "png", dpi=160, facecolor="white")


def _draw(sensitivity: Sensitivity, proposal: dict[str, float]) -> Figure:
    drops = np.array([row.drops for row in sensitivity.layers])
    figure = Figure(figsize=(2.2 + 0.8 * drops.shape[1], 0.9 + 0.24 * len(drops)), layout="constrained")
    figure.patch.set_alpha(0)
    axes = figure.add_subplot()
    top = max(float(drops.max()), 1e-6)
    axes.imshow(drops, cmap=_COLOURS, vmin=0.0, vmax=top, aspect="auto")
    for row, column in np.ndindex(*drops.shape):
        value = float(drops[row, column])
        axes.text(column, row, f"{value:.3f}", ha="center", va="center", color="white" if value > 0.6 * top else INK)
    for row, layer in enumerate(sensitivity.layers):
        if layer.layer in proposal:
            column = sensitivity.ratios.index(proposal[layer.layer])
            frame = mpl.patches.Rectangle((column - 0.47, row - 0.44), 0.94, 0.88, fill=False, edgecolor=PALETTE[1], linewidth=1.6)
            axes.add_patch(frame)
    axes.set_xticks(range(len(sensitivity.ratios)), [f"−{ratio:.3g}" for ratio in sensitivity.ratios])
    axes.set_yticks(range(len(drops)), [f"{row.layer} ({row.channels})" for row in sensitivity.layers])
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_xlabel(f"part of the channels removed:\ndrop of the {sensitivity.measure}", fontsize=8, color=SOFT)
    return figure
