"""Static int8 for ONNX: QuantizeLinear and DequantizeLinear written around what is to compute in integers (Jacob et al., 2018).

ONNX Runtime fuses them with the operators between into integer kernels: activations are uint8 with a zero point, since signed ones
have no fast kernels on x86. TensorRT takes symmetric int8 only and no integer biases. Weights are symmetric int8 for both, with one
scale for each output channel.

On x86 processors without VNNI, ONNX Runtime's sums of two products may saturate; there the gate on accuracy has to decide.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import NodeProto, helper

from facette.calibration import Ranges
from facette.export.onnx_editing import Graph, attribute
from facette.export.onnx_front import feed_bytes
from facette.export.onnx_plan import Flavour, make_plan
from facette_runtime.errors import FacetteError

LARGEST = 127
"""Of symmetric int8; -128 is left unused."""


@dataclass(frozen=True, slots=True)
class _Scale:
    """How a tensor's numbers become integers: round(x / step) + zero."""

    step: float
    zero: int


def quantize_onnx(
    float_onnx: bytes, ranges: Ranges, *, flavour: Flavour = "onnxruntime", keep_float: frozenset[str] = frozenset()
) -> bytes:
    """Writes a float graph with explicit quantization.

    Args:
        float_onnx: as `facette.export.onnx_graph.float_onnx` gives it.
        ranges: of its tensors; see `facette.export.onnx_ranges.observe_onnx`.
        flavour: which engine's rules it follows.
        keep_float: names of the graph's nodes that stay in float.

    Raises:
        FacetteError: a node or a range that the graph needs is missing.
    """
    graph = Graph(float_onnx)
    unknown = sorted(keep_float - {node.name for node in graph.nodes})
    if unknown:
        raise FacetteError(f"onnx: no node {unknown[0]!r} to keep in float; known: {', '.join(node.name for node in graph.nodes)}")
    picture = feed_bytes(graph, keep_float) if flavour == "onnxruntime" else None
    plan = make_plan(graph, flavour, keep_float)
    scales = _scales([name for name in plan.tensors if name != picture], plan.shared, ranges, flavour)
    if picture is not None:
        scales[picture] = _Scale(1.0, 0)  # only the step is asked for, by the bias
    for node in plan.weighted:
        _quantize_weights(graph, node, scales[node.input[0]], flavour)
    for name in plan.tensors:
        if name != picture:
            _quantize_activation(graph, name, scales[name], flavour)
    _pad_integers(graph)
    return graph.content()


def _scales(names: list[str], shared: dict[str, str], ranges: Ranges, flavour: Flavour) -> dict[str, _Scale]:
    spans: dict[str, tuple[float, float]] = {}
    for name in names:
        if name not in ranges:
            raise FacetteError(
                f"onnx: no range for tensor {name!r}: the ranges were taken from another network or another graph form"
            )
        low, high = spans.get(shared[name], (0.0, 0.0))
        spans[shared[name]] = min(low, ranges[name][0]), max(high, ranges[name][1])
    return {name: _scale_of(*spans[shared[name]], flavour) for name in names}


def _scale_of(low: float, high: float, flavour: Flavour) -> _Scale:
    if flavour == "tensorrt":
        return _Scale(max(-low, high) / LARGEST or 1.0, 0)
    step = float(np.float32((high - low) / 255)) or 1.0
    return _Scale(step, int(np.clip(np.round(-low / step), 0, 255)))


def _quantize_activation(graph: Graph, name: str, scale: _Scale, flavour: Flavour) -> None:
    """Everything reads the rounded numbers, but a graph's output stays as it is."""
    readers = graph.readers(name)
    step = graph.constant(f"{name}_scale", np.array(scale.step, np.float32))
    kind = np.uint8 if flavour == "onnxruntime" else np.int8
    zero = graph.constant(f"{name}_zero_point", np.array(scale.zero, kind))
    integers, floats = f"{name}_quantized", f"{name}_dequantized"
    graph.nodes.append(helper.make_node("QuantizeLinear", [name, step, zero], [integers], name=f"quantize_{name}"))
    graph.nodes.append(helper.make_node("DequantizeLinear", [integers, step, zero], [floats], name=f"dequantize_{name}"))
    graph.reading(readers, name, floats)


