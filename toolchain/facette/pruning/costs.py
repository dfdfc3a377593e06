"""Multiply-accumulates of a network that is not cut yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from facette.model import Model
from facette.pruning.cut import is_depthwise
from facette.pruning.feed import noise, watching
from facette.pruning.groups import Group, width


@dataclass(frozen=True, slots=True)
class LayerCost:
    """One layer's.

    Attributes:
        each: multiply-accumulates of one filter on one channel: output pixels × the kernel's weights.
        out, into: channels, whole; into is 1 for a depthwise convolution.
        out_losses, in_losses: how many channels go with each one of a group, by group.
    """

    each: int
    out: int
    into: int
    out_losses: dict[str, float]
    in_losses: dict[str, float]

    def macs(self, gone: Mapping[str, int]) -> float:
        """With so many channels gone from each group."""
        out = self.out - sum(gone.get(group, 0) * places for group, places in self.out_losses.items())
        into = self.into - sum(gone.get(group, 0) * places for group, places in self.in_losses.items())
        return self.each * out * into


@dataclass(frozen=True, slots=True)
class Costs:
    """A network's, as a function of how many channels are left in each group.

    Attributes:
        layers: by name.
    """

    layers: dict[str, LayerCost]

    def macs(self, gone: Mapping[str, int]) -> int:
        """With so many channels gone from each group."""
        return round(sum(layer.macs(gone) for layer in self.layers.values()))

    def of_one(self, group: str) -> int:
        """What the first channel of a group saves."""
        return self.macs({}) - self.macs({group: 1})


def count_costs(model: Model, groups: Sequence[Group]) -> Costs:
    """Counts by running the network once; convolutions and linear layers, as `facette.reference.count_macs` does."""
    network = model.network
    assert isinstance(network, nn.Module)
    losses: dict[tuple[str, str], dict[str, float]] = {}
    for group in groups:
        for member in group.members:
            losses.setdefault((member.layer, member.side), {})[group.name] = len(member.places) / group.size
    layers: dict[str, LayerCost] = {}

    def observe(name: str, layer: nn.Module, _x: Tensor, y: Tensor) -> None:
        weight = layer.weight
        assert isinstance(weight, Tensor)
        outputs, inputs = width(layer, "out"), 1 if is_depthwise(layer) else width(layer, "in")
        each = y[0].numel() // outputs * (weight[0].numel() // inputs)
        before = layers[name].each if name in layers else 0  # a layer that is used twice costs twice
        layers[name] = LayerCost(before + each, outputs, inputs, losses.get((name, "out"), {}), losses.get((name, "in"), {}))

    with watching(network, (nn.Conv2d, nn.Linear), observe), torch.no_grad():
        network(noise(model.image))
    return Costs(layers)
