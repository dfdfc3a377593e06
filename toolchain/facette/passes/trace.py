"""The network as a graph, which the other passes rewrite."""

from __future__ import annotations

import copy
from dataclasses import replace

from torch import fx, nn

from facette.model import Model


def trace(model: Model) -> Model | None:
    """Writes the network down as a torch.fx graph, on a copy of its weights, without layers that do nothing (a folded batch norm's
    place, a removed block's), so that neighbours are seen as such.

    Returns:
        The traced model; None where the network is an ONNX file or its Python code branches on data, so that no graph says all
        it does. Such a network is exported as it stands.
    """
    if not isinstance(model.network, nn.Module):
        return None
    try:
        graph = fx.symbolic_trace(copy.deepcopy(model.network))
    except (fx.proxy.TraceError, TypeError, ValueError):
        return None
    for node in graph.graph.nodes:
        if node.op == "call_module" and isinstance(graph.get_submodule(node.target), nn.Identity):
            node.replace_all_uses_with(node.all_input_nodes[0])
            graph.graph.erase_node(node)
    graph.delete_all_unused_submodules()
    graph.recompile()
    return replace(model, network=graph.eval())
