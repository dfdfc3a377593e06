"""Engines by name. Each lives in a module of its own, which is imported only when a bundle asks for it."""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass

from facette_runtime.engines.base import Engine
from facette_runtime.errors import EngineError


@dataclass(frozen=True, slots=True)
class EngineKind:
    """Where an engine's code lives and what it needs.

    Attributes:
        module: has ``load(model, threads) -> Engine``.
        needs: importable modules, any one of which will do; empty when numpy suffices.
        install: the command that mends a missing one.
    """

    module: str
    needs: tuple[str, ...]
    install: str


ENGINES = {
    "onnxruntime": EngineKind(
        "facette_runtime.engines.onnxruntime", ("onnxruntime",), "pip install 'facette-runtime[onnxruntime]'"
    ),
    "litert": EngineKind(
        "facette_runtime.engines.litert",
        ("ai_edge_litert.interpreter", "tflite_runtime.interpreter"),
        "pip install 'facette-runtime[litert]'",
    ),
    "openvino": EngineKind("facette_runtime.engines.openvino", ("openvino",), "pip install 'facette-runtime[openvino]'"),
    "tensorrt": EngineKind(
        "facette_runtime.engines.tensorrt",
        ("tensorrt", "onnxruntime"),  # without TensorRT it hands the network to ONNX Runtime and says so
        "on a Jetson, TensorRT comes with JetPack; elsewhere: pip install 'facette-runtime[tensorrt]'",
    ),
    "null": EngineKind("facette_runtime.engines.null", (), ""),
}


def installed_engines() -> tuple[str, ...]:
    """Names of the engines that can run here, found without importing them."""
    return tuple(name for name, kind in ENGINES.items() if _is_installed(kind))


def open_engine(name: str, model: bytes, threads: int) -> Engine:
    """Loads a network.

    Args:
        name: a key of `ENGINES`.
        model: the network in the engine's own file format.
        threads: intra-op threads, at least 1.

    Raises:
        EngineError: no such engine, not installed (the message says how to install it), or it refuses the network.
    """
    kind = ENGINES.get(name)
    if kind is None:
        raise EngineError(f"unknown engine {name!r}; known engines: {', '.join(ENGINES)}")
    if threads < 1:
        raise EngineError(f"threads must be at least 1, but got {threads}")
    if not _is_installed(kind):
        installed = ", ".join(installed_engines())
        raise EngineError(f"engine {name!r} is not installed (installed: {installed}); to install it: {kind.install}")
    engine: Engine = importlib.import_module(kind.module).load(model, threads)
    return engine


def _is_installed(kind: EngineKind) -> bool:
    return not kind.needs or any(_can_import(module) for module in kind.needs)


def _can_import(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # the parent package is missing
        return False
