"""A GPU that isn't there: cuda-python's runtime module over a dictionary, as forgetful and as asynchronous as the real one.

Work on a stream is done when the stream is waited for, not before. Device addresses can't be read from the host.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from enum import IntEnum
from types import SimpleNamespace


class Error(IntEnum):
    """cudaError_t."""

    cudaSuccess = 0  # noqa: N815
    cudaErrorMemoryAllocation = 2  # noqa: N815
    cudaErrorNoDevice = 100  # noqa: N815


class FakeCuda:
    """Stands for ``cuda.bindings.runtime``.

    Attributes:
        calls: names of the functions called, in order.
        device: content of the device's buffers by address.
        streams: work queued, by handle.
        memory: bytes that may be allocated on the device.
    """

    cudaMemcpyKind = SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2)  # noqa: N815

    def __init__(self, gpus: int = 1, sm: tuple[int, int] = (8, 7), memory: int = 1 << 30, name: bytes = b"Fake Orin") -> None:
        self._gpus, self._sm, self._name, self.memory = gpus, sm, name, memory
        self.calls: list[str] = []
        self.device: dict[int, bytearray] = {}
        self.pinned: dict[int, ctypes.Array[ctypes.c_ubyte]] = {}
        self.streams: dict[int, list[Callable[[], None]]] = {}

    def cudaGetDeviceCount(self) -> tuple[Error, int]:
        return (Error.cudaSuccess, self._gpus) if self._gpus else (Error.cudaErrorNoDevice, 0)

    def cudaGetDeviceProperties(self, _: int) -> tuple[Error, SimpleNamespace]:
        return Error.cudaSuccess, SimpleNamespace(name=self._name + b"\0\0", major=self._sm[0], minor=self._sm[1])

    def cudaStreamCreate(self) -> tuple[Error, int]:
        self.calls.append("cudaStreamCreate")
        handle = 7000 + len(self.streams)
        self.streams[handle] = []
        return Error.cudaSuccess, handle

    def cudaStreamDestroy(self, handle: int) -> tuple[Error]:
        del self.streams[handle]
        return (Error.cudaSuccess,)

    def cudaStreamSynchronize(self, handle: int) -> tuple[Error]:
        for work in self.streams[handle]:
            work()
        self.streams[handle].clear()
        return (Error.cudaSuccess,)

    def cudaMalloc(self, size: int) -> tuple[Error, int]:
        self.calls.append("cudaMalloc")
        if size > self.memory:
            return Error.cudaErrorMemoryAllocation, 0
        self.memory -= size
        address = 0xD000_0000_0000 + 0x1_0000_0000 * self.calls.count("cudaMalloc")
        self.device[address] = bytearray(size)
        return Error.cudaSuccess, address

    def cudaMallocHost(self, size: int) -> tuple[Error, int]:
        self.calls.append("cudaMallocHost")
        memory = (ctypes.c_ubyte * size)()
        self.pinned[ctypes.addressof(memory)] = memory
        return Error.cudaSuccess, ctypes.addressof(memory)

    def cudaFree(self, address: int) -> tuple[Error]:
        self.memory += len(self.device.pop(address))
        return (Error.cudaSuccess,)

    def cudaFreeHost(self, address: int) -> tuple[Error]:
        del self.pinned[address]
        return (Error.cudaSuccess,)

    def cudaMemcpyAsync(self, to: int, source: int, size: int, kind: int, stream: int) -> tuple[Error]:
        assert size > 0, "an empty copy"
        upload = kind == self.cudaMemcpyKind.cudaMemcpyHostToDevice
        host, device = (source, to) if upload else (to, source)
        assert len(self.pinned[host]) >= size, "copies to and from the host need pinned memory that is large enough"
        assert len(self.device[device]) >= size

        def copy() -> None:
            if upload:
                self.device[device][:size] = bytes(self.pinned[host][:size])
            else:
                ctypes.memmove(host, bytes(self.device[device][:size]), size)

        self.streams[stream].append(copy)
        return (Error.cudaSuccess,)
