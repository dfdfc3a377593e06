"""Which tensors of a float ONNX graph become integers, and which of them must share a scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from onnx import NodeProto

from facette.export.onnx_editing import Graph

Flavour = Literal["onnxruntime", "tensorrt"]
"""ONNX Runtime wants both sides of an operator in integers, TensorRT the inputs of what multiplies."""

WEIGHTED = ("Conv", "Gemm", "MatMul")
JOINING = ("Add", "Concat", "AveragePool", "GlobalAveragePool")
"""Have integer kernels of their own; each tensor has its own scale."""
MOVING = ("MaxPool", "Transpose", "Reshape", "Flatten", "Resize", "Slice", "Squeeze", "Unsqueeze", "Pad", "Identity")
"""Only move numbers: what comes out has the scale of what goes in."""


@dataclass(frozen=True)
class Plan:
    """What is to be quantized.

    Attributes:
        weighted: nodes whose constant weights become int8.
        tensors: activations that become integers, in the graph's order.
        shared: the tensor whose scale each of ``tensors`` has; most have their own.
    """

    weighted: tuple[NodeProto, ...]
    tensors: tuple[str, ...]
    shared: dict[str, str]


def make_plan(graph: Graph, flavour: Flavour, keep_float: frozenset[str]) -> Plan:
    """Everything on the way from the picture to the last weighted operator becomes integer; what only reads results stays float.

    Args:
        keep_float: names of nodes that stay in float.
    """
    weighted = tuple(node for node in graph.nodes if is_weighted(graph, node) and node.name not in keep_float)
    tensors = dict.fromkeys(node.input[0] for node in weighted)
    shared: dict[str, str] = {}
    if flavour == "onnxruntime":
        tensors |= dict.fromkeys(
            _result(graph, node) for node in weighted if node.op_type == "Conv" or _is_read(graph, node, tensors)
        )
        _spread(graph, tensors, shared, keep_float)
    given = [name for node in graph.nodes for name in node.output if name in tensors]
    ordered = [name for name in tensors if name not in given] + given
    return Plan(weighted, tuple(ordered), {name: _root(name, shared) for name in ordered})


def _spread(graph: Graph, tensors: dict[str, None], shared: dict[str, str], keep_float: frozenset[str]) -> None:
    """Adds what lies between weighted operators, from back to front, to ``tensors`` and ``shared``."""
    for node in reversed(graph.nodes):
        if node.name in keep_float or node.op_type not in JOINING + MOVING or _result(graph, node) not in tensors:
            continue
        given = [name for name in node.input if name and name not in graph.constants]
        if node.op_type in MOVING:
            tensors[given[0]] = None
            shared[_root(node.output[0], shared)] = _root(given[0], shared)
        elif len(given) == len(node.input):
            tensors |= dict.fromkeys(given)


def is_weighted(graph: Graph, node: NodeProto) -> bool:
    """Whether a node multiplies an activation by constant weights."""
    return node.op_type in WEIGHTED and node.input[1] in graph.constants and node.input[0] not in graph.constants


def _result(graph: Graph, node: NodeProto) -> str:
    """A node's output, behind the ReLU that engines fuse with it."""
    reader = graph.only_reader(node.output[0])
    return str(reader.output[0] if reader is not None and reader.op_type == "Relu" else node.output[0])


def _is_read(graph: Graph, node: NodeProto, tensors: dict[str, None]) -> bool:
    return _result(graph, node) in tensors


def _root(name: str, shared: dict[str, str]) -> str:
    while shared.get(name, name) != name:
        name = shared[name]
    return name
