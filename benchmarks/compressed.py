"""What recipes make of MobileFaceNet-y1, on one thread: accuracy lost against time and size won.

Every recipe is compiled from the stock module, once for each engine. All that ships is timed, interleaved in one process with the
stock export in ONNX Runtime: the fastest engine is not always the one that keeps most, nor the one with the smallest file. Accuracy
is that of LFW's aligned crops: folds 1 to 5, which the compiler chose on, and all ten. The first run trains, for hours in some
recipes; runs are kept in the cache and go on where they were cut off.

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
    measure_contenders,
    stock_contender,
)
from embedder_fp32 import MATRIX_SIDE, STOCK, THREADS
from facette.bundle import packed_size
from facette.cache import Cache, default_folder, tool_versions
from facette.compile_report import PassRow
from facette.evaluation.verification import verification_set
from facette.loading import load_models
from facette.recipe import load_recipe
from facette.reference import count_macs
from facette.search.front import Point, front_figure, write_figure
from facette.search.outcome import beats
from facette.tables import table
from facette_runtime.engines import open_engine
from facette_runtime.errors import FacetteError
from facette_runtime.machine import Machine, describe_machine
from harness import add_data_and_weights, data_and_weights, new_parser, run_benchmark

RECIPES = ("retinaface-mobilefacenet", "mobilefacenet-relu", "mobilefacenet-half", "mobilefacenet-quarter", "mobilefacenet-small")


@dataclass(frozen=True)
class Row:
    """One network in one engine.

    Attributes:
        recipe: that made it; the stock export's name for that.
        engine, precision, form: what ships.
        passes: what each of the recipe's passes did.
        macs, parameters: multiply-accumulates for one picture, and weights.
        smaller: size of the stock export over its own, both packed as a bundle packs them.
        lost: LFW accuracy that the stock export has more, on all folds.
        measured: beside all others.
    """

    recipe: str
    engine: str
    precision: str
    form: str
    passes: list[PassRow]
    macs: int
    parameters: int
    smaller: float
    lost: float
    measured: Measured


@dataclass(frozen=True)
class Result:
    """The benchmark's result and what made it.

    Attributes:
        int8_gmacs: what this core reaches on a large int8 matrix product, in 1e9 multiply-accumulates a second.
        rows: the stock export first.
        refused: what compiles to nothing, by recipe and engine, and why.
    """

    threads: int
    int8_gmacs: float
    machine: Machine
    tools: dict[str, str]
    rows: list[Row]
    refused: dict[str, str]


@dataclass(frozen=True)
class Shipped:
    """A network as it ships, loaded; attributes as in `Row`."""

    recipe: str
    engine: str
    precision: str
    form: str
    passes: list[PassRow]
    macs: int
    parameters: int
    contender: Contender


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
    macs, parameters = count_macs(embedder)
    assert macs is not None
    assert parameters is not None
    shipped = {STOCK: Shipped(STOCK, "onnxruntime", "fp32", "stock", [], macs, parameters, stock_contender(embedder))}
    refused: dict[str, str] = {}
    for recipe, engine in itertools.product(arguments.recipes, ENGINES):
        name = f"{recipe}, {engine}"
        print(f"compiling {name}", file=sys.stderr)
        try:
            shipped[name] = _compiled(recipe, engine, data, weights)
        except FacetteError as error:
            refused[name] = str(error)
    against = verification_set(data, embedder, detector, Cache(default_folder()), range(1, 11))
    measured, peak = measure_contenders({name: each.contender for name, each in shipped.items()}, against, arguments.seconds)
    rows = [_row(each, measured[name], measured[STOCK]) for name, each in shipped.items()]
    result = Result(THREADS, peak, describe_machine(), tool_versions(), rows, refused)
    if arguments.plot:
        points = [_point(row, rows) for row in rows]
        write_figure(front_figure(points, "LFW accuracy, %", "latency, ms", named=True), arguments.plot)
    return result


def _row(each: Shipped, measured: Measured, stock: Measured) -> Row:
    lost = stock.all_folds.accuracy - measured.all_folds.accuracy
    return Row(
        recipe=each.recipe,
        engine=each.engine,
        precision=each.precision,
        form=each.form,
        passes=each.passes,
        macs=each.macs,
        parameters=each.parameters,
        smaller=stock.bytes / measured.bytes,
        lost=lost,
        measured=measured,
    )


def _point(row: Row, rows: list[Row]) -> Point:
    measured = row.measured
    beaten = any(beats(_objectives(other), _objectives(row)) for other in rows)
    name = row.recipe if row.recipe == STOCK else f"{row.recipe}, {row.engine}"
    return Point(name, measured.all_folds.accuracy, measured.latency.median, measured.bytes, on_front=not beaten)


def _objectives(row: Row) -> tuple[float, float, int]:
    return row.lost, row.measured.latency.median, row.measured.bytes


def print_result(result: Result) -> None:
    """A table, and what the core could do at most."""
    print(f"MobileFaceNet-y1 by recipe, batch 1, {result.threads} thread, {result.machine.name}")
    print(table(["recipe", "ships", "M MACs", "× smaller", "lost", *HEADERS], [_cells(row) for row in result.rows]))
    for name, why in result.refused.items():
        print(f"{name}: compiles to nothing: {why}")
    print(f"this core's int8 limit, by a {MATRIX_SIDE}³ matrix product: {result.int8_gmacs:.0f} GMAC/s")


def _compiled(name: str, engine: str, data: Path, weights: Path) -> Shipped:
    entry, content, report = compile_embedder(load_recipe(name), engine, data, weights)
    assert entry.macs is not None
    assert entry.parameters is not None
    int8_macs = entry.macs if entry.precision == "int8" else None
    contender = Contender(open_engine(engine, content, THREADS), packed_size(content), int8_macs)
    passes = [row for row in report.passes if row.role == "embedder"]
    return Shipped(name, engine, entry.precision, entry.form, passes, entry.macs, entry.parameters, contender)


def _cells(row: Row) -> list[str]:
    ships = f"{row.engine} {row.precision} {row.form}"
    return [row.recipe, ships, f"{row.macs / 1e6:.1f}", f"{row.smaller:.1f}", f"{row.lost * 100:.2f}", *cells(row.measured)]


if __name__ == "__main__":
    sys.exit(main())
