"""A quantized ONNX graph back in float, for comparison."""

from __future__ import annotations

import numpy as np
from onnx import NodeProto, TensorProto, helper

from facette.export.onnx_editing import Graph, attribute


def dequantize_onnx(int8_onnx: bytes) -> bytes:
    """The float graph of a quantized one: its rounded weights, but activations that nothing rounds.

    What it differs by from the float network is the weights' share of the error; the rest is the activations'.
    """
    graph = Graph(int8_onnx)
    for node in [node for node in graph.nodes if node.op_type == "DequantizeLinear"]:
        source = graph.producer(node.input[0])
        integers, step, zero = (graph.value(name) for name in node.input)
        assert step is not None
        assert zero is not None
        if integers is not None:
            axis = attribute(node, "axis", 1)
            shape = [-1 if other == axis and np.size(step) > 1 else 1 for other in range(integers.ndim)]
            value = (integers.astype(np.float64) - zero.reshape(shape)) * step.reshape(shape)
            graph.constant(node.output[0], value.astype(np.float32))
        elif source is not None and source.op_type == "QuantizeLinear":
            graph.reading(graph.readers(node.output[0]), node.output[0], source.input[0])
        elif source is not None and source.op_type == "Pad":
            _pad_floats(graph, source, node.output[0])
        else:
            graph.nodes += _as_floats(graph, node, zero, step)
        graph.nodes.remove(node)
    return graph.content()


def _pad_floats(graph: Graph, pad: NodeProto, output: str) -> None:
    """Undoes what `facette.export.onnx_int8` does to paddings."""
    rounding = graph.producer(pad.input[0])
    assert rounding is not None
    zero = graph.constant(f"{output}_zero", np.array(0, np.float32))
    pad.input[:] = [rounding.input[0], pad.input[1], zero, *pad.input[3:]]
    pad.output[0] = output


def _as_floats(graph: Graph, node: NodeProto, zero: np.ndarray, step: np.ndarray) -> list[NodeProto]:
    """The picture's bytes as floats, in operators that a float graph has."""
    output = node.output[0]
    shape = (1, -1, 1, 1) if step.size > 1 else ()
    mean = graph.constant(f"{output}_mean", zero.astype(np.float32).reshape(shape))
    scale = graph.constant(f"{output}_factor", step.reshape(shape))
    return [
        helper.make_node("Cast", [node.input[0]], [f"{output}_cast"], to=TensorProto.FLOAT),
        helper.make_node("Sub", [f"{output}_cast", mean], [f"{output}_centred"]),
        helper.make_node("Mul", [f"{output}_centred", scale], [output]),
    ]
