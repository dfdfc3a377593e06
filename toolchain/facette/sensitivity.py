"""How much a network suffers where it is cut: layer by layer, ratio by ratio; and ratios that follow from it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from facette.model import Model
from facette.pruning.choice import lowest
from facette.pruning.costs import Costs, count_costs
from facette.pruning.cut import cut
from facette.pruning.feed import as_tuple, normalised
from facette.pruning.groups import find_groups, kept_places
from facette.pruning.scores import Criterion, score
from facette.tables import table
from facette_runtime.errors import FacetteError

RATIOS = (0.125, 0.25, 0.5, 0.75)
BATCH = 64

Measure = Callable[[Model], float]
"""What a network is worth; more is better."""


@dataclass(frozen=True)
class LayerSensitivity:
    """One group of channels that go together.

    Attributes:
        layer: the first that makes them; what `facette.passes.prune.Prune.layers` calls it by.
        channels: how many there are.
        share: the part of the network's multiply-accumulates that goes with all of them.
        drops: what the measure loses, for each ratio.
    """

    layer: str
    channels: int
    share: float
    drops: tuple[float, ...]


@dataclass(frozen=True)
class Sensitivity:
    """Of a network to cuts of one layer at a time, nothing refitted and nothing trained.

    Attributes:
        network: its name.
        criterion: which channels went first.
        measure: what was measured.
        whole: the uncut network's.
        ratios: parts of a layer's channels that were removed, ascending.
        layers: in the order in which the network runs.
        costs: of the uncut network.
    """

    network: str
    criterion: Criterion
    measure: str
    whole: float
    ratios: tuple[float, ...]
    layers: tuple[LayerSensitivity, ...]
    costs: Costs


def analyse(
    model: Model,
    pictures: np.ndarray,
    ratios: Sequence[float] = RATIOS,
    *,
    criterion: Criterion = "reconstruction",
    measure: Measure | None = None,
    measure_name: str = "cosine to the uncut network",
    seed: int = 0,
) -> Sensitivity:
    """Cuts one layer at a time and measures.

    Args:
        model: with a stock torch network.
        pictures: uint8 [n, h, w, 3] in the network's channel order; for the criterion and for the usual measure.
        ratios: parts of a layer's channels to remove.
        criterion: which channels go first.
        measure: what a network is worth; usually how alike its outputs and the uncut network's are, as their mean cosine.
        measure_name: of another measure.
        seed: of what is random.

    Raises:
        FacetteError: the network can't be pruned, there are no pictures, or a ratio isn't between 0 and 1.
    """
    if not len(pictures):
        raise FacetteError("sensitivity: no pictures to measure on")
    if not ratios or not all(0 < ratio < 1 for ratio in ratios):
        raise FacetteError(f"sensitivity: ratios must lie between 0 and 1, but got {', '.join(map(str, ratios)) or 'none'}")
    ratios = tuple(sorted(ratios))
    groups = find_groups(model)
    assert isinstance(model.network, nn.Module)
    costs = count_costs(model, groups)
    scores = score(model, groups, criterion, pictures, seed)
    measure = measure or likeness(model, pictures)
    whole, macs = measure(model), costs.macs({})
    rows = []
    with tqdm(total=len(groups) * len(ratios), desc="sensitivity", unit="cut", dynamic_ncols=True) as bar:
        for group in groups:
            drops = []
            for ratio in ratios:
                keeps = {group.name: max(1, round(group.size * (1 - ratio)))}
                kept = kept_places(model.network, [group], lowest({group.name: scores[group.name]}, keeps))
                drops.append(whole - measure(replace(model, network=cut(model.network, kept))))
                bar.update()
            share = 1 - costs.macs({group.name: group.size}) / macs
            rows.append(LayerSensitivity(group.name, group.size, share, tuple(drops)))
    return Sensitivity(model.name, criterion, measure_name, whole, ratios, tuple(rows), costs)


def likeness(model: Model, pictures: np.ndarray) -> Measure:
    """The mean cosine of a network's outputs and ``model``'s, picture by picture."""
    wanted = _outputs(model, pictures)

    def measure(candidate: Model) -> float:
        pairs = zip(wanted, _outputs(candidate, pictures), strict=True)
        return float(np.mean([float(nn.functional.cosine_similarity(a, b).mean()) for a, b in pairs]))

    return measure


def propose(sensitivity: Sensitivity, macs: float) -> dict[str, float]:
    """Ratios by layer that meet a budget at the smallest sum of drops: always the step that costs least for what it saves.

    Args:
        sensitivity: measured.
        macs: the part of the network's multiply-accumulates to keep.

    Returns:
        For `facette.passes.prune.Prune.layers`; layers that stay whole are left out.

    Raises:
        FacetteError: the largest ratios that were measured don't save so much.
    """
    whole = sensitivity.costs.macs({})
    levels = dict.fromkeys((row.layer for row in sensitivity.layers), 0)

    def gone(chosen: dict[str, int]) -> dict[str, int]:
        steps = (0.0, *sensitivity.ratios)
        return {row.layer: round(row.channels * steps[chosen[row.layer]]) for row in sensitivity.layers}

    while sensitivity.costs.macs(gone(levels)) > macs * whole:
        now = sensitivity.costs.macs(gone(levels))
        best: tuple[float, str] | None = None
        for row in sensitivity.layers:
            level = levels[row.layer]
            if level == len(sensitivity.ratios):
                continue
            saved = now - sensitivity.costs.macs(gone({**levels, row.layer: level + 1}))
            # Some cuts help by accident; a tiny price keeps the larger saving ahead among those.
            price = max(row.drops[level] - (row.drops[level - 1] if level else 0.0), 1e-6) / max(saved, 1)
            best = min(best or (price, row.layer), (price, row.layer))
        if best is None:
            raise FacetteError(
                f"sensitivity: macs = {macs} needs larger ratios than {sensitivity.ratios[-1]}; {now / whole:.3f} remain"
            )
        levels[best[1]] += 1
    return {layer: sensitivity.ratios[level - 1] for layer, level in levels.items() if level}


def to_table(sensitivity: Sensitivity, proposal: dict[str, float] | None = None) -> str:
    """A row a layer: channels, share of the multiply-accumulates, the drop at each ratio and, where given, what is proposed."""
    headers = ["layer", "channels", "% of MACs", *(f"−{ratio:.0%}" for ratio in sensitivity.ratios)]
    rows = [
        [row.layer, str(row.channels), f"{row.share:.1%}", *(f"{drop:.4f}" for drop in row.drops)] for row in sensitivity.layers
    ]
    if proposal is not None:
        headers.append("proposed")
        rows = [[*cells, f"{proposal.get(cells[0], 0.0):.0%}"] for cells in rows]
    return table(headers, rows)


@torch.no_grad()
def _outputs(model: Model, pictures: np.ndarray) -> list[Tensor]:
    """Each output float32 [n, numbers]."""
    network = model.network
    assert isinstance(network, nn.Module)
    parts = [as_tuple(network(normalised(model.image, pictures[i : i + BATCH]))) for i in range(0, len(pictures), BATCH)]
    return [torch.cat(column).flatten(1) for column in zip(*parts, strict=True)]
