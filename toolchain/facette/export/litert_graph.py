"""A model's float graph as TFLite, by litert-torch's converter, and what quantizing it needs to know of it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from facette.calibration import Ranges
from facette.export.device_input import INPUT_NAME, example_input
from facette.export.quiet import quiet
from facette.model import ImageSpec, Model
from facette_runtime.errors import FacetteError

SIGNATURE = "serving_default"
INSTALL = "pip install 'facette[litert]'"


class LiteRTNetwork(nn.Module):
    """Feeds a network from uint8 [1, h, w, 3] in its own channel order.

    The same as `facette.export.device_input.DeviceNetwork`, but normalised before the transposition, which the converter then
    takes away, and with means and scales repeated along a row where they differ: XNNPACK subtracts three numbers at a time from
    a picture many times more slowly than a row from each row.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, model: Model) -> None:
        super().__init__()
        assert isinstance(model.network, nn.Module)
        self.network = model.network
        self.output_names = model.output_names
        self.register_buffer("mean", _row(model.image.mean, model.image.size_wh[0]))
        self.register_buffer("scale", _row(model.image.scale, model.image.size_wh[0]))

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        numbers = (image.to(torch.float32) - self.mean) * self.scale
        outputs = self.network(numbers.permute(0, 3, 1, 2))
        outputs = (outputs,) if isinstance(outputs, Tensor) else outputs
        return dict(zip(self.output_names, outputs, strict=True))


def _row(values: tuple[float, ...], width: int) -> Tensor:
    return torch.tensor(values[0]) if len(set(values)) == 1 else torch.tensor(values).repeat(width).reshape(1, 1, width, 3)


@lru_cache(maxsize=2)  # calibration and every precision of a form start from the same graph, and converting takes ten seconds
def float_graph(model: Model) -> bytes:
    """The fp32 network with one picture a call, normalisation inside.

    Raises:
        FacetteError: litert-torch is not installed, or the network is an ONNX file.
    """
    if not isinstance(model.network, nn.Module):
        raise FacetteError("litert: an ONNX file can't be converted; give the torch module")
    try:
        with quiet():
            import litert_torch
    except ImportError:
        raise FacetteError(f"litert: the converter is not installed; {INSTALL}") from None
    example = {INPUT_NAME: example_input(model.image, 1)}
    with quiet(), tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        litert_torch.signature(SIGNATURE, LiteRTNetwork(model).eval(), sample_kwargs=example).convert().export(str(path))
        return path.read_bytes()


def quantize(content: bytes, recipe: Any, ranges: Ranges) -> bytes:
    """Runs ai-edge-quantizer.

    Args:
        content: a float graph.
        recipe: its RecipeManager.
        ranges: of every float activation, for a recipe that fixes them; else none.

    Raises:
        FacetteError: the quantizer refuses the graph; the message is its own first line.
    """
    from ai_edge_quantizer import quantizer

    statistics = {
        name: {"min": np.array([low], np.float32), "max": np.array([high], np.float32)} for name, (low, high) in ranges.items()
    }
    try:
        with quiet():
            engine = quantizer.Quantizer(bytearray(content), recipe.get_quantization_recipe())
            result = engine.quantize(statistics or None, enable_progress_bar=False, enable_progress_report=False)
    except (ValueError, RuntimeError, NotImplementedError) as error:
        raise FacetteError(f"litert: can't be quantized: {str(error).splitlines()[0]}") from error
    assert result.quantized_model is not None
    return bytes(result.quantized_model)


