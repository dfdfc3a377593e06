"""MobileFaceNet-y1 in int8 on one thread, found by the compiler on its own, beside what one gets by hand.

The compiler gets the stock torch module, faces of UTKFace to calibrate with, and LFW's folds 1 to 5 to choose on. For each engine
its choice is then timed, interleaved in one process, against: the stock export in ONNX Runtime; naive static int8 (ONNX Runtime's
quantizer on that export, all settings as they come, same faces); and the fastest fp32 form of the same engine. Accuracy is that of
LFW's aligned crops: folds 1 to 5, which chose, and all ten.

    python benchmarks/embedder_int8.py --data FOLDER --weights FOLDER [--json FILE]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

from contenders import (
    ENGINES,
    HEADERS,
    ByHand,
    Contender,
    Measured,
    cells,
    compile_embedder,
    loaded,
    measure_contenders,
    shipped_row,
    stock_contender,
)
from embedder_fp32 import MATRIX_SIDE, STOCK, THREADS, stock_model
from facette.bundle import packed_size
from facette.cache import Cache, default_folder, tool_versions
from facette.compile_report import CandidateRow
from facette.data.calibration_pictures import calibration_pictures
from facette.evaluation.verification import verification_set
from facette.export import export
from facette.forms import graph_forms
from facette.loading import load_models
from facette.model import Model
from facette.recipe import Recipe, load_recipe
from facette.tables import table
from facette_runtime.errors import FacetteError
from facette_runtime.machine import Machine, describe_machine
from harness import add_data_and_weights, data_and_weights, new_parser, run_benchmark

NAIVE = "naive static int8, ONNX Runtime"
CALIBRATION_FACES = 128
RECIPE = "retinaface-mobilefacenet"

Named = tuple[str, Contender]


@dataclass(frozen=True)
class Row:
    """One contender.

    Attributes:
        name: what it is.
        own_speedup: over the fastest fp32 form of its own engine; None for fp32.
        measured: beside all others.
    """

    name: str
    own_speedup: float | None
    measured: Measured


@dataclass(frozen=True)
class Result:
    """The benchmark's result and what made it.

    Attributes:
        int8_gmacs: what this core reaches on a large int8 matrix product, in 1e9 multiply-accumulates a second.
        rows: the contenders, the stock export first.
        refused: why no int8 could ship, by engine.
        tried: everything that the compiler tried for the embedder.
    """

    threads: int
    int8_gmacs: float
    machine: Machine
    tools: dict[str, str]
    rows: list[Row]
    refused: dict[str, str]
    tried: list[CandidateRow]


def main() -> int:
    """Runs the benchmark."""
    parser = new_parser(__doc__)
    add_data_and_weights(parser, data="LFW and UTKFace", weights="the public weights")
    parser.add_argument("--seconds", type=float, default=30.0, help="wall time of the measurement")
    return run_benchmark(parser, run, print_result)


def run(arguments: argparse.Namespace) -> Result:
    """Compiles for each engine, times all contenders together, and verifies each."""
    data, weights = data_and_weights(arguments)
    recipe = load_recipe(RECIPE)
    detector, embedder = load_models(recipe, weights)
    contenders: dict[str, Contender] = {STOCK: stock_contender(embedder)}
    faces = calibration_pictures(embedder, data / "utkface-128.zip", CALIBRATION_FACES, detector, seed=0)
    contenders[NAIVE] = _naive(embedder, faces)
    refused: dict[str, str] = {}
    tried: list[CandidateRow] = []
    parents: dict[str, str] = {}
    for engine in ENGINES:
        print(f"compiling for {engine}", file=sys.stderr)
        try:
            (parent, fp32), (name, int8), candidates = _compiled(recipe, engine, data, weights)
        except FacetteError as error:
            refused[engine] = str(error)
            continue
        contenders |= {parent: fp32, name: int8}
        parents[name] = parent
        tried += candidates
    against = verification_set(data, embedder, detector, Cache(default_folder()), range(1, 11))
    measured, peak = measure_contenders(contenders, against, arguments.seconds)
    rows = [Row(name, _own_speedup(measured, name, parents), found) for name, found in measured.items()]
    return Result(THREADS, peak, describe_machine(), tool_versions(), rows, refused, tried)


def _own_speedup(measured: dict[str, Measured], name: str, parents: dict[str, str]) -> float | None:
    return measured[parents[name]].latency.median / measured[name].latency.median if name in parents else None


def _compiled(recipe: Recipe, engine: str, data: Path, weights: Path) -> tuple[Named, Named, list[CandidateRow]]:
    """The fastest fp32 form of the embedder that the compiler measured for an engine, what it ships in int8, and all it tried."""
    entry, content, report = compile_embedder(recipe, engine, data, weights)
    rows = [row for row in report.rows if row.role == "embedder"]
    shipped = shipped_row(report)
    if shipped.precision != "int8":
        raise FacetteError("; ".join(f"{row.form}, {row.ranges}: {row.verdict}" for row in rows if row.precision == "int8"))
    floats = [row for row in rows if row.precision == "fp32" and row.latency_ms is not None and row.parity is not None]
    fastest = min(floats, key=lambda row: row.latency_ms or 0.0)
    _, network = load_models(recipe, weights)
    parent = f"{engine} fp32, form {fastest.form}"
    form = next(form for form in graph_forms(network) if form.form == fastest.form)
    float_content = export(form, engine, "fp32").model
    name = f"{engine} int8, form {shipped.form}, {shipped.ranges}"
    return (parent, loaded(engine, float_content)), (name, loaded(engine, content, entry.macs)), rows


def print_result(result: Result) -> None:
    """A table."""
    print(f"MobileFaceNet-y1, batch 1, {result.threads} thread, {result.machine.name}, onnxruntime {result.tools['onnxruntime']}")
    print(table(["contender", "× own fp32", *HEADERS], [_cells(row) for row in result.rows]))
    for engine, why in result.refused.items():
        print(f"{engine}: no int8 ships: {why}")
    print(f"this core's int8 limit, by a {MATRIX_SIDE}³ matrix product: {result.int8_gmacs:.0f} GMAC/s")


def _cells(row: Row) -> list[str]:
    return [row.name, "" if row.own_speedup is None else f"{row.own_speedup:.2f}", *cells(row.measured)]


def _naive(model: Model, faces: np.ndarray) -> Contender:
    """`quantize_static` with its defaults, as a tutorial has it."""
    with tempfile.TemporaryDirectory() as folder:
        source, made = Path(folder) / "stock.onnx", Path(folder) / "int8.onnx"
        source.write_bytes(stock_model(model))
        by_hand = ByHand(source.read_bytes(), model)
        quantize_static(source, made, _Feed(by_hand, faces), quant_format=QuantFormat.QDQ)
        content = made.read_bytes()
    return Contender(ByHand(content, model), packed_size(content))


class _Feed(CalibrationDataReader):  # type: ignore[misc]  # ONNX Runtime has no stubs
    def __init__(self, by_hand: ByHand, faces: np.ndarray) -> None:
        self._feeds = ({"x": by_hand.floats(face[None])} for face in faces)

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._feeds, None)


if __name__ == "__main__":
    sys.exit(main())
