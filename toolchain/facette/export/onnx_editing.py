"""Looking around in an ONNX graph and changing it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, numpy_helper


class Graph:
    """A model's main graph with the questions that a rewrite asks.

    Args:
        content: an ONNX file's bytes; the graph is a copy.
    """

    def __init__(self, content: bytes) -> None:
        self.proto: ModelProto = onnx.load_from_string(content)
        self.nodes: list[NodeProto] = list(self.proto.graph.node)
        self.constants = {tensor.name: tensor for tensor in self.proto.graph.initializer}
        self.outputs = {value.name for value in self.proto.graph.output}
        self.inputs = {value.name for value in self.proto.graph.input} - set(self.constants)

    def producer(self, tensor: str) -> NodeProto | None:
        """The node that gives a tensor; None for inputs and constants."""
        return next((node for node in self.nodes if tensor in node.output), None)

    def readers(self, tensor: str) -> list[NodeProto]:
        """The nodes that read a tensor."""
        return [node for node in self.nodes if tensor in node.input]

    def only_reader(self, tensor: str) -> NodeProto | None:
        """The node that alone reads a tensor; None where there are more, or where the tensor is an output."""
        readers = self.readers(tensor)
        return readers[0] if len(readers) == 1 and tensor not in self.outputs else None

    def value(self, tensor: str) -> np.ndarray | None:
        """A constant's numbers; None for what is computed."""
        return numpy_helper.to_array(self.constants[tensor]) if tensor in self.constants else None

    def constant(self, name: str, value: np.ndarray) -> str:
        """Puts a constant in and gives its name."""
        self.constants[name] = numpy_helper.from_array(np.array(value, order="C"), name)
        return name

    def reading(self, nodes: Sequence[NodeProto], old: str, new: str) -> None:
        """Makes ``nodes`` read ``new`` where they read ``old``."""
        for node in nodes:
            for index, name in enumerate(node.input):
                if name == old:
                    node.input[index] = new

    def content(self) -> bytes:
        """The file's bytes, with the nodes in a runnable order and without what nothing reads.

        Raises:
            onnx.checker.ValidationError: the rewrite broke the graph.
        """
        graph = self.proto.graph
        ordered = _ordered(self.nodes, self.outputs)
        used = {name for node in ordered for name in node.input} | self.outputs
        del graph.node[:]
        graph.node.extend(ordered)
        del graph.initializer[:]
        graph.initializer.extend(tensor for name, tensor in self.constants.items() if name in used)
        del graph.value_info[:]
        onnx.checker.check_model(self.proto)
        content: bytes = self.proto.SerializeToString()
        return content


def attribute(node: NodeProto, name: str, default: int) -> int:
    """A node's whole-number attribute."""
    return next((int(item.i) for item in node.attribute if item.name == name), default)


def _ordered(nodes: Sequence[NodeProto], outputs: set[str]) -> list[NodeProto]:
    """The nodes that the outputs need, each behind what it reads."""
    giver = {name: index for index, node in enumerate(nodes) for name in node.output}
    done: set[int] = set()
    ordered: list[NodeProto] = []
    for output in sorted(outputs):
        pending = [giver[output]] if output in giver else []
        while pending:
            index = pending[-1]
            missing = [giver[name] for name in nodes[index].input if name in giver and giver[name] not in done]
            if missing:
                pending += missing
                continue
            pending.pop()
            if index not in done:
                done.add(index)
                ordered.append(nodes[index])
    return ordered
