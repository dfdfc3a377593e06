"""An ONNX graph in half precision: what comes before the first layer and what goes out stay float32."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from facette_runtime.errors import FacetteError

LARGEST = float(np.finfo(np.float16).max)
SMALLEST = np.finfo(np.float16).smallest_subnormal

_FRONT = {"Cast", "Transpose", "Sub", "Add", "Mul", "Div"}
"""What a normalisation is made of."""

_FLOAT32_INPUTS = {"Resize": (1, 2), "Upsample": (1,)}
"""Inputs that ONNX wants in float32 whatever the data's type is: region and scales."""


def halve(model: ModelProto) -> ModelProto:
    """The same graph computing in float16 between its normalisation and its outputs.

    Means and scales stay exact: the normalisation is computed in float32 and its result rounded once. Weights are rounded to the
    nearest half.

    Args:
        model: float32 inside; one input.

    Returns:
        A new graph with the same input and outputs.

    Raises:
        FacetteError: a number is beyond half's range, or the graph holds something that has no half form.
    """
    halved = ModelProto()
    halved.CopyFrom(model)
    graph = halved.graph
    del graph.value_info[:]  # they tell the old types
    _name_constants(graph)
    front, normalised = front_nodes(graph)
    rest = [node for node in graph.node if not any(node is other for other in front)]
    _halve_constants(graph, rest)
    for node in rest:
        _halve_attributes(node)
    casts = [_cast_in(normalised, rest), *_cast_out(graph, rest)]
    del graph.node[:]
    graph.node.extend([*front, casts[0], *rest, *casts[1:]])
    try:
        onnx.checker.check_model(halved, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        reason = str(error).strip().splitlines()[0]
        raise FacetteError(f"the network has no half-precision form: {reason}") from error
    return halved


def front_nodes(graph: GraphProto) -> tuple[list[NodeProto], str]:
    """The nodes that turn pixels into the network's input, in order, and the name of the tensor that they end in.

    They are the chain of casts, transpositions and arithmetic with constants that starts at the graph's only input.
    """
    constants = {tensor.name for tensor in graph.initializer}
    name = next(value.name for value in graph.input if value.name not in constants)
    chain: list[NodeProto] = []
    while True:
        users = [node for node in graph.node if name in node.input]
        if len(users) != 1 or users[0].op_type not in _FRONT or not set(users[0].input) <= {name} | constants:
            return chain, name
        chain.append(users[0])
        name = users[0].output[0]


def _name_constants(graph: GraphProto) -> None:
    """Turns Constant nodes into initializers, so that there is one kind of constant to look at."""
    for node in [node for node in graph.node if node.op_type == "Constant" and node.attribute[0].name == "value"]:
        tensor = TensorProto()
        tensor.CopyFrom(node.attribute[0].t)
        tensor.name = node.output[0]
        graph.initializer.append(tensor)
        graph.node.remove(node)


def _halve_constants(graph: GraphProto, nodes: Sequence[NodeProto]) -> None:
    """Gives every node a half copy of its float32 constants, and drops those that nothing uses any more."""
    floats = {tensor.name: tensor for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT}
    copies: dict[str, TensorProto] = {}
    for node in nodes:
        for index, name in enumerate(node.input):
            if name in floats and index not in _FLOAT32_INPUTS.get(node.op_type, ()):
                if name not in copies:
                    copies[name] = _half(floats[name], _half_name(name))
                node.input[index] = _half_name(name)
    used = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
    left = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend([*left, *copies.values()])


def _halve_attributes(node: NodeProto) -> None:
    for attribute in node.attribute:
        if attribute.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS):
            raise FacetteError(f"the network has no half-precision form: {node.op_type} {node.name!r} holds a graph of its own")
        if attribute.type == AttributeProto.TENSOR and attribute.t.data_type == TensorProto.FLOAT:
            attribute.t.CopyFrom(_half(attribute.t, attribute.t.name))
        if node.op_type == "Cast" and attribute.name == "to" and attribute.i == TensorProto.FLOAT:
            attribute.i = TensorProto.FLOAT16


def _half(tensor: TensorProto, name: str) -> TensorProto:
    values = numpy_helper.to_array(tensor)
    reach = float(np.abs(values).max(initial=0))
    if reach > LARGEST:
        raise FacetteError(f"the network has no half-precision form: {tensor.name!r} reaches {reach:.3g}, and half {LARGEST:.0f}")
    halves = values.astype(np.float16)
    # A number that something is divided by (an epsilon, a quantizer's scale) must not vanish. Weights that do are no loss, but
    # no gain either as the smallest half, so all are treated alike.
    vanished = (halves == 0) & (values != 0)
    return numpy_helper.from_array(np.where(vanished, np.copysign(SMALLEST, values), halves).astype(np.float16), name)


def _cast_in(name: str, nodes: Sequence[NodeProto]) -> NodeProto:
    _rename_inputs(nodes, name, _half_name(name))
    return helper.make_node("Cast", [name], [_half_name(name)], name=f"to_half/{name}", to=TensorProto.FLOAT16)


def _cast_out(graph: GraphProto, nodes: Sequence[NodeProto]) -> list[NodeProto]:
    casts = []
    for value in graph.output:
        if value.type.tensor_type.elem_type != TensorProto.FLOAT:
            continue
        inside = _half_name(value.name)
        for node in nodes:
            node.output[:] = [inside if name == value.name else name for name in node.output]
        _rename_inputs(nodes, value.name, inside)
        casts.append(helper.make_node("Cast", [inside], [value.name], name=f"to_float/{value.name}", to=TensorProto.FLOAT))
    return casts


def _rename_inputs(nodes: Sequence[NodeProto], old: str, new: str) -> None:
    for node in nodes:
        node.input[:] = [new if name == old else name for name in node.input]


def _half_name(name: str) -> str:
    return f"{name}/half"
