"""Which channels of a network must go together.

A dependency graph in the sense of Fang et al. ("DepGraph: towards any structural pruning", 2023, section 3), but of single
channels: `facette.pruning.channels` follows each through additions, concatenations and padding. Every group is then put to the
proof on numbers: the network without a few of its channels must say the same as the whole network with those channels' readers
set to zero. A group that fails (its width is also written elsewhere in the network's code, say) is left alone, so that a cut
network is never a wrong one.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from facette.model import Model
from facette.pruning.channels import FIXED, Channels
from facette.pruning.cut import cut
from facette.pruning.feed import as_tuple, noise
from facette_runtime.errors import FacetteError

Side = Literal["out", "in"]

TOLERANCE = 1e-3
"""Of the largest output; sums of the same numbers in another order differ by less."""


@dataclass(frozen=True, slots=True)
class Member:
    """One side of one layer.

    Attributes:
        layer: its name.
        side: its filters ("out") or what they read ("in"); batch norms, PReLUs and depthwise convolutions have only "out".
        places: int64 [k], indices on that side.
        units: int64 [k], which of the group's channels each of them belongs to.
    """

    layer: str
    side: Side
    places: Tensor
    units: Tensor


@dataclass(frozen=True, slots=True)
class Group:
    """Channels of several layers that stay or go together.

    Attributes:
        name: of the first layer that makes them.
        size: how many channels.
        members: where they occur.
    """

    name: str
    size: int
    members: tuple[Member, ...]

    @property
    def makers(self) -> tuple[str, ...]:
        """Layers whose filters these are."""
        return tuple(member.layer for member in self.members if member.side == "out")

    def places(self, member: Member, units: Tensor) -> Tensor:
        """Where in a member these channels are."""
        return member.places[torch.isin(member.units, units)]


def find_groups(model: Model) -> tuple[Group, ...]:
    """Every group of channels that can be cut, in the order in which the network runs.

    Raises:
        FacetteError: the network is an ONNX file, or it has no such channels.
    """
    network = model.network
    if not isinstance(network, nn.Module):
        raise FacetteError(f"{model.name}: an ONNX file can't be pruned; give the torch module")
    channels = Channels()
    channels.follow(network, noise(model.image))
    groups = tuple(_by_members(channels, network))
    x = noise(model.image)
    if not _hold(network, groups, x):
        groups = tuple(group for group in groups if _hold(network, (group,), x))
    if not groups:
        raise FacetteError(f"{model.name}: no layer has channels that can be cut")
    return groups


def kept_places(network: nn.Module, groups: Sequence[Group], removed: Mapping[str, Tensor]) -> dict[tuple[str, str], Tensor]:
    """What is left of every layer's sides once these channels are gone.

    Args:
        network: the whole one.
        groups: its groups.
        removed: int64 channels by group name.
    """
    layers = dict(network.named_modules())
    masks: dict[tuple[str, str], Tensor] = {}
    for group in groups:
        for member in group.members:
            key = (member.layer, member.side)
            if key not in masks:
                masks[key] = torch.ones(width(layers[member.layer], member.side), dtype=torch.bool)
            masks[key][group.places(member, removed.get(group.name, torch.empty(0, dtype=torch.long)))] = False
    return {key: mask.nonzero().flatten() for key, mask in masks.items()}


def width(layer: nn.Module, side: str) -> int:
    """Channels on one side of a layer."""
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return int(weight.shape[0 if side == "out" else 1])


def _by_members(channels: Channels, network: nn.Module) -> list[Group]:
    """Channels that occur on the same sides of the same layers make a group."""
    places: dict[int, list[tuple[str, str, int]]] = {}
    for (layer, side), numbers in channels.sides.items():
        for place, number in enumerate(numbers):
            places.setdefault(channels.find(number), []).append((layer, side, place))
    places.pop(FIXED, None)
    alike: dict[tuple[tuple[str, str], ...], list[int]] = {}
    for number, where in places.items():
        alike.setdefault(tuple((layer, side) for layer, side, _ in where), []).append(number)
    groups = []
    for numbers in alike.values():
        found = [(unit, *place) for unit, number in enumerate(numbers) for place in places[number]]
        members = tuple(
            Member(layer, side, *(torch.tensor(column) for column in zip(*pairs, strict=True)))
            for (layer, side), pairs in _sorted_by_side(found).items()
        )
        if len(numbers) > 1 and any(member.side == "in" for member in members):
            groups.append(Group(members[0].layer, len(numbers), members))
    return groups


def _sorted_by_side(where: Iterable[tuple[int, str, str, int]]) -> dict[tuple[str, Side], list[tuple[int, int]]]:
    """(place, unit) pairs by layer and side."""
    found: dict[tuple[str, Side], list[tuple[int, int]]] = {}
    for unit, layer, side, place in where:
        found.setdefault((layer, "in" if side == "in" else "out"), []).append((place, unit))
    return found


@torch.no_grad()
def _hold(network: nn.Module, groups: Sequence[Group], x: Tensor) -> bool:
    """Whether cutting every third channel is the same as nobody reading it."""
    removed = {group.name: torch.arange(0, group.size, 3) for group in groups}
    narrow = cut(network, kept_places(network, groups, removed))
    silenced = copy.deepcopy(network)
    for group in groups:
        for member in group.members:
            if member.side == "in":
                weight = silenced.get_parameter(f"{member.layer}.weight")
                weight[:, group.places(member, removed[group.name])] = 0
    wanted = as_tuple(silenced(x))
    try:
        given = as_tuple(narrow(x))
    except RuntimeError:  # shapes that no longer fit
        return False
    return all(
        a.shape == b.shape and float((a - b).abs().max()) <= TOLERANCE * (1 + float(a.abs().max()))
        for a, b in zip(wanted, given, strict=True)
    )
