"""Which residual blocks go."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from facette.model import Model
from facette.pruning.blocks import Block, find_blocks, norms_after, without
from facette.pruning.costs import count_costs
from facette.pruning.feed import as_tuple, noise, normalised
from facette.pruning.scores import DATA_DRIVEN, Criterion
from facette_runtime.errors import FacetteError

PICTURES = 128
"""That a block's removal is measured on."""


def choose_blocks(
    model: Model, criterion: Criterion, macs: float | None, ratio: float | None, pictures: np.ndarray | None, seed: int
) -> tuple[str, ...]:
    """Names of the blocks to leave out, the least worth first.

    There are so few blocks that the criteria that look at data don't estimate what the loss of one does to the outputs but
    measure it, anew after each that goes. The other criteria average over the filters or the batch norm that make what the block
    adds.

    Args:
        model: with a stock torch network.
        criterion: how.
        macs, ratio: the part of the network's multiply-accumulates to keep, or of its blocks to remove; one of them.
        pictures: uint8 [n, h, w, 3] in the network's channel order, for the criteria that look at data.
        seed: of "random".

    Raises:
        FacetteError: there are no residual blocks, the budget can't be reached with them, or pictures are missing.
    """
    network = model.network
    if not isinstance(network, nn.Module):
        raise FacetteError(f"{model.name}: an ONNX file can't be pruned; give the torch module")
    blocks = find_blocks(model)
    if not blocks:
        raise FacetteError(f"{model.name}: no residual block whose shortcut is the identity; valid here: granularity = 'channels'")
    if criterion in DATA_DRIVEN and (pictures is None or not len(pictures)):
        raise FacetteError(f"prune: criterion {criterion!r} looks at pictures, and there are none")
    positions = {block.name: _macs_of(model, block) for block in blocks}
    whole = count_costs(model, ()).macs({})
    allowed = whole if macs is None else round(macs * whole)
    count = round((ratio or 0.0) * len(blocks)) if macs is None else len(blocks)
    removed: list[str] = []
    static = None if criterion in DATA_DRIVEN else _static_scores(model, blocks, criterion, seed)
    while len(removed) < count and (macs is None or whole - sum(positions[name] for name in removed) > allowed):
        left = [block for block in blocks if block.name not in removed]
        if static is None:
            assert pictures is not None
            costs = {block.name: _change(model, (*removed, block.name), pictures[:PICTURES]) for block in left}
        else:
            costs = {block.name: static[block.name] for block in left}
        removed.append(min(costs, key=lambda name: costs[name] / (positions[name] if macs is not None else 1)))
    least = whole - sum(positions[name] for name in removed)
    if macs is not None and least > allowed:
        raise FacetteError(
            f"prune: macs = {macs} can't be reached by leaving out blocks; at least {least / whole:.3f} of them remain"
        )
    return tuple(removed)


def _macs_of(model: Model, block: Block) -> int:
    layers = count_costs(model, ()).layers
    return round(sum(cost.macs({}) for name, cost in layers.items() if name.startswith(f"{block.name}.")))


@torch.no_grad()
def _change(model: Model, names: tuple[str, ...], pictures: np.ndarray) -> float:
    """How far the outputs turn when these blocks do nothing: 1 − mean cosine, summed over the outputs."""
    network = model.network
    assert isinstance(network, nn.Module)
    x = normalised(model.image, pictures)
    pairs = zip(as_tuple(network(x)), as_tuple(without(network, names)(x)), strict=True)
    return sum(1 - float(nn.functional.cosine_similarity(a.flatten(1), b.flatten(1)).mean()) for a, b in pairs)


def _static_scores(model: Model, blocks: tuple[Block, ...], criterion: Criterion, seed: int) -> dict[str, float]:
    network = model.network
    assert isinstance(network, nn.Module)
    if criterion == "random":
        generator = torch.Generator().manual_seed(seed)
        return {block.name: float(torch.rand((), generator=generator)) for block in blocks}
    norms = norms_after(network, noise(model.image))
    scores = {}
    for block in blocks:
        if criterion == "bn-scale":
            if block.last not in norms:
                raise FacetteError(f"prune: criterion 'bn-scale' needs batch norms, but {block.last!r} has none behind it")
            scores[block.name] = float(network.get_parameter(f"{norms[block.last]}.weight").detach().abs().mean())
        else:
            rows = network.get_parameter(f"{block.last}.weight").detach().flatten(1)
            scores[block.name] = float(rows.norm(p=1 if criterion == "l1" else 2, dim=1).mean())
    return scores
