"""Cross-layer equalization as a pass; `facette.equalization` does it."""

from __future__ import annotations

import copy
from dataclasses import replace

from torch import fx

from facette.equalization import equalize_in_place
from facette.model import Model


def equalize(model: Model) -> Model:
    """Equalizes every convolution with the layers that read it.

    Args:
        model: traced, batch norms folded, PReLUs not lowered yet.

    Returns:
        A model with a new network; ``model`` itself where there is nothing to equalize.
    """
    assert isinstance(model.network, fx.GraphModule)
    graph = copy.deepcopy(model.network)
    return replace(model, network=graph) if equalize_in_place(graph) else model
