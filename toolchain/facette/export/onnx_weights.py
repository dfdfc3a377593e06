"""ONNX graphs with small weights and float activations, and int8 that finds its ranges while it runs.

ONNX Runtime's CPU kernels have no arithmetic in half floats, and none with int8 weights and float activations. Weights that are
stored so are turned into fp32 when the network is loaded: the file is smaller, memory and time are those of fp32.
"""

from __future__ import annotations

import numpy as np
from onnx import NodeProto, TensorProto, helper

from facette.export.onnx_editing import Graph, attribute
from facette.export.onnx_int8 import LARGEST, weight_axis, weight_steps
from facette.export.onnx_plan import is_weighted
from facette_runtime.errors import FacetteError

DIMENSIONS = 2
"""Weights with fewer are biases and the like, which stay as they are."""


def halve_weights(float_onnx: bytes) -> bytes:
    """Stores weights as half floats.

    Raises:
        FacetteError: a weight is beyond half's range.
    """
    graph = Graph(float_onnx)
    for name in _weights(graph):
        weight = graph.value(name)
        assert weight is not None
        if np.abs(weight).max() > np.finfo(np.float16).max:
            raise FacetteError(f"onnx: {name} has weights that half floats can't hold")
        readers = graph.readers(name)
        half = graph.constant(f"{name}_half", weight.astype(np.float16))
        graph.nodes.append(helper.make_node("Cast", [half], [f"{name}_float"], name=f"cast_{name}", to=TensorProto.FLOAT))
        graph.reading(readers, name, f"{name}_float")
    return graph.content()


def quantize_weights(float_onnx: bytes) -> bytes:
    """Stores weights as int8, one scale for each output channel.

    Cast and Mul say it, not DequantizeLinear: ONNX Runtime computes those once when it loads the network, the latter on every run.
    """
    graph = Graph(float_onnx)
    for node in [node for node in graph.nodes if is_weighted(graph, node)]:
        name = node.input[1]
        integers, steps = _rounded(graph, node)
        graph.nodes += [
            helper.make_node(
                "Cast", [integers], [f"{node.name}_weight_cast"], name=f"cast_{name}_{node.name}", to=TensorProto.FLOAT
            ),
            helper.make_node("Mul", [f"{node.name}_weight_cast", steps], [f"{node.name}_weight"], name=f"scale_{name}_{node.name}"),
        ]
        node.input[1] = f"{node.name}_weight"
    return graph.content()


def quantize_dynamically(float_onnx: bytes) -> bytes:
    """int8 weights, and activations whose range is looked up in each tensor before it is rounded to uint8.

    Convolutions in groups stay in float: ONNX Runtime's dynamic kernel goes through them channel by channel.
    """
    graph = Graph(float_onnx)
    rounded: dict[str, tuple[str, str, str]] = {}
    for node in [node for node in graph.nodes if is_weighted(graph, node) and attribute(node, "group", 1) == 1]:
        source = node.input[0]
        if source not in rounded:
            rounded[source] = f"{source}_dynamic", f"{source}_dynamic_scale", f"{source}_dynamic_zero_point"
            graph.nodes.append(helper.make_node("DynamicQuantizeLinear", [source], rounded[source], name=f"quantize_{source}"))
        graph.nodes += _integer_operator(graph, node, rounded[source])
        graph.nodes.remove(node)
    return graph.content()


def _weights(graph: Graph) -> list[str]:
    """Float constants that weighted operators, or anything else, read as matrices or larger."""
    return [
        name
        for name, tensor in graph.constants.items()
        if tensor.data_type == TensorProto.FLOAT and sum(size > 1 for size in tensor.dims) >= DIMENSIONS
    ]


def _rounded(graph: Graph, node: NodeProto) -> tuple[str, str]:
    """The names of a node's weights as int8, and of their steps in a shape that broadcasts with them."""
    weight = graph.value(node.input[1])
    assert weight is not None
    axis = weight_axis(node, weight.ndim)
    shape = [-1 if other == axis else 1 for other in range(weight.ndim)]
    steps = weight_steps(weight, axis).reshape(shape)
    integers = np.clip(np.round(weight / steps), -LARGEST, LARGEST).astype(np.int8)
    return graph.constant(f"{node.name}_integers", integers), graph.constant(f"{node.name}_steps", steps)


def _integer_operator(graph: Graph, node: NodeProto, source: tuple[str, str, str]) -> list[NodeProto]:
    """A convolution or matrix product in integers, and what makes floats of its sums."""
    name, output = node.name, node.output[0]
    _rounded(graph, node)
    integers, steps = graph.value(f"{name}_integers"), graph.value(f"{name}_steps")
    assert integers is not None
    assert steps is not None
    if node.op_type == "Gemm" and attribute(node, "transB", 0):
        integers, steps = integers.T, steps.T
    is_convolution = node.op_type == "Conv"
    channels = (1, -1, 1, 1) if is_convolution else (-1,)
    graph.constant(f"{name}_integers", integers)
    graph.constant(f"{name}_steps", steps.reshape(channels))
    zero = graph.constant("int8_zero_point", np.array(0, np.int8))
    kind = "ConvInteger" if is_convolution else "MatMulInteger"
    product = helper.make_node(kind, [source[0], f"{name}_integers", source[2], zero], [f"{name}_sums"], name=f"{name}_integer")
    if is_convolution:
        product.attribute.extend(node.attribute)
    bias = graph.value(node.input[2]) if len(node.input) > 2 else None
    scaled = output if bias is None else f"{name}_scaled"
    nodes = [
        product,
        helper.make_node("Cast", [f"{name}_sums"], [f"{name}_floats"], name=f"{name}_cast", to=TensorProto.FLOAT),
        helper.make_node("Mul", [f"{name}_steps", source[1]], [f"{name}_step"], name=f"{name}_step"),
        helper.make_node("Mul", [f"{name}_floats", f"{name}_step"], [scaled], name=f"{name}_scale"),
    ]
    if bias is not None:
        added = graph.constant(f"{name}_bias", bias.reshape(channels))
        nodes.append(helper.make_node("Add", [scaled, added], [output], name=f"{name}_add_bias"))
    return nodes
