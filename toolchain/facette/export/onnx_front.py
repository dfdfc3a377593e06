"""The front end in fewer operators: from the picture's bytes to the first convolution.

An exported graph starts with bytes → float → (x - mean) · scale → convolution. Whole means are zero points of bytes: one
DequantizeLinear then gives the same floats as the three operators do, in one pass over the picture.

Quantized as it stands, the picture would be turned into floats, normalised and turned into bytes again. In integers, the bytes are
read with the zero point nearest to the means, the scale goes into the weights, and what the means differ from the zero point goes
into the bias: no float picture, nothing to round.

A convolution that pads is given zeros, which stand for the mean. Behind the change they stand for the zero point, so this is done
only where the two are no more than half a level apart: less than the first activation's rounding. Elsewhere whole means can still
be each channel's zero point.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import NodeProto, TensorProto, helper

from facette.export.device_input import INPUT_NAME
from facette.export.onnx_editing import Graph, attribute

BYTES = "bytes"
"""The name of the picture's planes as bytes."""
HALF_LEVEL = 0.5


@dataclass(frozen=True)
class _Front:
    """What lies between the input and the first convolution.

    Attributes:
        transpose: gives the planes as bytes.
        arithmetic: the cast, the subtraction and the product, the latter two only where they do something.
        convolution: reads the last one's output.
        mean, scale: float64 [3].
    """

    transpose: NodeProto
    arithmetic: list[NodeProto]
    convolution: NodeProto
    mean: np.ndarray
    scale: np.ndarray


def fuse_normalisation(content: bytes) -> bytes:
    """The cast, the subtraction and the product as one DequantizeLinear, which gives the same floats, where the means are whole.

    Args:
        content: a float ONNX graph; comes back as it is where another front end or other means stand in it.
    """
    graph = Graph(content)
    front = _find(graph)
    if front is None or len(front.arithmetic) == 1 or not _whole_means(front):
        return content
    _dequantize(graph, front, front.scale, front.mean)
    return graph.content()


def feed_bytes(graph: Graph, keep_float: frozenset[str]) -> str | None:
    """Rewrites the front end as bytes → DequantizeLinear → convolution.

    Args:
        graph: a float graph, changed in place.
        keep_float: names of nodes that must stay in float; with the first convolution among them nothing is changed.

    Returns:
        The name of the dequantized picture, of step 1; None where it is a tensor like others, to be rounded by its range.
    """
    front = _find(graph)
    if front is None or front.convolution.name in keep_float:
        return None
    zero_point = int(np.clip(np.round(front.mean.mean()), 0, 255))
    offset = zero_point - front.mean
    if _pads(front.convolution) and np.abs(offset).max() > HALF_LEVEL:
        if _whole_means(front):
            _dequantize(graph, front, front.scale, front.mean)
        return None
    _change_weights(graph, front, offset)
    return _dequantize(graph, front, np.array(1), np.array(zero_point))


def _whole_means(front: _Front) -> bool:
    return np.array_equal(front.mean, np.clip(np.round(front.mean), 0, 255))


def _dequantize(graph: Graph, front: _Front, step: np.ndarray, zero: np.ndarray) -> str:
    """Puts one DequantizeLinear, of all channels or of each, in the arithmetic's place; gives the name of what comes out."""
    floats = str(front.arithmetic[-1].output[0])
    front.transpose.output[0] = BYTES
    graph.nodes = [node for node in graph.nodes if not any(node is old for old in front.arithmetic)]
    given = [
        BYTES,
        graph.constant("bytes_scale", step.astype(np.float32)),
        graph.constant("bytes_zero_point", zero.astype(np.uint8)),
    ]
    graph.nodes.append(helper.make_node("DequantizeLinear", given, [floats], name="dequantize_bytes", axis=1))
    return floats


def _change_weights(graph: Graph, front: _Front, offset: np.ndarray) -> None:
    """Makes the first convolution take (byte - zero point) where it took (byte - mean) * scale."""
    layer = front.convolution
    weight = graph.value(layer.input[1])
    assert weight is not None
    bias = graph.value(layer.input[2]) if len(layer.input) > 2 else np.zeros(len(weight), np.float32)
    assert bias is not None
    scaled = weight.astype(np.float64) * front.scale[None, :, None, None]
    moved = bias + (scaled * offset[None, :, None, None]).sum((1, 2, 3))
    names = [
        graph.constant(f"{layer.name}_{part}_of_bytes", value.astype(np.float32))
        for part, value in (("weight", scaled), ("bias", moved))
    ]
    layer.input[:] = [layer.input[0], *names]


def _pads(convolution: NodeProto) -> bool:
    for item in convolution.attribute:
        if item.name == "pads" and any(item.ints):
            return True
        if item.name == "auto_pad" and item.s not in (b"NOTSET", b"VALID"):
            return True
    return False


def _find(graph: Graph) -> _Front | None:
    transpose = graph.only_reader(INPUT_NAME)
    cast = None if transpose is None else graph.only_reader(transpose.output[0])
    if transpose is None or cast is None or (transpose.op_type, cast.op_type) != ("Transpose", "Cast"):
        return None
    if attribute(cast, "to", 0) != TensorProto.FLOAT:
        return None
    arithmetic, numbers = [cast], {"Sub": np.zeros(3), "Mul": np.ones(3)}
    node = graph.only_reader(cast.output[0])
    for kind in numbers:
        if node is None or node.op_type != kind:
            continue
        value = graph.value(node.input[1])
        if value is None or value.size not in (1, 3):
            return None
        numbers[kind] = np.broadcast_to(value.astype(np.float64).ravel(), 3)
        arithmetic.append(node)
        node = graph.only_reader(node.output[0])
    weight = None if node is None or node.op_type != "Conv" else graph.value(node.input[1])
    if node is None or weight is None or weight.shape[1] != 3 or attribute(node, "group", 1) != 1:
        return None
    return _Front(transpose, arithmetic, node, numbers["Sub"], numbers["Mul"])
