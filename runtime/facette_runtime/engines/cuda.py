"""The little of CUDA that an engine needs, through cuda-python: the GPU's facts, one stream, and buffers that are made once."""

from __future__ import annotations

import ctypes
import weakref
from dataclasses import dataclass
from typing import Any

import numpy as np

from facette_runtime.errors import EngineError


@dataclass(frozen=True, slots=True)
class Gpu:
    """A graphics processor.

    Attributes:
        name: as CUDA tells it, e.g. "Orin".
        sm: compute capability, "8.7".
    """

    name: str
    sm: str


def call(cudart: Any, function: str, *arguments: Any) -> Any:
    """Calls ``cudart.<function>`` and gives what it gave beside the error code: None, a value, or a tuple of them.

    Args:
        cudart: cuda-python's ``cuda.bindings.runtime``, or ``cuda.cudart`` of its older versions.

    Raises:
        EngineError: CUDA reports an error; the message has its name.
    """
    error, *values = getattr(cudart, function)(*arguments)
    if int(error) != 0:
        raise EngineError(f"CUDA: {function} failed: {getattr(error, 'name', error)}")
    return None if not values else values[0] if len(values) == 1 else tuple(values)


def find_gpu(cudart: Any) -> Gpu:
    """The first GPU.

    Raises:
        EngineError: there is none, or no driver that fits.
    """
    if call(cudart, "cudaGetDeviceCount") == 0:
        raise EngineError("CUDA: finds no GPU")
    facts = call(cudart, "cudaGetDeviceProperties", 0)
    name = facts.name.decode(errors="replace") if isinstance(facts.name, bytes) else str(facts.name)
    return Gpu(name.strip("\0 "), f"{facts.major}.{facts.minor}")


class Stream:
    """One queue of work for the GPU."""

    def __init__(self, cudart: Any) -> None:
        self._cudart = cudart
        self.handle = int(call(cudart, "cudaStreamCreate"))
        weakref.finalize(self, cudart.cudaStreamDestroy, self.handle)

    def wait(self) -> None:
        """Returns when all that was queued is done."""
        call(self._cudart, "cudaStreamSynchronize", self.handle)


class Buffer:
    """A tensor's memory on both sides: pinned on the host, so that copies run beside other work, and its like on the GPU.

    Args:
        count: elements.
        dtype: their type.

    Attributes:
        host: flat array over the pinned memory.
        address: the GPU's side.
    """

    def __init__(self, cudart: Any, count: int, dtype: np.dtype[Any]) -> None:
        self._cudart = cudart
        self._itemsize = dtype.itemsize
        size = max(1, count * dtype.itemsize)
        pinned = call(cudart, "cudaMallocHost", size)
        weakref.finalize(self, cudart.cudaFreeHost, pinned)
        self.address = int(call(cudart, "cudaMalloc", size))
        weakref.finalize(self, cudart.cudaFree, self.address)
        memory = (ctypes.c_ubyte * size).from_address(int(pinned))
        self.host: np.ndarray = np.frombuffer(memoryview(memory), dtype, count)

    def upload(self, count: int, stream: Stream) -> None:
        """Queues the copy of the first ``count`` elements to the GPU."""
        kind = self._cudart.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._copy(self.address, self.host.ctypes.data, count, kind, stream)

    def download(self, count: int, stream: Stream) -> None:
        """Queues the copy of the first ``count`` elements from the GPU."""
        kind = self._cudart.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._copy(self.host.ctypes.data, self.address, count, kind, stream)

    def _copy(self, to: int, source: int, count: int, kind: Any, stream: Stream) -> None:
        call(self._cudart, "cudaMemcpyAsync", to, source, count * self._itemsize, kind, stream.handle)
