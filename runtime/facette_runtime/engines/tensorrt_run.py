"""Runs a TensorRT plan: pinned buffers made once, one stream, the batch in pieces that the plan's profile takes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from facette_runtime.engines.base import TensorSpec
from facette_runtime.engines.check import check_tensors
from facette_runtime.engines.cuda import Buffer, Stream
from facette_runtime.engines.tensorrt_build import LogLine, make_logger
from facette_runtime.errors import EngineError

_DTYPES = {
    "FLOAT": "float32",
    "HALF": "float16",
    "UINT8": "uint8",
    "INT8": "int8",
    "INT32": "int32",
    "INT64": "int64",
    "BOOL": "bool",
}
"""numpy's names by TensorRT's. Its own table, ``tensorrt.nptype``, fails with a numpy newer than itself."""


class TensorRTEngine:
    """One plan; see `facette_runtime.engines.base.Engine`. A batch beyond the plan's largest runs in several calls.

    Args:
        trt, cudart: TensorRT's and CUDA's modules.
        plan: serialized engine, built by this TensorRT on this GPU.

    Raises:
        EngineError: TensorRT refuses the plan, or the GPU has no memory left.
    """

    name = "tensorrt"

    def __init__(self, trt: Any, cudart: Any, plan: bytes) -> None:
        lines: list[LogLine] = []
        self._logger = make_logger(trt, lines)  # these three must outlive the context
        self._runtime = trt.Runtime(self._logger)
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise EngineError(f"tensorrt: refuses the plan{_told(lines)}")
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise EngineError(f"tensorrt: can't prepare the plan{_told(lines)}")
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        is_input = {name: self._engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT for name in names}
        self.inputs = tuple(self._spec(name) for name in names if is_input[name])
        self.outputs = tuple(self._spec(name) for name in names if not is_input[name])
        self._free = [spec.name for spec in self.inputs if spec.shape[:1] == (None,)]
        self._most = min((int(self._engine.get_tensor_profile_shape(name, 0)[2][0]) for name in self._free), default=1)
        self._stream = Stream(cudart)
        self._buffers = {spec.name: self._buffer(cudart, spec) for spec in (*self.inputs, *self.outputs)}
        self._shapes: dict[str, tuple[int, ...]] = {}

    def run(self, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Runs the network once; see `Engine.run`. The outputs are new arrays each time.

        Raises:
            EngineError: as `Engine.run`, or CUDA or TensorRT fails on the way.
        """
        check_tensors(self.name, self.inputs, tensors)
        batch = self._batch(tensors)
        if batch is None:
            return self._run_piece(tensors)
        outputs = {spec.name: np.empty(_sized(spec.shape, batch), spec.dtype) for spec in self.outputs}
        for start in range(0, batch, self._most):
            end = min(start + self._most, batch)
            piece = self._run_piece({n: array[start:end] if n in self._free else array for n, array in tensors.items()})
            for name, values in piece.items():
                outputs[name][start:end] = values
        return outputs

    def _run_piece(self, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        for name, tensor in tensors.items():
            if self._shapes.get(name) != tensor.shape:
                if not self._context.set_input_shape(name, tensor.shape):
                    raise EngineError(f"tensorrt: refuses shape {tensor.shape} of input {name!r}")
                self._shapes[name] = tensor.shape
            buffer = self._buffers[name]
            np.copyto(buffer.host[: tensor.size].reshape(tensor.shape), tensor)
            buffer.upload(tensor.size, self._stream)
        if not self._context.execute_async_v3(self._stream.handle):
            raise EngineError("tensorrt: running the network failed")
        shapes = {spec.name: tuple(self._context.get_tensor_shape(spec.name)) for spec in self.outputs}
        for name, shape in shapes.items():
            self._buffers[name].download(math.prod(shape), self._stream)
        self._stream.wait()
        return {name: self._buffers[name].host[: math.prod(shape)].reshape(shape).copy() for name, shape in shapes.items()}

    def _spec(self, name: str) -> TensorSpec:
        shape = tuple(None if size < 0 else int(size) for size in self._engine.get_tensor_shape(name))
        dtype = self._engine.get_tensor_dtype(name).name
        if dtype not in _DTYPES:
            raise EngineError(f"tensorrt: {name!r} is {dtype}; what goes in and out must be one of {', '.join(_DTYPES)}")
        return TensorSpec(name, shape, _DTYPES[dtype])

    def _buffer(self, cudart: Any, spec: TensorSpec) -> Buffer:
        """Room for the largest batch. Where a free size lies deeper, the network is refused: nothing says how far it reaches."""
        if None in spec.shape[1:]:
            raise EngineError(f"tensorrt: only the batch may be free, but {spec.name!r} has shape {spec.shape}")
        buffer = Buffer(cudart, math.prod(_sized(spec.shape, self._most)), np.dtype(spec.dtype))
        if not self._context.set_tensor_address(spec.name, buffer.address):
            raise EngineError(f"tensorrt: refuses the buffer of {spec.name!r}")
        return buffer

    def _batch(self, tensors: Mapping[str, np.ndarray]) -> int | None:
        """How many pictures are given; None where the network says how many it takes.

        Raises:
            EngineError: inputs disagree.
        """
        sizes = {len(tensors[name]) for name in self._free}
        if len(sizes) > 1:
            raise EngineError(f"tensorrt: inputs must have the same first size, but got {sorted(sizes)}")
        return sizes.pop() if sizes else None


def _sized(shape: tuple[int | None, ...], batch: int) -> tuple[int, ...]:
    return tuple(batch if size is None else size for size in shape)


def _told(lines: list[LogLine]) -> str:
    errors = [line.text.strip().splitlines()[0] for line in lines if line.severity in ("ERROR", "INTERNAL_ERROR") and line.text]
    return f": {errors[-1]}" if errors else ""
