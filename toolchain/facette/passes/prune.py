"""Structured pruning: whole channels or whole residual blocks, so that every engine gets faster.

    find what hangs together → score → choose for the target → cut → refit what is left

The same settings and pictures give the same network. A network pruned earlier needs neither: `facette.pruning.cut.narrow_to`
takes its widths from its weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from torch import Tensor, nn

from facette.model import Model
from facette.pruning.block_choice import choose_blocks
from facette.pruning.blocks import without
from facette.pruning.choice import Keeps, Scope, keep_global, keep_parts, lowest, reach, rounded
from facette.pruning.costs import Costs, count_costs
from facette.pruning.cut import cut
from facette.pruning.groups import Group, find_groups, kept_places
from facette.pruning.refit import Refit
from facette.pruning.scores import Criterion, score
from facette_runtime.errors import FacetteError


@dataclass(frozen=True, slots=True)
class Prune:
    """What to take out, of a network that has all its channels or has lost some already.

    Attributes:
        kind: tells the passes of a recipe apart.
        macs: the part of the given network's multiply-accumulates to keep. Either this or ``ratio`` or, alone, ``layers``.
        ratio: the part of the channels (or blocks) to remove.
        granularity: whole channels, or whole residual blocks.
        criterion: what is worth least; see `facette.pruning.scores.Criterion`.
        scope: where channels compete; see `facette.pruning.choice.Scope`.
        layers: for the scope "per-layer": the part to remove by layer name; layers not named keep all. With ``macs`` these are
            proportions, scaled until the budget is met.
        per_mac: for the scope "global": a channel that costs twice as much must be worth twice as much.
        round_to: what is left of each layer is a multiple of this (8 or 16 for engines that work in blocks).
        most: no layer loses more than this part.
        refit: whether the weights left are corrected by least squares on the pictures.
        steps: in how many rounds the target is reached; each scores anew. See `prune_schedule`.
        seed: of everything random.
    """

    kind: Literal["prune"] = "prune"
    macs: float | None = None
    ratio: float | None = None
    granularity: Literal["channels", "blocks"] = "channels"
    criterion: Criterion = "reconstruction"
    scope: Scope = "global"
    layers: dict[str, float] = field(default_factory=dict)
    per_mac: bool = True
    round_to: int = 8
    most: float = 0.9
    refit: bool = True
    steps: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.macs is not None and self.ratio is not None:
            raise ValueError("give macs or ratio, not both")
        if self.macs is None and self.ratio is None and not self.layers:
            raise ValueError("give macs (the part to keep), ratio (the part to remove) or layers (the part to remove by layer)")
        if bool(self.layers) != (self.scope == "per-layer"):
            raise ValueError('layers and scope = "per-layer" go together')
        if self.layers and self.ratio is not None:
            raise ValueError("layers say what to remove; give macs with them or nothing, not ratio")
        if self.granularity == "blocks" and self.layers:
            raise ValueError('layers are for granularity = "channels"')
        for name, value in {"macs": self.macs, "ratio": self.ratio, "most": self.most, **self.layers}.items():
            if value is not None and not 0 <= value <= 1:
                raise ValueError(f"{name} must lie in 0..1, but got {value}")
        if self.round_to < 1 or self.steps < 1:
            raise ValueError(f"round_to and steps must be at least 1, but got {self.round_to} and {self.steps}")


def prune_schedule(settings: Prune) -> list[Prune]:
    """The same target in ``settings.steps`` rounds that each take the same part of what is there, to recover in between."""
    share = 1 / settings.steps
    macs = None if settings.macs is None else settings.macs**share
    ratio = None if settings.ratio is None else 1 - (1 - settings.ratio) ** share
    layers = settings.layers if macs is not None else {name: 1 - (1 - part) ** share for name, part in settings.layers.items()}
    return [replace(settings, macs=macs, ratio=ratio, layers=layers, steps=1)] * settings.steps


def prune(model: Model, settings: Prune, pictures: np.ndarray | None = None) -> Model:
    """Takes channels or blocks out of a network; outputs keep their shapes.

    Args:
        model: with a stock torch network (batch norms not folded, PReLUs not lowered).
        settings: what and how much.
        pictures: uint8 [n, h, w, 3] in the network's channel order; for "taylor", "hessian", blocks and ``refit``.

    Returns:
        A model with a new network; the old one is left as it was.

    Raises:
        FacetteError: torch-pruning is missing, the network is an ONNX file or has nothing to cut, the target can't be reached, a
            layer that ``layers`` names has no channels of its own, or pictures are needed and there are none.
    """
    if settings.refit and (pictures is None or not len(pictures)):
        raise FacetteError("prune: refit = true needs pictures; give some or set refit = false")
    for step in prune_schedule(settings):
        model = (_prune_blocks if step.granularity == "blocks" else _prune_channels)(model, step, pictures)
    return model


def _prune_channels(model: Model, settings: Prune, pictures: np.ndarray | None) -> Model:
    network = model.network
    groups = find_groups(model)
    assert isinstance(network, nn.Module)
    costs = count_costs(model, groups)
    scores = score(model, groups, settings.criterion, pictures, settings.seed)
    keeps = _choose(settings, groups, costs, scores)
    kept = kept_places(network, groups, lowest(scores, keeps))
    narrow = cut(network, kept)
    if settings.refit and pictures is not None:
        Refit(model, narrow, kept, pictures, settings.seed).run()
    return replace(model, network=narrow.eval())


def _choose(settings: Prune, groups: tuple[Group, ...], costs: Costs, scores: Mapping[str, Tensor]) -> Keeps:
    """How many channels stay in each group."""
    if settings.scope == "global":
        ranked = {name: values / costs.of_one(name) for name, values in scores.items()} if settings.per_mac else scores
        parts = None
    else:
        ranked = scores
        parts = _parts(settings.layers, groups) if settings.layers else {group.name: 1.0 for group in groups}
        if settings.macs is not None:
            largest = max(parts.values()) or 1.0
            parts = {name: part / largest for name, part in parts.items()}

    def keeps(amount: float) -> Keeps:
        wanted = keep_global(ranked, amount) if parts is None else keep_parts(groups, parts, amount)
        return rounded(groups, wanted, settings.round_to, settings.most)

    if settings.macs is None:
        return keeps(1.0 if settings.ratio is None else settings.ratio)
    return reach(keeps, groups, costs, settings.macs)


def _parts(layers: Mapping[str, float], groups: tuple[Group, ...]) -> dict[str, float]:
    owner = {maker: group.name for group in groups for maker in group.makers}
    unknown = [name for name in layers if name not in owner]
    if unknown:
        raise FacetteError(f"prune: {unknown[0]!r} has no channels that can be cut; layers that have: {', '.join(owner)}")
    return {owner[name]: part for name, part in layers.items()}


def _prune_blocks(model: Model, settings: Prune, pictures: np.ndarray | None) -> Model:
    network = model.network
    assert isinstance(network, nn.Module)
    removed = choose_blocks(model, settings.criterion, settings.macs, settings.ratio, pictures, settings.seed)
    short = without(network, removed)
    if settings.refit and pictures is not None:
        Refit(model, short, {}, pictures, settings.seed).run()
    return replace(model, network=short.eval())
