"""Batch norm into the convolution or linear layer before it: the same function with fewer operators."""

from __future__ import annotations

import copy
from dataclasses import replace

from torch import fx

from facette.batch_norm import fused_layers
from facette.model import Model


def fold_batch_norm(model: Model) -> Model:
    """Folds every batch norm that follows a layer whose output nothing else reads (Jacob et al., 2018, section 3.2).

    Args:
        model: its network must be traceable by torch.fx, as `facette.passes.trace.trace` gives it.

    Returns:
        A model with a new network; the old one is left as it was.
    """
    graph = model.network
    assert isinstance(graph, fx.GraphModule)
    graph = copy.deepcopy(graph)
    for node, source, fused in fused_layers(graph.graph, dict(graph.named_modules())):
        graph.set_submodule(source.target, fused)
        node.replace_all_uses_with(source)
        graph.graph.erase_node(node)
    graph.delete_all_unused_submodules()
    graph.recompile()
    return replace(model, network=graph)
