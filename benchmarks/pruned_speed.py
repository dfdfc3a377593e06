"""Is a structured-pruned network really faster? Multiply-accumulates saved against time saved, engine by engine.

MobileFaceNet-y1 is cut to several parts of its multiply-accumulates, with its channels rounded to different multiples, and every
network runs in turn on every engine. "predicted" is what the multiply-accumulates promise; all measured speed-ups are over the
uncut network in the same form on the same engine.

    python benchmarks/pruned_speed.py [--weights FOLDER] [--seconds 60] [--json FILE] [--plot FILE.png]
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure
from tqdm import tqdm

from embedder_networks import THREADS, cost_of, mobilefacenet, runner
from facette.cache import tool_versions
from facette.commands.common import folder_option
from facette.measure import Latency, interleaved
from facette.model import Model
from facette.passes.prune import Prune, prune
from facette.pruning.choice import Scope
from facette.report.figures import PALETTE
from facette.tables import table
from facette_runtime.engines import installed_engines
from facette_runtime.errors import FacetteError
from facette_runtime.files import replacing
from facette_runtime.machine import Machine, describe_machine
from harness import new_parser, run_benchmark

ENGINES = (("onnxruntime", "relu"), ("onnxruntime", "dw2"), ("litert", "max"), ("openvino", "stock"))
PARTS = (0.75, 0.5, 0.25)


@dataclass(frozen=True)
class Row:
    """One network on one engine.

    Attributes:
        scope, round_to: how it was pruned; scope "uncut" for the whole network.
        engine, form: what ran it.
        macs: part of the uncut network's multiply-accumulates that is left.
        parameters: how many it has.
        bytes: of its file.
        latency: measured.
        predicted, measured: speed-ups over the uncut network.
    """

    scope: str
    round_to: int
    engine: str
    form: str
    macs: float
    parameters: int
    bytes: int
    latency: Latency
    predicted: float
    measured: float


@dataclass(frozen=True)
class Result:
    """The benchmark's result and what made it."""

    weights: str
    threads: int
    machine: Machine
    tools: dict[str, str]
    rows: list[Row]


def main() -> int:
    """Runs the benchmark."""
    parser = new_parser(__doc__)
    parser.add_argument("--weights", type=Path, metavar="FOLDER", help="holds mobilefacenet-y1.safetensors (or FACETTE_WEIGHTS)")
    parser.add_argument("--seconds", type=float, default=60.0, help="wall time of the measurement")
    known = list(dict.fromkeys(engine for engine, _ in ENGINES))
    parser.add_argument("--engines", nargs="+", default=known, choices=known, help="default: those that are installed")
    parser.add_argument("--round-to", nargs="+", type=int, default=[1, 8, 16], help="multiples, for the uniform scope")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="writes a picture (.png, .svg or .pdf)")
    return run_benchmark(parser, run, print_result)


def run(arguments: argparse.Namespace) -> Result:
    """Prunes, exports everything and times it together."""
    stock, weights = mobilefacenet(folder_option(arguments.weights, "FACETTE_WEIGHTS"))
    networks = {("uncut", 1, 1.0): stock} | _pruned(stock, arguments.round_to)
    pairs = [(engine, form) for engine, form in ENGINES if engine in arguments.engines and engine in installed_engines()]
    if not pairs:
        raise FacetteError(f"none of the engines {', '.join(arguments.engines)} is installed")
    runners = {
        (network, pair): runner(model, *pair)
        for pair in pairs
        for network, model in tqdm(networks.items(), desc=" ".join(pair), unit="network", dynamic_ncols=True, disable=None)
    }
    latencies = interleaved({str(key): call for key, (call, _) in runners.items()}, seconds=arguments.seconds)
    rows = []
    whole, _ = cost_of(stock)
    for (network, pair), (_, content) in runners.items():
        latency, uncut = latencies[str((network, pair))], latencies[str((("uncut", 1, 1.0), pair))]
        macs, parameters = cost_of(networks[network])
        speedup = uncut.median / latency.median
        (scope, multiple, _), (engine, form) = network, pair
        rows.append(Row(scope, multiple, engine, form, macs / whole, parameters, len(content), latency, whole / macs, speedup))
    result = Result(weights, THREADS, describe_machine(), tool_versions(), rows)
    if arguments.plot:
        _plot(result, arguments.plot)
    return result


def print_result(result: Result) -> None:
    """A table, and how much of the promise each engine keeps."""
    print(f"MobileFaceNet-y1 pruned, fp32, batch 1, {result.threads} thread, weights: {result.weights}; {result.machine.name}")
    headers = [
        "scope",
        "multiple of",
        "engine",
        "form",
        "MACs left",
        "parameters",
        "ms",
        "quartiles",
        "predicted",
        "measured",
        "kept",
    ]
    rows = [
        [
            row.scope,
            str(row.round_to),
            row.engine,
            row.form,
            f"{row.macs:.3f}",
            f"{row.parameters:,}",
            f"{row.latency.median:.3f}",
            f"{row.latency.low:.3f}–{row.latency.high:.3f}",
            f"{row.predicted:.2f}",
            f"{row.measured:.2f}",
            f"{row.measured / row.predicted:.0%}",
        ]
        for row in result.rows
    ]
    print(table(headers, rows))
    print("predicted, measured: speed-up over the uncut network on the same engine; kept: measured / predicted")


def _pruned(stock: Model, multiples: list[int]) -> dict[tuple[str, int, float], Model]:
    """Uniform cuts for every multiple, and global ones for multiples of eight. The weights' values don't matter for speed."""
    wanted: list[tuple[Scope, int]] = [("uniform", multiple) for multiple in multiples]
    wanted.append(("global", 8))
    return {
        (scope, multiple, part): prune(stock, Prune(macs=part, criterion="l2", scope=scope, round_to=multiple, refit=False))
        for scope, multiple in wanted
        for part in PARTS
    }


def _plot(result: Result, path: Path) -> None:
    """Measured over predicted speed-up: a colour an engine and form, a mark a way of pruning."""
    figure = Figure(figsize=(6.4, 4.8), layout="constrained")
    axes = figure.add_subplot()
    pairs = list(dict.fromkeys((row.engine, row.form) for row in result.rows))
    kinds = list(dict.fromkeys((row.scope, row.round_to) for row in result.rows if row.scope != "uncut"))
    for (engine, form), colour in zip(pairs, PALETTE, strict=False):
        for (scope, multiple), mark in zip(kinds, "os^Dv", strict=False):
            some = [
                row for row in result.rows if (row.engine, row.form, row.scope, row.round_to) == (engine, form, scope, multiple)
            ]
            x, y = [1.0, *(row.predicted for row in some)], [1.0, *(row.measured for row in some)]
            axes.plot(
                x, y, mark + "-", color=colour, alpha=0.8, markersize=5, linewidth=1, label=f"{engine} {form}, {scope}, ×{multiple}"
            )
    top = max(row.predicted for row in result.rows)
    axes.plot([1, top], [1, top], color="#64727a", linewidth=1, linestyle="--", label="as predicted")
    axes.set_xlabel("predicted speed-up: multiply-accumulates")
    axes.set_ylabel("measured speed-up")
    axes.legend(fontsize=7, frameon=False)
    axes.grid(alpha=0.3)
    with replacing(path) as half:
        figure.savefig(half, format=path.suffix.lstrip(".") or "png", dpi=160)


if __name__ == "__main__":
    sys.exit(main())
