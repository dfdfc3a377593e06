"""The uncompiled network behind the engine interface: what every exported network is compared with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch
from torch import nn

from facette.export.device_input import INPUT_NAME, DeviceNetwork
from facette.model import Model
from facette_runtime.engines.base import Engine, TensorSpec
from facette_runtime.manifest import EmbeddingDecoder


class TorchEngine:
    """A torch network fed with uint8 [n, h, w, 3], as a device would feed it."""

    name = "torch"

    def __init__(self, model: Model) -> None:
        self._network = DeviceNetwork(model).eval()
        self.inputs, self.outputs = _specs(model)

    def run(self, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """See `facette_runtime.engines.base.Engine.run`."""
        with torch.inference_mode():
            # A copy where it can't be written to, as torch wants it: crops from the cache can't.
            outputs = self._network(torch.from_numpy(np.require(tensors[INPUT_NAME], requirements="W")))
        return {name: value.numpy() for name, value in outputs.items()}


class UsersOnnxEngine:
    """A user's ONNX file as it came, with the normalisation in numpy."""

    name = "onnx"

    def __init__(self, model: Model) -> None:
        self._session = ort.InferenceSession(str(model.network), providers=["CPUExecutionProvider"])
        self._model = model
        self.inputs, self.outputs = _specs(model)

    def run(self, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """See `facette_runtime.engines.base.Engine.run`."""
        image = self._model.image
        pixels = tensors[INPUT_NAME].astype(np.float32)
        pixels = (pixels - np.array(image.mean, np.float32)) * np.array(image.scale, np.float32)
        names = list(self._model.onnx_outputs) or [value.name for value in self._session.get_outputs()]
        feed = {self._session.get_inputs()[0].name: np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))}
        return dict(zip(self._model.output_names, self._session.run(names, feed), strict=True))


def _specs(model: Model) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Inputs and outputs as a device's engine has them."""
    width, height = model.image.size_wh
    inputs = (TensorSpec(INPUT_NAME, (None, height, width, 3), "uint8"),)
    if isinstance(model.decoder, EmbeddingDecoder):
        return inputs, (TensorSpec("embedding", (None, model.decoder.size), "float32"),)
    shapes: dict[str, tuple[int | None, ...]] = {"boxes": (None, None, 4), "scores": (None, None), "landmarks": (None, None, 10)}
    return inputs, tuple(TensorSpec(name, shape, "float32") for name, shape in shapes.items())


def reference_engine(model: Model) -> Engine:
    """The network before any pass or export."""
    return TorchEngine(model) if isinstance(model.network, nn.Module) else UsersOnnxEngine(model)


def count_macs(model: Model) -> tuple[int | None, int | None]:
    """Multiply-accumulates of convolutions and linear layers for one picture, and the number of parameters.

    Returns:
        (macs, parameters); (None, None) for an ONNX file.
    """
    if isinstance(model.network, Path):
        return None, None
    total = 0

    def count(layer: nn.Module, _inputs: object, output: torch.Tensor) -> None:
        nonlocal total
        if isinstance(layer, nn.Conv2d):
            total += output[0].numel() * layer.weight[0].numel()
        elif isinstance(layer, nn.Linear):
            total += output[0].numel() * layer.in_features

    layers = [part for part in model.network.modules() if isinstance(part, (nn.Conv2d, nn.Linear))]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    with torch.inference_mode():
        model.network(model.image.blank)
    for hook in hooks:
        hook.remove()
    return total, sum(parameter.numel() for parameter in model.network.parameters())
