"""Which batch norms a graph can do without, and what takes the place of the layers before them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval


def fused_layers(graph: fx.Graph, modules: Mapping[str, nn.Module]) -> list[tuple[Any, Any, nn.Module]]:
    """Every batch norm behind a convolution or linear layer whose output nothing else reads (Jacob et al., 2018, section 3.2).

    Args:
        graph: of a network in eval mode.
        modules: by name.

    Returns:
        The norm's node, the layer's node, and the layer with the norm in it.
    """
    found: list[tuple[Any, Any, nn.Module]] = []  # a node's target is a string here, which its type doesn't say
    nodes: list[Any] = list(graph.nodes)
    for node in nodes:
        norm = modules[node.target] if node.op == "call_module" else None
        if not isinstance(norm, (nn.BatchNorm1d, nn.BatchNorm2d)):
            continue
        source = node.args[0]
        if source.op != "call_module" or len(source.users) != 1:
            continue
        layer = modules[source.target]
        if isinstance(layer, nn.Conv2d):
            found.append((node, source, fuse_conv_bn_eval(layer, norm)))
        elif isinstance(layer, nn.Linear):
            found.append((node, source, fuse_linear_bn_eval(layer, norm)))
    return found