def _pad_integers(graph: Graph) -> None:
    """Moves paddings with zeros between the rounding before them and the one behind, which ONNX Runtime does not do by itself."""
    for node in [node for node in graph.nodes if node.op_type == "Pad"]:
        source, reader = graph.producer(node.input[0]), graph.only_reader(node.output[0])
        value = graph.value(node.input[2]) if len(node.input) > 2 and node.input[2] else np.zeros(1)
        if source is None or reader is None or (source.op_type, reader.op_type) != ("DequantizeLinear", "QuantizeLinear"):
            continue
        if value is None or np.any(value) or any(item.name == "mode" and item.s != b"constant" for item in node.attribute):
            continue
        # Both sides have one scale: `facette.export.onnx_plan` sees to it.
        node.input[:] = [source.input[0], node.input[1], reader.input[2], *node.input[3:]]
        node.output[0] = reader.output[0]
        graph.nodes.remove(reader)


def _quantize_weights(graph: Graph, node: NodeProto, given: _Scale, flavour: Flavour) -> None:
    weight = graph.value(node.input[1])
    assert weight is not None
    bias = graph.value(node.input[2]) if len(node.input) > 2 else None
    axis = weight_axis(node, weight.ndim)
    steps = weight_steps(weight, axis)
    if flavour == "onnxruntime" and bias is not None:
        # A bias must fit into int32 in steps of input × weight: channels with next to no weights get a coarser step.
        steps = np.maximum(steps, np.abs(bias.ravel()) / (given.step * 2.0**30)).astype(np.float32)
    node.input[1] = write_weights(graph, node.input[1], weight, steps, axis)
    if flavour == "onnxruntime" and bias is not None:
        products = steps.astype(np.float64) * given.step
        rounded = np.round(bias / products).astype(np.int32)
        node.input[2] = _dequantized(graph, f"{node.name}_bias", rounded, products.astype(np.float32), 0)


def weight_axis(node: NodeProto, dimensions: int) -> int:
    """The axis of a weighted node's output channels."""
    if node.op_type == "Conv" or (node.op_type == "Gemm" and attribute(node, "transB", 0)):
        return 0
    return dimensions - 1


def weight_steps(weight: np.ndarray, axis: int) -> np.ndarray:
    """The largest weight of each output channel over 127: float32 [channels]."""
    largest = np.abs(weight).max(tuple(other for other in range(weight.ndim) if other != axis))
    return np.where(largest > 0, largest / LARGEST, 1.0).astype(np.float32)


def write_weights(graph: Graph, name: str, weight: np.ndarray, steps: np.ndarray, axis: int) -> str:
    """Stores weights as int8 and gives the name of what they are as floats again."""
    shape = [-1 if other == axis else 1 for other in range(weight.ndim)]
    rounded = np.clip(np.round(weight / steps.reshape(shape)), -LARGEST, LARGEST).astype(np.int8)
    return _dequantized(graph, name, rounded, steps, axis)


def _dequantized(graph: Graph, name: str, integers: np.ndarray, steps: np.ndarray, axis: int) -> str:
    floats = f"{name}_dequantized"
    if graph.producer(floats) is None:  # weights may be shared
        parts = [
            graph.constant(f"{name}_quantized", integers),
            graph.constant(f"{name}_scale", steps),
            graph.constant(f"{name}_zero_point", np.zeros(len(steps), integers.dtype)),
        ]
        graph.nodes.append(helper.make_node("DequantizeLinear", parts, [floats], name=f"dequantize_{name}", axis=axis))
    return floats
