"""Batch norms folded into the layers before them, in place, with the module's own structure kept.

A network that is only to be recovered has good statistics already: folded, they neither drift nor cost time, and what is trained is
what ships.
"""

from __future__ import annotations

from torch import fx, nn

from facette.batch_norm import fused_layers


def fold_in_place(network: nn.Module) -> bool:
    """Folds every batch norm that follows a layer whose output nothing else reads; an identity takes its place.

    Args:
        network: in eval mode.

    Returns:
        False, and nothing is changed, where torch.fx can't trace the network.
    """
    try:
        graph = (network if isinstance(network, fx.GraphModule) else fx.symbolic_trace(network)).graph
    except (fx.proxy.TraceError, TypeError, ValueError):
        return False
    for node, source, fused in fused_layers(graph, dict(network.named_modules())):
        # A bias that the layer did not have comes out of the fusion as a constant.
        network.set_submodule(source.target, fused.requires_grad_())
        network.set_submodule(node.target, nn.Identity())
    return True
