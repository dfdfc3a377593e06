"""ONNX Runtime's own profile tells which operators it really runs, after all fusions, and on what types."""

from __future__ import annotations

import json
import math
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from facette.islands.island import FloatIsland

RUNS = 20
CONVERSIONS = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear")
INTEGER = ("QLinear", "QGemm", "QAttention", "ConvInteger", "MatMulInteger", "DynamicQuantizeMatMul")
"""Kernels that multiply integers, though some of them give floats."""


def onnx_islands(content: bytes) -> tuple[FloatIsland, ...]:
    """Runs an ONNX network on noise with one thread and reads the profile; see `facette.islands.float_islands`."""
    events = [event for event in _profile(content) if event["cat"] == "Node" and event["name"].endswith("_kernel_time")]
    durations: dict[str, list[int]] = defaultdict(list)
    arguments: dict[str, Any] = {}
    for event in events:
        name = event["name"].removesuffix("_kernel_time")
        durations[name].append(event["dur"])
        arguments[name] = event["args"]
    medians = {name: float(np.median(values)) for name, values in durations.items()}
    total = sum(medians.values()) or 1.0
    islands = [
        FloatIsland(found["op_name"], name, "onnxruntime", _elements(found), medians[name] / total)
        for name, found in arguments.items()
        if _is_float(found)
    ]
    return tuple(sorted(islands, key=lambda island: -(island.share or 0.0)))


def _profile(content: bytes) -> list[dict[str, Any]]:
    """The events of `RUNS` runs."""
    with tempfile.TemporaryDirectory() as folder:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        given = session.get_inputs()[0]
        shape = [size if isinstance(size, int) else 1 for size in given.shape]
        noise = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        for _ in range(RUNS):
            session.run(None, {given.name: noise})
        events: list[dict[str, Any]] = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    return events


def _is_float(arguments: dict[str, Any]) -> bool:
    kind = arguments["op_name"]
    if kind in CONVERSIONS:
        return True
    gives = {type_name for output in arguments.get("output_type_shape", []) for type_name in output}
    return bool(gives & {"float", "float16"}) and not kind.removeprefix("Nhwc").startswith(INTEGER)


def _elements(arguments: dict[str, Any]) -> int | None:
    shapes = [shape for output in arguments.get("output_type_shape", []) for shape in output.values()]
    return math.prod(shapes[0]) if shapes else None
