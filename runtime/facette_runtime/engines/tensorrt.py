"""TensorRT on an NVIDIA GPU. Where it can't run, ONNX Runtime takes the network, and one line and the engine's name say so.

A plan runs only on the GPU and TensorRT that built it, so the bundle holds ONNX: the first start on a device builds, which takes
a minute or more on a Jetson, and keeps the plan (see `facette_runtime.engines.tensorrt_plans`).
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import logging
from collections.abc import Mapping
from typing import Any

import numpy as np

from facette_runtime.engines.base import Engine, TensorSpec
from facette_runtime.engines.cuda import find_gpu
from facette_runtime.engines.tensorrt_build import MAX_BATCH, build_plan, is_too_old, is_typed
from facette_runtime.engines.tensorrt_plans import PlanKey, PlanStore, default_folder
from facette_runtime.engines.tensorrt_run import TensorRTEngine
from facette_runtime.errors import EngineError, FacetteError

_log = logging.getLogger(__name__)

_TROUBLE = (EngineError, TypeError, RuntimeError)
"""What making a plan or loading one raises: TensorRT's bindings turn an object that could not be made into a TypeError."""


class StandInEngine:
    """ONNX Runtime in TensorRT's place; see `facette_runtime.engines.base.Engine`.

    Attributes:
        name: says what runs and why, e.g. "onnxruntime (TensorRT absent)".
    """

    def __init__(self, engine: Engine, why: str) -> None:
        self._engine = engine
        self.name = f"{engine.name} ({why})"
        self.inputs: tuple[TensorSpec, ...] = engine.inputs
        self.outputs: tuple[TensorSpec, ...] = engine.outputs

    def run(self, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Runs the network once; see `Engine.run`."""
        return self._engine.run(tensors)


class _UnableError(Exception):
    """TensorRT can't run here.

    Attributes:
        why: a few words for the engine's name.
        detail: for the line that tells it.
    """

    def __init__(self, why: str, detail: object) -> None:
        super().__init__(why)
        self.why = why
        self.detail = str(detail)


def load(model: bytes, threads: int) -> Engine:
    """Loads ONNX bytes; their first start on a device compiles them.

    Args:
        threads: of ONNX Runtime, where it has to stand in.

    Raises:
        EngineError: neither TensorRT nor ONNX Runtime takes the network.
    """
    try:
        return _open(model)
    except _UnableError as unable:
        try:
            engine: Engine = importlib.import_module("facette_runtime.engines.onnxruntime").load(model, threads)
        except ModuleNotFoundError:
            raise EngineError(f"tensorrt: {unable.detail}; and ONNX Runtime, which could stand in, is not installed") from None
        except EngineError as error:
            raise EngineError(f"tensorrt: refuses this network: {unable.detail}; {error}") from error
        _say_once(f"tensorrt: {unable.detail}: ONNX Runtime runs the network on the CPU instead")
        return StandInEngine(engine, unable.why)


def _open(model: bytes) -> Engine:
    trt, cudart = _import_tensorrt(), _import_cuda()
    try:
        gpu = find_gpu(cudart)
    except EngineError as error:
        raise _UnableError("no GPU", f"no NVIDIA GPU is found ({error})") from error
    key = PlanKey(
        network=hashlib.sha256(model).hexdigest(),
        tensorrt=trt.__version__,
        gpu=gpu.name,
        sm=gpu.sm,
        precision="by the graph" if is_typed(trt) else "by flags",
        batch=MAX_BATCH,
    )
    store = PlanStore(default_folder())
    kept = store.plan(key)
    if kept is not None:
        try:
            return TensorRTEngine(trt, cudart, kept)
        except _TROUBLE as error:  # a new driver may refuse what was built under the old one
            _log.info("tensorrt: the kept plan is not usable (%s) and is built anew", error)
    try:
        return TensorRTEngine(trt, cudart, _build(trt, model, key, store))
    except _TROUBLE as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise _UnableError("TensorRT build failed", reason) from error


def _build(trt: Any, model: bytes, key: PlanKey, store: PlanStore) -> bytes:
    _log.warning("tensorrt: compiling the network for %s (SM %s); only the first start takes this long", key.gpu, key.sm)
    built = build_plan(trt, model, store.timing_cache(key))
    try:
        store.keep_plan(key, built.plan)
        if built.timing_cache:
            store.keep_timing_cache(key, built.timing_cache)
    except FacetteError as error:  # a read-only system runs as well, and only starts slowly
        _say_once(f"tensorrt: the plan can't be kept, so every start builds it: {error}")
    return built.plan


def _import_tensorrt() -> Any:
    try:
        trt = importlib.import_module("tensorrt")
    except ModuleNotFoundError:
        raise _UnableError("TensorRT absent", "TensorRT is not installed") from None
    except ImportError as error:
        raise _UnableError("TensorRT absent", f"TensorRT can't be loaded ({error})") from error
    if is_too_old(trt.__version__):
        raise _UnableError("TensorRT too old", f"TensorRT {trt.__version__} is older than 8.5, which this engine needs")
    return trt


def _import_cuda() -> Any:
    """cuda-python's runtime module, by its name of today or that of the 11s and 12s."""
    for name in ("cuda.bindings.runtime", "cuda.cudart"):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError:
            continue
        except ImportError as error:
            raise _UnableError("CUDA absent", f"cuda-python can't be loaded ({error})") from error
    raise _UnableError("cuda-python absent", "cuda-python is not installed (pip install cuda-python)")


@functools.cache
def _say_once(line: str) -> None:
    """Logs a warning the first time: a bundle's two networks meet the same trouble."""
    _log.warning("%s", line)
