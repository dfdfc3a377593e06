"""LiteRT (TensorFlow Lite) on the CPU, through XNNPACK: `ai-edge-litert`, else `tflite-runtime` where that is installed."""

from __future__ import annotations

import contextlib
import importlib
import os
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from facette_runtime.engines.base import Engine, TensorSpec
from facette_runtime.engines.check import check_tensors
from facette_runtime.errors import EngineError


class LiteRTEngine:
    """One TFLite network; see `facette_runtime.engines.base.Engine`.

    Names are those of the network's first signature, or of its graph where it has no signature.
    """

    name = "litert"

    def __init__(self, interpreter: Any, model: bytes) -> None:
        self._interpreter = interpreter
        self._model = model  # the interpreter maps these bytes and does not own them
        inputs, outputs = _tensors_by_name(interpreter)
        self.inputs = tuple(_spec(name, details) for name, details in inputs.items())
        self.outputs = tuple(_spec(name, details) for name, details in outputs.items())
        self._input_index = {name: details["index"] for name, details in inputs.items()}
        self._output_index = {name: details["index"] for name, details in outputs.items()}
        self._shapes = {name: tuple(map(int, details["shape"])) for name, details in inputs.items()}
        interpreter.allocate_tensors()

    def run(self, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Runs the network once; see `Engine.run`. The outputs are copies."""
        check_tensors(self.name, self.inputs, tensors)
        self._resize(tensors)
        for name, tensor in tensors.items():
            self._interpreter.set_tensor(self._input_index[name], tensor)
        self._interpreter.invoke()
        return {name: self._interpreter.get_tensor(index) for name, index in self._output_index.items()}

    def _resize(self, tensors: Mapping[str, np.ndarray]) -> None:
        changed = [name for name, tensor in tensors.items() if tensor.shape != self._shapes[name]]
        for name in changed:
            self._interpreter.resize_tensor_input(self._input_index[name], tensors[name].shape)
            self._shapes[name] = tensors[name].shape
        if changed:
            self._interpreter.allocate_tensors()


def load(model: bytes, threads: int) -> Engine:
    """Loads TFLite bytes.

    Raises:
        EngineError: LiteRT refuses the network; the message is its own first line.
    """
    try:
        with warnings.catch_warnings(), _quiet():
            warnings.simplefilter("ignore")  # tflite-runtime says that it is deprecated, and is what some devices have
            return LiteRTEngine(_interpreter_class()(model_content=model, num_threads=threads), model)
    except (ValueError, RuntimeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise EngineError(f"litert: refuses this network: {reason}") from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps "INFO: Created TensorFlow Lite XNNPACK delegate" from the error stream, for which LiteRT has no switch.

    The C++ side writes past Python's streams, so the file descriptor itself is turned away. What goes wrong is an exception.
    """
    try:
        saved = os.dup(2)
    except OSError:  # a daemon without an error stream has nothing to keep quiet
        yield
        return
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)


def _interpreter_class() -> Any:
    try:
        return importlib.import_module("ai_edge_litert.interpreter").Interpreter
    except ModuleNotFoundError:
        return importlib.import_module("tflite_runtime.interpreter").Interpreter


def _tensors_by_name(interpreter: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    signatures = list(interpreter.get_signature_list())
    if signatures:
        runner = interpreter.get_signature_runner(signatures[0])
        return runner.get_input_details(), runner.get_output_details()
    inputs = {details["name"]: details for details in interpreter.get_input_details()}
    return inputs, {details["name"]: details for details in interpreter.get_output_details()}


def _spec(name: str, details: Any) -> TensorSpec:
    sizes = details.get("shape_signature", details["shape"])
    if len(sizes) != len(details["shape"]):  # a network without free sizes may leave its signature empty
        sizes = details["shape"]
    shape = tuple(None if size < 0 else int(size) for size in sizes)
    return TensorSpec(name, shape, np.dtype(details["dtype"]).name)
