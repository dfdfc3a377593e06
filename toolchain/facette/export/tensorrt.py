"""ONNX for TensorRT, which takes each tensor's precision from the graph: float32, float16, or explicit int8 within float16."""

from __future__ import annotations

import onnx
import onnx.version_converter
from onnx import helper

from facette.calibration import Calibration
from facette.export.artifact import Artifact
from facette.export.device_input import INPUT_NAME
from facette.export.onnx_editing import Graph, attribute
from facette.export.onnx_graph import float_onnx, layer_nodes
from facette.export.onnx_half import halve
from facette.export.onnx_int8 import quantize_onnx
from facette.export.onnx_ranges import observe_onnx
from facette.model import Model
from facette_runtime.errors import FacetteError
from facette_runtime.manifest import Precision

PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")

HALF_QUANTIZERS = 19
"""The opset since which QuantizeLinear takes float16."""


def export_tensorrt(model: Model, precision: Precision, calibration: Calibration | None = None) -> Artifact:
    """Writes a model for TensorRT's parser. An embedder's batch is free, a detector's is one.

    "fp16" computes in float16 between the normalisation and the outputs. "int8" does that too, with the dense convolutions and
    matrix products in symmetric int8. Grouped convolutions stay in float16: TensorRT has no int8 kernels for one channel a group
    and pads each group to four, which takes four times the memory traffic and, for facette-detect, eight times the weights.

    Args:
        calibration: needed for "int8".

    Raises:
        FacetteError: another precision, no calibration for int8, a graph that the exporter can't write, or one that has no half
            form.
    """
    if precision not in PRECISIONS:
        raise FacetteError(f"tensorrt: precision {precision} is not exported; known: {', '.join(PRECISIONS)}")
    graph = Graph(float_onnx(model))
    _name_nodes(graph)
    content = graph.content()
    if precision == "int8":
        if calibration is None:
            raise FacetteError("tensorrt: int8 needs calibration pictures, or ranges kept with the weights")
        grouped = frozenset(node.name for node in graph.nodes if node.op_type == "Conv" and attribute(node, "group", 1) > 1)
        kept = grouped | layer_nodes(content, calibration.keep_float)
        content = quantize_onnx(content, observe_onnx(model, calibration), flavour="tensorrt", keep_float=kept)
    return Artifact("tensorrt", precision, model.form, to_tensorrt(content, precision))


def to_tensorrt(content: bytes, precision: Precision) -> bytes:
    """A float graph, or one that was quantized for TensorRT, with bytes read as TensorRT reads them and in ``precision``'s types.

    Raises:
        FacetteError: the graph has no half form.
    """
    graph = Graph(content)
    _convert_before_transposing(graph)
    if precision == "int8":
        _add_biases_apart(graph)
    proto = onnx.load_from_string(graph.content())
    if precision == "int8":
        proto = onnx.version_converter.convert_version(proto, HALF_QUANTIZERS)
    if precision != "fp32":
        proto = halve(proto)
    written: bytes = proto.SerializeToString()
    return written


def _name_nodes(graph: Graph) -> None:
    """Gives names to nodes without, as in some users' files: what stays in float, and what TensorRT refuses, is told by name."""
    for index, node in enumerate(graph.nodes):
        node.name = node.name or f"{node.op_type}_{index}"


def _convert_before_transposing(graph: Graph) -> None:
    """Swaps the first two nodes: TensorRT takes bytes as an input, but only a cast may read them."""
    transpose = graph.only_reader(INPUT_NAME)
    cast = None if transpose is None else graph.only_reader(transpose.output[0])
    if transpose is None or cast is None or (transpose.op_type, cast.op_type) != ("Transpose", "Cast"):
        return
    between, floats = transpose.output[0], cast.output[0]
    cast.input[0], cast.output[0] = INPUT_NAME, between
    transpose.input[0], transpose.output[0] = between, floats


def _add_biases_apart(graph: Graph) -> None:
    """Writes the bias of each quantized operator as an addition behind it.

    ONNX Runtime, which computes this file where there is no GPU, rounds such a bias to integers in steps that it finds in the
    graph's own type (1.31): in half the product of two steps has next to no digits left, and facette-embed's embeddings fell to a
    cosine of 0.89. TensorRT makes the same plan of both.
    """
    for node in list(graph.nodes):
        if node.op_type not in ("Conv", "Gemm") or len(node.input) < 3 or node.input[1] in graph.constants:
            continue
        bias = graph.value(node.input[2])
        if bias is None:
            continue
        sums, products = node.output[0], f"{node.output[0]}/without_bias"
        planes = bias.reshape(1, -1, *[1] * 2) if node.op_type == "Conv" else bias
        constant = graph.constant(f"{node.input[2]}/apart", planes)
        del node.input[2]
        node.output[0] = products
        graph.nodes.append(helper.make_node("Add", [products, constant], [sums], name=f"{node.name}/bias"))