class Graph:
    """One TFLite graph, opened for reading and cutting."""

    def __init__(self, content: bytes) -> None:
        from ai_edge_litert import schema_py_generated as schema
        from ai_edge_litert.tools import flatbuffer_utils

        self._names = {code: name for name, code in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
        self._types = schema.TensorType
        self._utils = flatbuffer_utils
        self.model = flatbuffer_utils.read_model_from_bytearray(bytearray(content))
        self.graph = self.model.subgraphs[0]

    def kind(self, operator: Any) -> str:
        """An operator's name in TFLite's words, e.g. "CONV_2D"."""
        code = self.model.operatorCodes[operator.opcodeIndex]
        return self._names[max(code.builtinCode, code.deprecatedBuiltinCode)]

    def name(self, tensor: int) -> str:
        """A tensor's name."""
        return str(self.graph.tensors[tensor].name.decode())

    def is_constant(self, tensor: int) -> bool:
        """Whether a tensor's numbers are in the file."""
        data = self.model.buffers[self.graph.tensors[tensor].buffer].data
        return data is not None and len(data) > 0

    def is_float(self, tensor: int) -> bool:
        """Whether it holds float32 that is computed."""
        return self.graph.tensors[tensor].type == self._types.FLOAT32 and not self.is_constant(tensor)

    def is_integer(self, tensor: int) -> bool:
        """Whether it holds int8 that is computed."""
        return self.graph.tensors[tensor].type == self._types.INT8 and not self.is_constant(tensor)

    def floats(self, tensor: int) -> np.ndarray | None:
        """A float32 constant's numbers; None for anything else."""
        kept = self.graph.tensors[tensor]
        if kept.type != self._types.FLOAT32 or not self.is_constant(tensor):
            return None
        return np.frombuffer(bytes(self.model.buffers[kept.buffer].data), np.float32)

    def activations(self) -> dict[str, int]:
        """Index by name of every float tensor that depends on the input, the input included."""
        computed = [*self.graph.inputs, *(tensor for operator in self.graph.operators for tensor in operator.outputs)]
        return {self.name(tensor): int(tensor) for tensor in computed if self.is_float(tensor)}

    def tied(self) -> Iterator[tuple[str, ...]]:
        """Names of tensors that int8 operators need on one scale, operator by operator: a maximum's and a concatenation's."""
        activations = self.activations()
        for operator in self.graph.operators:
            if self.kind(operator) in ("MAXIMUM", "CONCATENATION"):
                names = (self.name(tensor) for tensor in (*operator.inputs, *operator.outputs))
                yield tuple(name for name in names if name in activations)

    def start_after(self, count: int) -> None:
        """Cuts off the first ``count`` operators, a chain that starts at the input: what the last of them gave is fed instead."""
        fed = int(self.graph.operators[count - 1].outputs[0])
        self.graph.operators = self.graph.operators[count:]
        self.graph.inputs = [fed]
        for signature in self.model.signatureDefs:
            signature.inputs[0].tensorIndex = fed

    def content(self) -> bytes:
        """The graph as a file."""
        return bytes(self._utils.convert_object_to_bytearray(self.model))


def fed_with_numbers(content: bytes, image: ImageSpec) -> tuple[bytes, tuple[float, float]]:
    """The float graph without what turns bytes into numbers, so that a quantizer can make bytes its input.

    Where all channels are normalised alike the normalisation goes too: it then is the input's quantization itself, and costs
    nothing (a mean of 127.5 is rounded to a whole level). Otherwise it stays, to be done in integers.

    Returns:
        The graph, which takes float32 [1, h, w, 3], and the range of what it takes.
    """
    graph = Graph(content)
    operators = graph.graph.operators
    assert graph.kind(operators[0]) == "CAST"
    wanted: Mapping[str, tuple[float, ...]] = {"SUB": image.mean, "MUL": image.scale}
    alike = all(len(set(values)) == 1 for values in wanted.values()) and 0 <= image.mean[0] <= 255 and image.scale[0] > 0
    if alike and all(_is_by(graph, operator, *step) for operator, step in zip(operators[1:3], wanted.items(), strict=True)):
        graph.start_after(3)
        return graph.content(), (-image.mean[0] * image.scale[0], (255 - image.mean[0]) * image.scale[0])
    graph.start_after(1)
    return graph.content(), (0.0, 255.0)


def _is_by(graph: Graph, operator: Any, kind: str, values: tuple[float, ...]) -> bool:
    constant = graph.floats(operator.inputs[1]) if graph.kind(operator) == kind else None
    return constant is not None and bool(np.allclose(constant, values[0]))
