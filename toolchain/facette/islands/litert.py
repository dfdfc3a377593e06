"""Float islands of a TFLite network, and what each costs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from facette.export.litert_graph import Graph
from facette.export.quiet import quiet
from facette.islands.island import FloatIsland
from facette.measure import interleaved

SECONDS = 1.0
"""Spent on timing the islands beside the whole network."""


def litert_islands(content: bytes) -> tuple[FloatIsland, ...]:
    """Every operator that reads or writes float activations in a network that otherwise computes in integers.

    An operator's share is its time alone over the whole network's time, one thread, on this machine.

    Args:
        content: a TFLite file.

    Returns:
        The dearest first; nothing for a network without integer activations, which is float as a whole. The last conversion, to
        the float32 output, is always among them.
    """
    graph = Graph(content)
    operators = graph.graph.operators
    if not any(graph.is_integer(tensor) for operator in operators for tensor in operator.outputs):
        return ()
    found = [index for index, operator in enumerate(operators) if _touches_float(graph, operator)]
    if not found:
        return ()
    calls = {str(index): _run_alone(content, index) for index in found}
    latencies = interleaved({**calls, "whole": _run(content)}, seconds=SECONDS)
    islands = [
        FloatIsland(
            operator=graph.kind(operators[index]),
            name=graph.name(operators[index].outputs[0]),
            engine="litert",
            elements=sum(math.prod(map(int, graph.graph.tensors[tensor].shape)) for tensor in operators[index].outputs),
            share=min(1.0, latencies[str(index)].median / latencies["whole"].median),
        )
        for index in found
    ]
    return tuple(sorted(islands, key=lambda island: -(island.share or 0.0)))


def _touches_float(graph: Graph, operator: Any) -> bool:
    return any(graph.is_float(tensor) for tensor in (*operator.inputs, *operator.outputs) if tensor >= 0)


def _run_alone(content: bytes, index: int) -> Callable[[], object]:
    """A call that runs one operator, in a network made of nothing else."""
    graph = Graph(content)
    operator = graph.graph.operators[index]
    tensors = {int(tensor) for tensor in (*operator.inputs, *operator.outputs) if tensor >= 0}
    graph.graph.operators = [operator]
    graph.graph.inputs = [tensor for tensor in dict.fromkeys(operator.inputs) if tensor >= 0 and not graph.is_constant(tensor)]
    graph.graph.outputs = list(operator.outputs)
    graph.model.signatureDefs = []
    kept = {graph.graph.tensors[tensor].buffer for tensor in tensors}
    for number, buffer in enumerate(graph.model.buffers):
        if number not in kept:
            buffer.data = None
    return _run(graph.content())


def _run(content: bytes) -> Callable[[], object]:
    from ai_edge_litert.interpreter import Interpreter

    with quiet():
        interpreter = Interpreter(model_content=content, num_threads=1)
        interpreter.allocate_tensors()
    run: Callable[[], object] = interpreter.invoke
    return run
