"""What recipes make of MobileFaceNet-y1, on one thread: accuracy lost against time and size won.

Every recipe is compiled from the stock module: once for each engine, and once in float alone, which tells what its passes cost from
what int8 costs. All that ships is timed, interleaved in one process with the stock export in ONNX Runtime: the fastest engine is
not always the one that keeps most, nor the one with the smallest file. Accuracy is that of LFW's aligned crops: folds 1 to 5, which
the compiler chose on, and all ten. The first run trains, for hours in some recipes; runs are kept in the cache and go on where they
were cut off.

    python benchmarks/compressed.py --data FOLDER --weights FOLDER [--recipes NAME ...] [--json FILE] [--plot FILE.png]
"""

from __future__ import annotations

import argparse
import itertools
import sys
from dataclasses import dataclass
from pathlib import Path

from contenders import (
    ENGINES,
    HEADERS,
    Contender,
    Measured,
    cells,
    compile_embedder,
    loaded,
    measure_contenders,
    stock_contender,
)
from embedder_fp32 import MATRIX_SIDE, STOCK, THREADS
from embedder_networks import cost_of
from facette.cache import Cache, default_folder, tool_versions
from facette.compile_report import PassRow
from facette.evaluation.verification import verification_set
from facette.loading import load_models
from facette.recipe import load_recipe
from facette.search.front import Point, front_figure, write_figure
from facette.search.outcome import beats
from facette.tables import table
from facette_runtime.errors import FacetteError
from facette_runtime.machine import Machine, describe_machine
from facette_runtime.manifest import Precision
from harness import add_data_and_weights, data_and_weights, new_parser, run_benchmark

RECIPES = ("retinaface-mobilefacenet", "mobilefacenet-relu", "mobilefacenet-half", "mobilefacenet-quarter", "mobilefacenet-small")
WAYS: tuple[tuple[str, tuple[Precision, ...]], ...] = (("onnxruntime", ("fp32",)), *((engine, ()) for engine in ENGINES))
"""An engine, and the precisions that it may ship; none named: all that it has."""


@dataclass(frozen=True)
class Network:
    """One network in one engine.

    Attributes:
        recipe: that made it; the stock export's name for that.
        engine, precision, form: what ships.
        passes: what each of the recipe's passes did.
        macs, parameters: multiply-accumulates for one picture, and weights.
    """

    recipe: str
    engine: str
    precision: str
    form: str
    passes: list[PassRow]
    macs: int
    parameters: int

    @property
    def name(self) -> str:
        """Tells it from all others."""
        return STOCK if self.recipe == STOCK else f"{self.recipe}, {self.engine} {self.precision}"


@dataclass(frozen=True)
class Row(Network):
    """A network and what was measured.

    Attributes:
        smaller: size of the stock export over its own, both packed as a bundle packs them.
        lost: LFW accuracy that the stock export has more, on all folds.
        measured: beside all others.
    """

    smaller: float
    lost: float
    measured: Measured


@dataclass(frozen=True)
class Result:
    """The benchmark's result and what made it.

    Attributes:
        int8_gmacs: what this core reaches on a large int8 matrix product, in 1e9 multiply-accumulates a second.
        rows: the stock export first.
        refused: what compiles to nothing, by recipe, engine and precision, and why.
    """

    threads: int
    int8_gmacs: float
    machine: Machine
    tools: dict[str, str]
    rows: list[Row]
    refused: dict[str, str]


def main() -> int:
    """Runs the benchmark."""
    parser = new_parser(__doc__)
    add_data_and_weights(parser, data="LFW and UTKFace", weights="the public weights")
    parser.add_argument("--recipes", nargs="+", default=list(RECIPES), metavar="NAME", help="of MobileFaceNet-y1 (default: all)")
    parser.add_argument("--seconds", type=float, default=30.0, help="wall time of the measurement")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="accuracy against latency, size as area (.png or .svg)")
    return run_benchmark(parser, run, print_result)


def run(arguments: argparse.Namespace) -> Result:
    """Compiles every recipe, times all that ships together, and verifies each."""
    data, weights = data_and_weights(arguments)
    detector, embedder = load_models(load_recipe(RECIPES[0]), weights)
    shipped = {STOCK: (Network(STOCK, "onnxruntime", "fp32", "stock", [], *cost_of(embedder)), stock_contender(embedder))}
    refused: dict[str, str] = {}
    for recipe, (engine, precisions) in itertools.product(arguments.recipes, WAYS):
        way = " ".join((engine, *precisions))
        print(f"compiling {recipe}, {way}", file=sys.stderr)
        try:
            network, contender = _compiled(recipe, engine, precisions, data, weights)
            shipped[network.name] = network, contender  # an engine whose int8 is refused ships in float again
        except FacetteError as error:
            refused[f"{recipe}, {way}"] = str(error)
    against = verification_set(data, embedder, detector, Cache(default_folder()), range(1, 11))
    measured, peak = measure_contenders({name: contender for name, (_, contender) in shipped.items()}, against, arguments.seconds)
    rows = [_row(network, measured[network.name], measured[STOCK]) for network, _ in shipped.values()]
    result = Result(THREADS, peak, describe_machine(), tool_versions(), rows, refused)
    if arguments.plot:
        points = [_point(row, rows) for row in rows]
        write_figure(front_figure(points, "LFW accuracy, %", "latency, ms", named=True), arguments.plot)
    return result


def _row(network: Network, measured: Measured, stock: Measured) -> Row:
    lost = stock.all_folds.accuracy - measured.all_folds.accuracy
    return Row(**vars(network), smaller=stock.bytes / measured.bytes, lost=lost, measured=measured)


def _point(row: Row, rows: list[Row]) -> Point:
    measured = row.measured
    beaten = any(beats(_objectives(other), _objectives(row)) for other in rows)
    return Point(row.name, measured.all_folds.accuracy, measured.latency.median, measured.bytes, on_front=not beaten)


def _objectives(row: Row) -> tuple[float, float, int]:
    return row.lost, row.measured.latency.median, row.measured.bytes


def print_result(result: Result) -> None:
    """A table, and what the core could do at most."""
    print(f"MobileFaceNet-y1 by recipe, batch 1, {result.threads} thread, {result.machine.name}")
    print(table(["recipe", "ships", "M MACs", "× smaller", "lost", *HEADERS], [_cells(row) for row in result.rows]))
    for name, why in result.refused.items():
        print(f"{name}: compiles to nothing: {why}")
    print(f"this core's int8 limit, by a {MATRIX_SIDE}³ matrix product: {result.int8_gmacs:.0f} GMAC/s")


def _compiled(name: str, engine: str, precisions: tuple[Precision, ...], data: Path, weights: Path) -> tuple[Network, Contender]:
    entry, content, report = compile_embedder(load_recipe(name), engine, data, weights, precisions)
    assert entry.macs is not None
    assert entry.parameters is not None
    passes = [row for row in report.passes if row.role == "embedder"]
    network = Network(name, engine, entry.precision, entry.form, passes, entry.macs, entry.parameters)
    return network, loaded(engine, content, entry.macs if entry.precision == "int8" else None)


def _cells(row: Row) -> list[str]:
    ships = f"{row.engine} {row.precision} {row.form}"
    return [row.recipe, ships, f"{row.macs / 1e6:.1f}", f"{row.smaller:.1f}", f"{row.lost * 100:.2f}", *cells(row.measured)]


if __name__ == "__main__":
    sys.exit(main())
