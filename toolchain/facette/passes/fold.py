"""Batch norm into the convolution or linear layer before it: the same function with fewer operators."""

from __future__ import annotations

import copy
from dataclasses import replace

from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

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
    modules = dict(graph.named_modules())
    for node in list(graph.graph.nodes):
        if node.op != "call_module" or not isinstance(modules[node.target], (nn.BatchNorm1d, nn.BatchNorm2d)):
            continue
        source = node.args[0]
        if source.op != "call_module" or len(source.users) != 1:
            continue
        layer, norm = modules[source.target], modules[node.target]
        if isinstance(layer, nn.Conv2d):
            fused: nn.Module = fuse_conv_bn_eval(layer, norm)
        elif isinstance(layer, nn.Linear):
            fused = fuse_linear_bn_eval(layer, norm)
        else:
            continue
        graph.set_submodule(source.target, fused)
        node.replace_all_uses_with(source)
        graph.graph.erase_node(node)
    graph.delete_all_unused_submodules()
    graph.recompile()
    return replace(model, network=graph)
