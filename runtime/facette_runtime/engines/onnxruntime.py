"""ONNX Runtime on the CPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnxruntime as ort

from facette_runtime.engines.base import Engine, TensorSpec
from facette_runtime.engines.check import check_tensors
from facette_runtime.errors import EngineError
from facette_runtime.processor import cpu_features, int8_overflows

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(double)": "float64",
    "tensor(float16)": "float16",
    "tensor(uint8)": "uint8",
    "tensor(int8)": "int8",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(bool)": "bool",
}


class OnnxRuntimeEngine:
    """One ONNX network; see `facette_runtime.engines.base.Engine`."""

    name = "onnxruntime"

    def __init__(self, session: ort.InferenceSession) -> None:
        self._session = session
        self.inputs = _specs(session.get_inputs())
        self.outputs = _specs(session.get_outputs())
        self._output_names = [spec.name for spec in self.outputs]

    def run(self, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Runs the network once; see `Engine.run`. The outputs are new arrays each time."""
        check_tensors(self.name, self.inputs, tensors)
        return dict(zip(self._output_names, self._session.run(self._output_names, dict(tensors))))


def load(model: bytes, threads: int) -> Engine:
    """Loads ONNX bytes.

    Raises:
        EngineError: ONNX Runtime refuses the network; the message is its own first line.
    """
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_mem_pattern = True
    options.log_severity_level = 3
    # Kernels that are slower but don't overflow. ONNX Runtime would take them on processors with VNNI too, which need them not.
    if int8_overflows(cpu_features()):
        options.add_session_config_entry("session.x64quantprecision", "1")
    if threads == 1:  # nobody to wait for: a spinning pool would only warm the device
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return OnnxRuntimeEngine(ort.InferenceSession(model, options, providers=["CPUExecutionProvider"]))
    except Exception as error:  # ONNX Runtime's exceptions share no base class but this one
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise EngineError(f"onnxruntime: refuses this network: {reason}") from error


def _specs(nodes: Sequence[ort.NodeArg]) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(
            node.name,
            tuple(size if isinstance(size, int) else None for size in node.shape),
            _DTYPES.get(node.type, node.type),
        )
        for node in nodes
    )
