"""Which engines get faster from zeros? The dense network against unstructured and 2:4 sparse ones, engine by engine.

Shapes stay, so an engine must skip zeros to gain. What each was given:

- ONNX Runtime: the usual file. It has no kernels for sparse weights.
- LiteRT: the usual file. XNNPACK has kernels for sparse 1×1 convolutions, but only where the weights are stored as sparse tensors,
  which litert-torch has no option for, and only in stretches of a network that it can run in NCHW from a first 3×3 convolution to
  a global average pooling, which a MobileFaceNet (PReLU, 7×7 depthwise at the end) has none of.
- OpenVINO: the usual file, and as "openvino, sparse rate" with the property CPU_SPARSE_WEIGHTS_DECOMPRESSION_RATE, of which its
  documentation says that it packs the weights of matrix products, of which an embedder has one.

2:4 is what TensorRT's sparse tensor cores take (compute capability 8.0 and up); that can't be timed without one.

    python benchmarks/sparse_speed.py [--weights FOLDER] [--seconds 30] [--json FILE]
"""

from __future__ import annotations

import argparse
import io
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from embedder_networks import THREADS, mobilefacenet, runner
from facette.bundle import packed_size
from facette.cache import tool_versions
from facette.commands.common import folder_option
from facette.measure import Latency, interleaved
from facette.model import Model
from facette.passes.sparsify import Sparsify, sparsify
from facette.pruning.masks import density
from facette.tables import table
from facette_runtime.engines import installed_engines
from facette_runtime.engines.openvino import import_openvino
from facette_runtime.errors import FacetteError
from facette_runtime.machine import Machine, describe_machine
from harness import new_parser, run_benchmark

FORMS = {"onnxruntime": "dw2", "litert": "max", "openvino": "max"}
RATE = "CPU_SPARSE_WEIGHTS_DECOMPRESSION_RATE"
FASTER = 1.05
"""Speed-ups up to this count as none."""

PATTERNS: dict[str, Sparsify | None] = {
    "dense": None,
    "unstructured 50%": Sparsify(sparsity=0.5),
    "unstructured 80%": Sparsify(sparsity=0.8),
    "unstructured 90%": Sparsify(sparsity=0.9),
    "2:4": Sparsify(pattern="2:4"),
}


@dataclass(frozen=True)
class Row:
    """One network on one engine.

    Attributes:
        pattern: of its zeros.
        engine: what ran it, and how.
        density: part of the weights that isn't zero.
        bytes, packed: of its file, and what it takes in a bundle.
        latency: measured.
        speedup: over the dense network on the same engine.
    """

    pattern: str
    engine: str
    density: float
    bytes: int
    packed: int
    latency: Latency
    speedup: float


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
    parser.add_argument("--seconds", type=float, default=30.0, help="wall time of the measurement")
    return run_benchmark(parser, run, print_result)


def run(arguments: argparse.Namespace) -> Result:
    """Sparsifies, exports everything and times it together."""
    stock, weights = mobilefacenet(folder_option(arguments.weights, "FACETTE_WEIGHTS"))
    networks = {name: sparsify(stock, settings) if settings else stock for name, settings in PATTERNS.items()}
    engines = [engine for engine in FORMS if engine in installed_engines()]
    if not engines:
        raise FacetteError(f"none of the engines {', '.join(FORMS)} is installed")
    calls: dict[tuple[str, str], Callable[[], object]] = {}
    files: dict[tuple[str, str], bytes] = {}
    for engine in engines:
        for pattern, model in tqdm(networks.items(), desc=engine, unit="network", dynamic_ncols=True, disable=None):
            calls[pattern, engine], files[pattern, engine] = runner(model, engine, FORMS[engine])
            if engine == "openvino":
                calls[pattern, "openvino, sparse rate"] = _sparse_openvino(model, files[pattern, engine])
                files[pattern, "openvino, sparse rate"] = files[pattern, engine]
    latencies = interleaved({str(key): call for key, call in calls.items()}, seconds=arguments.seconds)
    rows = []
    for (pattern, engine), content in files.items():
        network = networks[pattern].network
        assert isinstance(network, torch.nn.Module)
        latency, dense = latencies[str((pattern, engine))], latencies[str(("dense", engine))]
        packed = packed_size(content)
        rows.append(Row(pattern, engine, density(network), len(content), packed, latency, dense.median / latency.median))
    return Result(weights, THREADS, describe_machine(), tool_versions(), sorted(rows, key=lambda row: row.engine))


def print_result(result: Result) -> None:
    """A table, and the word that follows from it."""
    print(f"MobileFaceNet-y1 sparse, fp32, batch 1, {result.threads} thread, weights: {result.weights}; {result.machine.name}")
    headers = ["engine", "zeros", "density", "file MB", "packed MB", "ms", "quartiles", "× dense"]
    rows = [
        [
            row.engine,
            row.pattern,
            f"{row.density:.3f}",
            f"{row.bytes / 1e6:.2f}",
            f"{row.packed / 1e6:.2f}",
            f"{row.latency.median:.3f}",
            f"{row.latency.low:.3f}–{row.latency.high:.3f}",
            f"{row.speedup:.2f}",
        ]
        for row in result.rows
    ]
    print(table(headers, rows))
    dense = {row.engine: row.latency for row in result.rows if row.pattern == "dense"}
    faster = {row.engine for row in result.rows if row.speedup > FASTER and row.latency.high < dense[row.engine].low}
    print(f"faster from zeros, by more than the quartiles' spread: {', '.join(sorted(faster)) or 'none'}")


def _sparse_openvino(model: Model, content: bytes) -> Callable[[], object]:
    """The same file with OpenVINO's property for sparse weights set low enough to apply."""
    ov = import_openvino()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        xml, weights = (archive.read(name) for name in sorted(archive.namelist(), key=lambda name: not name.endswith(".xml"))[:2])
    core = ov.Core()
    settings = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": THREADS, RATE: 0.4}
    settings |= {"INFERENCE_PRECISION_HINT": "f32", "ENABLE_CPU_PINNING": False}
    request = core.compile_model(core.read_model(xml, weights), "CPU", settings).create_infer_request()
    width, height = model.image.size_wh
    picture = np.random.default_rng(0).integers(0, 256, (1, height, width, 3), np.uint8)
    return lambda: request.infer({0: picture}, share_inputs=True)


if __name__ == "__main__":
    sys.exit(main())
