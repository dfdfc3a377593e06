"""OpenVINO on x86 processors.

A network is a zip file with ``model.xml`` and ``model.bin``, OpenVINO's intermediate representation. The entry
``facette/inference_precision`` in its runtime information says in which numbers it is to compute, ``facette/outputs`` what its
outputs are called.
"""

from __future__ import annotations

import importlib
import io
import sys
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from facette_runtime.engines.base import Engine, TensorSpec
from facette_runtime.engines.check import check_tensors
from facette_runtime.errors import EngineError

XML, BIN = "model.xml", "model.bin"
PRECISION_PATH = ("facette", "inference_precision")
"""Where the runtime information holds "f32" or "bf16"."""
OUTPUTS_PATH = ("facette", "outputs")
"""Where it holds the outputs' names in their order, with commas between: a port's own may change when the file is read."""

_NEEDS_CAPABILITY = {"bf16": "BF16"}
_DTYPES = {"f32": "float32", "f64": "float64", "f16": "float16", "u8": "uint8", "i8": "int8", "i32": "int32", "i64": "int64"}


class OpenVINOEngine:
    """One network, compiled for this processor; see `facette_runtime.engines.base.Engine`."""

    name = "openvino"

    def __init__(self, compiled: Any, output_names: Sequence[str]) -> None:
        self.inputs = tuple(_spec(port, port.any_name) for port in compiled.inputs)
        self.outputs = tuple(map(_spec, compiled.outputs, output_names))
        self._ports = dict(zip((spec.name for spec in self.outputs), compiled.outputs))
        self._request = compiled.create_infer_request()

    def run(self, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Runs the network once; see `Engine.run`. The outputs are copies."""
        check_tensors(self.name, self.inputs, tensors)
        results = self._request.infer(dict(tensors), share_inputs=True)
        return {name: results[port] for name, port in self._ports.items()}


def load(model: bytes, threads: int) -> Engine:
    """Loads a zip file as this module's docstring describes it.

    Raises:
        EngineError: OpenVINO refuses the network, or this processor can't compute in its precision.
    """
    ov = import_openvino()
    try:
        with zipfile.ZipFile(io.BytesIO(model)) as archive:
            xml, weights = archive.read(XML), archive.read(BIN)
        core = ov.Core()
        network = core.read_model(xml, weights)
        precision = str(network.get_rt_info(list(PRECISION_PATH)).astype(str))
        needed = _NEEDS_CAPABILITY.get(precision)
        if needed and needed not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise EngineError(f"openvino: this processor does not compute in {precision}; compile the network for fp32")
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": precision,
            "ENABLE_CPU_PINNING": False,  # a pinned thread waits for its core where others work, too
        }
        names = str(network.get_rt_info(list(OUTPUTS_PATH)).astype(str)).split(",")
        return OpenVINOEngine(core.compile_model(network, "CPU", settings), names)
    except (zipfile.BadZipFile, KeyError, RuntimeError, ValueError) as error:
        raise EngineError(f"openvino: refuses this network: {_reason(error)}") from error


def import_openvino() -> Any:
    """The package, with its usage statistics switched off for this process.

    OpenVINO reports to Google Analytics when it is imported, unless somebody opted out in their home folder or
    `openvino_telemetry` can't be imported. The latter can be arranged without touching anything of the user's.
    """
    absent: Any = None
    sys.modules.setdefault("openvino_telemetry", absent)
    return importlib.import_module("openvino")


def _reason(error: Exception) -> str:
    """The line that says something: OpenVINO's messages begin with the places in its own sources."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith(("Exception from", "Check "))]
    return (telling or lines or [type(error).__name__])[-1]


def _spec(port: Any, name: str) -> TensorSpec:
    shape = tuple(None if size.is_dynamic else size.get_length() for size in port.partial_shape)
    dtype = port.element_type.get_type_name()
    return TensorSpec(name, shape, _DTYPES.get(dtype, dtype))
