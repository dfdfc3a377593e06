"""Which channels go: from scores, a scope and a target."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from facette.pruning.costs import Costs
from facette.pruning.groups import Group
from facette_runtime.errors import FacetteError

Scope = Literal["global", "uniform", "per-layer"]
"""Where channels compete: all with all; within a group, each losing the same part; or each losing a part that was named."""

HALVINGS = 40  # of the interval in which the target is looked for; a double has no more

Keeps = dict[str, int]
"""How many channels stay, by group."""


def keep_global(scores: Mapping[str, Tensor], amount: float) -> Keeps:
    """The part ``amount`` of all channels goes, lowest scores first, wherever they are."""
    everything = torch.cat(list(scores.values())).sort().values
    gone = round(amount * len(everything))
    if not gone:
        return {name: len(values) for name, values in scores.items()}
    limit = everything[gone - 1]
    return {name: int((values > limit).sum()) for name, values in scores.items()}


def keep_parts(groups: Sequence[Group], parts: Mapping[str, float], amount: float) -> Keeps:
    """Each group loses ``amount`` × its own part."""
    return {group.name: round(group.size * (1 - amount * parts.get(group.name, 0.0))) for group in groups}


def rounded(groups: Sequence[Group], keeps: Keeps, round_to: int, most: float) -> Keeps:
    """To the nearest multiple, at least one of it, never more than there are, and no group loses more than the part ``most``.

    A group that isn't to lose anything stays as it is, whatever its size.
    """
    result = {}
    for group in groups:
        keep = max(keeps[group.name], round(group.size * (1 - most)), 1)
        if keep < group.size:
            keep = min(group.size, max(round_to, int(keep / round_to + 0.5) * round_to))
        result[group.name] = keep
    return result


def reach(keeps: Callable[[float], Keeps], groups: Sequence[Group], costs: Costs, macs: float) -> Keeps:
    """The widest network within a budget, by bisection of the amount that goes.

    Args:
        keeps: what stays for an amount from 0 (everything) to 1 (as little as the settings allow); falls with it.
        groups: of the network.
        costs: its.
        macs: the budget as a part of the whole network's.

    Raises:
        FacetteError: even the narrowest network is over the budget.
    """
    whole = costs.macs({})

    def part(amount: float) -> float:
        left = keeps(amount)
        return costs.macs({group.name: group.size - left[group.name] for group in groups}) / whole

    low, high = 0.0, 1.0
    if part(high) > macs:
        raise FacetteError(f"prune: macs = {macs} can't be reached; with these settings at least {part(high):.3f} of them remain")
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if part(middle) <= macs else (middle, high)
    return fill_up(keeps(high), keeps(low), groups, costs, macs)


def fill_up(keeps: Keeps, wider: Keeps, groups: Sequence[Group], costs: Costs, macs: float) -> Keeps:
    """Spends what rounding has left of a budget: groups that would be wider with the next smaller amount become so, while it lasts.

    Args:
        keeps: within the budget.
        wider: with the smallest amount that is not.
        groups, costs, macs: as for `reach`.
    """
    result = dict(keeps)
    for group in sorted(groups, key=lambda group: costs.of_one(group.name) * (wider[group.name] - keeps[group.name])):
        widened = {**result, group.name: wider[group.name]}
        if costs.macs({other.name: other.size - widened[other.name] for other in groups}) <= macs * costs.macs({}):
            result = widened
    return result


def lowest(scores: Mapping[str, Tensor], keeps: Keeps) -> dict[str, Tensor]:
    """The channels that go, int64 ascending, by group."""
    return {name: values.argsort(stable=True)[: len(values) - keeps[name]].sort().values for name, values in scores.items()}
