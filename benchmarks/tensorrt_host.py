"""What TensorRT makes of each network on a machine without a GPU: layers, fusions, plan, weights and scratch memory by precision.

TensorRT for RTX builds plans for SM 8.6 and 8.9, which stand in for Orin's 8.7; nothing runs, so no latency is told. Rows marked
"+ grouped" quantize grouped convolutions too, which `facette.export.tensorrt` does not do: they show why. Ranges for int8 come from
noise, since they change no layer. Without the public weights (FACETTE_WEIGHTS) only Facette's own networks are built.

    python benchmarks/tensorrt_host.py [--weights FOLDER] [--json FILE]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facette.cache import tool_versions
from facette.calibration import Calibration
from facette.commands.common import folder_option
from facette.export.onnx_graph import float_onnx
from facette.export.onnx_int8 import quantize_onnx
from facette.export.onnx_ranges import observe_onnx
from facette.export.tensorrt import PRECISIONS, export_tensorrt, to_tensorrt
from facette.forms import graph_forms
from facette.loading import SearchPath, load_detector, load_embedder
from facette.model import Model
from facette.recipe import DetectorRecipe, EmbedderRecipe
from facette.tables import table
from facette.tensorrt_host.check import build_on_host
from facette_runtime.machine import Machine, describe_machine
from harness import new_parser, run_benchmark

ORIN = 87
STAND_INS = (86, 89)
OWN = ("facette-detect", "facette-embed")
PUBLIC = ("retinaface-mobilenet025", "mobilefacenet-y1")
PICTURES = 2


@dataclass(frozen=True)
class Row:
    """One plan.

    Attributes:
        network, form, precision: what was built.
        sm: for which capability, times ten.
        onnx_bytes: of the file that the bundle would hold.
        network_layers: as parsed; ``layers`` are the plan's steps, ``fused`` those of several ONNX nodes.
        generated: distinct generated kernels.
        plan_bytes, weights_bytes, source_bytes, scratch_bytes, seconds: see `facette.tensorrt_host.result.SmBuild`.
        failure: why there is no plan, with zeros for the rest; None where there is one.
    """

    network: str
    form: str
    precision: str
    sm: int
    onnx_bytes: int
    network_layers: int
    layers: int
    fused: int
    generated: int
    plan_bytes: int
    weights_bytes: int
    source_bytes: int
    scratch_bytes: int
    seconds: float
    failure: str | None


@dataclass(frozen=True)
class Result:
    """Every plan, and what made them."""

    tensorrt: str
    machine: Machine
    tools: dict[str, str]
    rows: tuple[Row, ...]


def main() -> int:
    """Runs the benchmark."""
    parser = new_parser(__doc__)
    parser.add_argument("--weights", type=Path, metavar="FOLDER", help="holds the public networks' weights (or FACETTE_WEIGHTS)")
    return run_benchmark(parser, run, print_result)


def run(arguments: argparse.Namespace) -> Result:
    """Exports each network in each precision and has it built."""
    rows: list[Row] = []
    tensorrt = ""
    for model in _models(folder_option(arguments.weights, "FACETTE_WEIGHTS")):
        for precision, content in _files(model):
            print(f"{model.name} {model.form} {precision}", file=sys.stderr)
            tensorrt, made = _build(model, precision, content)
            rows += made
    return Result(tensorrt, describe_machine(), tool_versions(), tuple(rows))


def print_result(result: Result) -> None:
    """A table."""
    headers = ["network", "form", "precision", "SM", "ONNX MB", "parsed", "layers", "fused", "kernels", "plan MB", "weights MB"]
    rows = [
        [
            row.network,
            row.form,
            row.precision,
            f"{row.sm / 10:.1f}",
            f"{row.onnx_bytes / 1e6:.2f}",
            str(row.network_layers),
            str(row.layers),
            str(row.fused),
            str(row.generated),
            f"{row.plan_bytes / 1e6:.2f}",
            f"{row.weights_bytes / 1e6:.2f}",
            f"{row.source_bytes / 1e6:.2f}",
            f"{row.scratch_bytes / 1e6:.1f}",
            f"{row.seconds:.1f}",
            row.failure or "",
        ]
        for row in result.rows
    ]
    print(f"{result.tensorrt} on {result.machine.name}")
    print(table([*headers, "source MB", "scratch MB", "s", "failure"], rows))


def _models(weights: Path | None) -> Iterator[Model]:
    search = SearchPath(weights or Path(), weights)
    for name in (*OWN, *(PUBLIC if weights else ())):
        file = f"{name}.safetensors" if name in PUBLIC else None
        detects = name in ("facette-detect", "retinaface-mobilenet025")
        load = load_detector(DetectorRecipe(name, file), search) if detects else load_embedder(EmbedderRecipe(name, file), search)
        yield from graph_forms(load)


def _files(model: Model) -> Iterator[tuple[str, bytes]]:
    width, height = model.image.size_wh
    noise = np.random.default_rng(0).integers(0, 256, (PICTURES, height, width, 3), np.uint8)
    calibration = Calibration(noise, "noise")
    for precision in PRECISIONS:
        yield precision, export_tensorrt(model, precision, calibration).model
    content = float_onnx(model)
    yield "int8 + grouped", to_tensorrt(quantize_onnx(content, observe_onnx(model, calibration), flavour="tensorrt"), "int8")


def _build(model: Model, precision: str, content: bytes) -> tuple[str, list[Row]]:
    built = build_on_host(content, ORIN, STAND_INS)
    told = (model.name, model.form, precision)
    if built.failure is not None:
        return built.tensorrt, [Row(*told, sm, len(content), 0, 0, 0, 0, 0, 0, 0, 0, 0.0, built.failure) for sm in STAND_INS]
    return built.tensorrt, [
        Row(
            *told,
            sm=made.sm,
            onnx_bytes=len(content),
            network_layers=built.network_layers,
            layers=made.layers,
            fused=len(made.fusions),
            generated=made.generated,
            plan_bytes=made.plan_bytes,
            weights_bytes=made.weights_bytes,
            source_bytes=made.source_bytes,
            scratch_bytes=made.scratch_bytes,
            seconds=made.seconds,
            failure=None,
        )
        for made in built.builds
    ]


if __name__ == "__main__":
    sys.exit(main())
