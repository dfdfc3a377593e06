"""MobileFaceNet-y1 in fp32 on one thread: stock ``torch.onnx.export`` + ONNX Runtime against what ``facette compile`` ships.

Everything runs interleaved in one process; the ratio of medians is the result. Without the public weights (FACETTE_WEIGHTS) the
same network with random weights is timed, which takes as long, and says so.

    python benchmarks/embedder_fp32.py [--weights FOLDER] [--seconds 20] [--json FILE]
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import save_file

from embedder_networks import cost_of
from facette.cache import tool_versions
from facette.candidates import list_plans
from facette.commands.common import folder_option
from facette.export import export
from facette.export.quiet import quiet
from facette.loading import SearchPath, load_embedder
from facette.measure import Latency, interleaved
from facette.model import Model
from facette.nets.mobilefacenet import MobileFaceNet
from facette.recipe import Choices, EmbedderRecipe
from facette.tables import table
from facette.target import load_target
from facette_runtime.engines import open_engine
from facette_runtime.engines.base import Engine
from facette_runtime.errors import FacetteError
from facette_runtime.machine import Machine, describe_machine
from harness import new_parser, run_benchmark

WEIGHTS = "mobilefacenet-y1.safetensors"
STOCK = "stock torch.onnx.export + ONNX Runtime"
MATRIX = "matrix product"
MATRIX_SIDE = 768
THREADS = 1


@dataclass(frozen=True)
class Row:
    """One contender; ``speedup`` is over the stock export, ``max_abs`` the largest difference of an embedding's number to it."""

    name: str
    latency: Latency
    speedup: float
    max_abs: float


@dataclass(frozen=True)
class Result:
    """The benchmark's result and what made it.

    Attributes:
        weights: which.
        threads: of every contender.
        peak_gmacs: what this core reaches on a large fp32 matrix product, in 1e9 multiply-accumulates a second.
        floor_ms: the network's multiply-accumulates at that speed: no fp32 engine can be faster than this here.
        rows: the contenders, the stock export first.
    """

    weights: str
    threads: int
    peak_gmacs: float
    floor_ms: float
    machine: Machine
    tools: dict[str, str]
    rows: list[Row]


def main() -> int:
    """Runs the benchmark."""
    parser = new_parser(__doc__)
    parser.add_argument("--weights", type=Path, metavar="FOLDER", help=f"holds {WEIGHTS} (or FACETTE_WEIGHTS)")
    parser.add_argument("--seconds", type=float, default=20.0, help="wall time of the measurement")
    return run_benchmark(
        parser, lambda arguments: run(folder_option(arguments.weights, "FACETTE_WEIGHTS"), arguments.seconds), print_result
    )


def run(weights_folder: Path | None, seconds: float) -> Result:
    """Exports every fp32 candidate of the x86-cpu target, checks it against the stock export and times all of them together."""
    with tempfile.TemporaryDirectory() as folder:
        model = _model(weights_folder, Path(folder))
    picture = np.random.default_rng(0).integers(0, 256, (1, 112, 112, 3), np.uint8)
    calls: dict[str, Callable[[], np.ndarray]] = {STOCK: _stock(model, picture)}
    for plan in list_plans(model, load_target("x86-cpu"), Choices(precisions=("fp32",))):
        try:
            engine = open_engine(plan.engine, export(plan.form, plan.engine, "fp32").model, THREADS)
        except FacetteError as error:
            print(f"left out: {error}", file=sys.stderr)
            continue
        calls[f"facette: {plan.engine}, form {plan.form.form}"] = _shipped(engine, picture)
    embedding = calls[STOCK]()
    latencies = interleaved({**calls, MATRIX: _matrix_product()}, seconds=seconds)
    rows = [
        Row(name, latencies[name], latencies[STOCK].median / latencies[name].median, float(np.abs(call() - embedding).max()))
        for name, call in calls.items()
    ]
    weights = WEIGHTS if weights_folder else "random (speed only; give --weights for the public ones)"
    macs, _ = cost_of(model)
    peak = MATRIX_SIDE**3 / latencies[MATRIX].median / 1e6
    return Result(weights, THREADS, peak, macs / peak / 1e6, describe_machine(), tool_versions(), rows)


def print_result(result: Result) -> None:
    """A table, and the ratio that counts."""
    print(f"MobileFaceNet-y1, fp32, batch 1, {result.threads} thread, weights: {result.weights}")
    print(f"{result.machine.name}, onnxruntime {result.tools['onnxruntime']}, torch {result.tools['torch']}")
    headers = ["contender", "ms (median)", "quartiles", "rounds", "× stock", "max abs difference"]
    rows = [
        [
            row.name,
            f"{row.latency.median:.3f}",
            f"{row.latency.low:.3f}–{row.latency.high:.3f}",
            str(row.latency.rounds),
            f"{row.speedup:.2f}",
            f"{row.max_abs:.1e}",
        ]
        for row in result.rows
    ]
    print(table(headers, rows))
    best = max(result.rows, key=lambda row: row.speedup)
    stock = result.rows[0].latency.median
    print(f"{best.name} is {best.speedup:.2f} times as fast as the stock export")
    print(
        f"this core's fp32 limit: {result.peak_gmacs:.0f} GMAC/s on a {MATRIX_SIDE}³ matrix product: {result.floor_ms:.2f} ms or"
        f" {stock / result.floor_ms:.2f} times at best; reached: {result.floor_ms / best.latency.median:.0%} of the limit"
    )


def _model(weights_folder: Path | None, scratch: Path) -> Model:
    if weights_folder is None:
        torch.manual_seed(0)
        save_file(MobileFaceNet().state_dict(), scratch / WEIGHTS)
    return load_embedder(EmbedderRecipe("mobilefacenet-y1", WEIGHTS), SearchPath(weights_folder or scratch))


def stock_model(model: Model) -> bytes:
    """What one gets by hand: the exporter's default graph, which takes normalised floats [1, 3, h, w]."""
    assert isinstance(model.network, torch.nn.Module)
    with quiet():
        program = torch.onnx.export(model.network, (model.image.blank,), dynamo=True, verbose=False)
    assert program is not None
    content: bytes = program.model_proto.SerializeToString()
    return content


def _stock(model: Model, picture: np.ndarray) -> Callable[[], np.ndarray]:
    mean, scale = (np.array(values, np.float32) for values in (model.image.mean, model.image.scale))
    floats = np.ascontiguousarray(((picture - mean) * scale).transpose(0, 3, 1, 2), np.float32)
    return _session_call(stock_model(model), floats)


def _session_call(content: bytes, floats: np.ndarray) -> Callable[[], np.ndarray]:
    """A run of an ONNX file on its one input, with ONNX Runtime's settings as they come."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = THREADS
    session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: floats}
    return lambda: np.asarray(session.run(None, feed)[0])


def _matrix_product() -> Callable[[], object]:
    """A large product in ONNX Runtime: torch's comes from a library that leaves half of an AMD core's vector width unused."""
    shape = (MATRIX_SIDE, MATRIX_SIDE)
    right = numpy_helper.from_array(np.random.default_rng(0).random(shape, np.float32), "right")
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("left", "product")]
    graph = helper.make_graph([helper.make_node("MatMul", ["left", "right"], ["product"])], "product", ends[:1], ends[1:], [right])
    content = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()
    return _session_call(content, np.random.default_rng(1).random(shape, np.float32))


def _shipped(engine: Engine, picture: np.ndarray) -> Callable[[], np.ndarray]:
    feed = {engine.inputs[0].name: picture}
    return lambda: engine.run(feed)["embedding"]


if __name__ == "__main__":
    sys.exit(main())
