"""OpenVINO tells of each operator of the graph that it compiled in which precision it runs, and for how long."""

from __future__ import annotations

import io
import math
import zipfile
from typing import Any

import numpy as np

from facette.islands.island import FloatIsland
from facette_runtime.engines.openvino import BIN, XML, import_openvino

RUNS = 20
FLOAT = ("f32", "f16", "bf16")
NOTHING = ("Input", "Output", "Const")
"""Entries of the compiled graph that compute nothing."""


def openvino_islands(content: bytes) -> tuple[FloatIsland, ...]:
    """Runs an OpenVINO network on noise with one thread; see `facette.islands.float_islands`."""
    ov = import_openvino()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        network = ov.Core().read_model(archive.read(XML), archive.read(BIN))
    settings = {"INFERENCE_NUM_THREADS": 1, "PERF_COUNT": True, "ENABLE_CPU_PINNING": False}
    compiled = ov.Core().compile_model(network, "CPU", settings)
    request = compiled.create_infer_request()
    shape = [size.get_length() if size.is_static else 1 for size in compiled.inputs[0].partial_shape]
    noise = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    for _ in range(RUNS):
        request.infer({0: noise})
    nodes = [(node, node.get_rt_info()) for node in compiled.get_runtime_model().get_ordered_ops()]
    times = {node.get_friendly_name(): _microseconds(about) for node, about in nodes}
    total = sum(times.values()) or 1.0
    islands = [
        FloatIsland(_text(about, "layerType"), node.get_friendly_name(), "openvino", _elements(node), time / total)
        for node, about in nodes
        # What takes no time was computed when the network was loaded, as reshaped constants are.
        if (time := times[node.get_friendly_name()]) > 0 and _is_float(about)
    ]
    return tuple(sorted(islands, key=lambda island: -(island.share or 0.0)))


def _is_float(about: Any) -> bool:
    return _text(about, "layerType") not in NOTHING and _text(about, "runtimePrecision").lower() in FLOAT


def _text(about: Any, key: str) -> str:
    return str(about[key].astype(str)) if key in about else ""


def _microseconds(about: Any) -> float:
    """The mean of the runs; an operator that was fused away says "not_executed"."""
    text = _text(about, "execTimeMcs")
    return float(text) if text.replace(".", "", 1).isdigit() else 0.0


def _elements(node: Any) -> int | None:
    shape = node.output(0).partial_shape if node.get_output_size() else None
    return math.prod(size.get_length() for size in shape) if shape is not None and shape.is_static else None
