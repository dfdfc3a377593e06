"""Low rank: a layer becomes a row of cheaper ones, where that is cheaper."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from facette.factorize import (
    Inputs,
    cp,
    pointwise_energy,
    projected_energy,
    split_cp,
    split_pointwise,
    split_projected,
    split_tucker,
    tucker_energies,
)
from facette.model import Model
from facette.pruning.feed import noise, normalised, watching
from facette_runtime.errors import FacetteError

CP_RANKS = 8
"""How many ranks of a CP decomposition are tried: it must be computed to know what it keeps."""

HALVINGS = 30
BATCH = 64


@dataclass(frozen=True, slots=True)
class LowRank:
    """How far to go.

    Attributes:
        kind: tells the passes of a recipe apart.
        energy: the part of each layer's squared singular values to keep at least. Either this or ``macs``.
        macs: the part of the network's multiply-accumulates to keep at most; all layers then keep the same energy.
        spatial: what k×k convolutions become: "project" puts a 1×1 before a k×k that reads fewer channels, "tucker" a 1×1 on each
            side, "cp" separates rows from columns. 1×1 convolutions and linear layers are split by SVD.
        layers: which; empty for all. Depthwise and grouped convolutions have no rank to lower.
        seed: of CP's start.
    """

    kind: Literal["low-rank"] = "low-rank"
    energy: float | None = None
    macs: float | None = None
    spatial: Literal["tucker", "cp", "project"] = "tucker"
    layers: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        if (self.energy is None) == (self.macs is None):
            raise ValueError("give either energy (the part of each layer to keep) or macs (the part of the network's to keep)")
        for name, value in (("energy", self.energy), ("macs", self.macs)):
            if value is not None and not 0 < value <= 1:
                raise ValueError(f"{name} must lie above 0 and not above 1, but got {value}")


@dataclass(frozen=True)
class Option:
    """One way to write a layer.

    Attributes:
        energy: the part that it keeps.
        macs: what it costs.
        build: makes it.
    """

    energy: float
    macs: int
    build: Callable[[], nn.Module]


@torch.no_grad()
def low_rank(model: Model, settings: LowRank, pictures: np.ndarray | None = None) -> Model:
    """Splits every layer that gets cheaper in multiply-accumulates at the energy asked for; the others stay.

    Args:
        model: with a stock torch network.
        settings: how far to go.
        pictures: uint8 [n, h, w, 3] in the network's channel order. With them, projected, 1×1 and linear layers keep the energy of
            their outputs on these pictures rather than of their weights.

    Returns:
        A model with a new network, in which a split layer is an ``nn.Sequential`` of the same name; the old one is left as it was.

    Raises:
        FacetteError: the network is an ONNX file, a layer that is named can't be split, or the budget can't be reached.
    """
    if not isinstance(model.network, nn.Module):
        raise FacetteError(f"{model.name}: an ONNX file can't be factorised; give the torch module")
    costs, areas = _layer_costs(model, model.network)
    layers = {name: model.network.get_submodule(name) for name in costs if _splits(model.network.get_submodule(name))}
    for name in settings.layers:
        if name not in layers:
            raise FacetteError(f"low-rank: {name!r} is no layer that can be split; known: {', '.join(layers)}")
    if settings.layers:
        layers = {name: layers[name] for name in settings.layers}
    informed = {name for name, layer in layers.items() if settings.spatial == "project" or _is_pointwise(layer)}
    seen = {} if pictures is None else _inputs(model, model.network, pictures, informed)
    options = {
        name: sorted(_options(layer, areas[name], seen.get(name), settings), key=lambda option: option.macs)
        for name, layer in layers.items()
    }
    energy = settings.energy if settings.macs is None else _energy_for(settings.macs, options, costs)
    assert energy is not None
    network = copy.deepcopy(model.network)
    for name, chosen in _choose(options, costs, energy).items():
        network.set_submodule(name, chosen.build())
    return replace(model, network=network.eval())


def _choose(options: Mapping[str, list[Option]], costs: Mapping[str, int], energy: float) -> dict[str, Option]:
    """The cheapest way to write each layer that keeps so much, if it is cheaper than the layer."""
    chosen = {}
    for name, ways in options.items():
        best = next((way for way in ways if way.energy >= energy), None)
        if best is not None and best.macs < costs[name]:
            chosen[name] = best
    return chosen


def _energy_for(macs: float, options: Mapping[str, list[Option]], costs: Mapping[str, int]) -> float:
    """The most energy within the budget, by bisection."""
    whole = sum(costs.values())

    def part(energy: float) -> float:
        return (whole - sum(costs[name] - way.macs for name, way in _choose(options, costs, energy).items())) / whole

    low, high = 0.0, 1.0
    if part(high) <= macs:
        return high
    if part(low) > macs:
        raise FacetteError(f"low-rank: macs = {macs} can't be reached; at rank 1 there are still {part(low):.3f} of them")
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if part(middle) <= macs else (low, middle)
    return low


def _splits(layer: nn.Module) -> bool:
    if isinstance(layer, nn.Linear):
        return True
    if not isinstance(layer, nn.Conv2d) or layer.groups > 1 or isinstance(layer.padding, str):
        return False
    return layer.weight[0, 0].numel() > 1 or layer.padding == (0, 0)


def _options(layer: nn.Module, area: tuple[int, int], inputs: Inputs | None, settings: LowRank) -> Iterator[Option]:
    """Every way to write a layer; ``area`` is its input and output pixels."""
    assert isinstance(layer, (nn.Conv2d, nn.Linear))
    if _is_pointwise(layer):
        return _pointwise_options(layer, area[1], inputs)
    assert isinstance(layer, nn.Conv2d)
    if settings.spatial == "project":
        return _projected_options(layer, area, inputs)
    return _tucker_options(layer, area) if settings.spatial == "tucker" else _cp_options(layer, area, settings.seed)


def _pointwise_options(layer: nn.Conv2d | nn.Linear, pixels: int, inputs: Inputs | None) -> Iterator[Option]:
    c, k = layer.weight.shape[1], layer.weight.shape[0]
    for rank, energy in enumerate(_kept(pointwise_energy(layer, inputs)), start=1):
        yield Option(energy, rank * (c + k) * pixels, partial(split_pointwise, layer, rank, inputs))


def _projected_options(conv: nn.Conv2d, area: tuple[int, int], inputs: Inputs | None) -> Iterator[Option]:
    k, c, high, wide = conv.weight.shape
    for rank, energy in enumerate(_kept(projected_energy(conv, inputs)), start=1):
        yield Option(energy, rank * (c * area[0] + high * wide * k * area[1]), partial(split_projected, conv, rank, inputs))


def _tucker_options(conv: nn.Conv2d, area: tuple[int, int]) -> Iterator[Option]:
    """Both sides keep the same energy, each as it is unfolded; together they lose at most the sum of both losses."""
    k, c, high, wide = conv.weight.shape
    sides = [_kept(values) for values in tucker_energies(conv)]
    for energy in sorted({value for side in sides for value in side}):
        a, b = (1 + next(rank for rank, value in enumerate(side) if value >= energy) for side in sides)
        macs = c * a * area[0] + (a * b * high * wide + b * k) * area[1]
        yield Option(energy, macs, partial(split_tucker, conv, a, b))


def _cp_options(conv: nn.Conv2d, area: tuple[int, int], seed: int) -> Iterator[Option]:
    k, c, high, wide = conv.weight.shape
    highest = k * c * high * wide // (k + c + high + wide)
    for rank in sorted({max(1, highest * step // CP_RANKS) for step in range(1, CP_RANKS + 1)}):
        factors, energy = cp(conv.weight.detach(), rank, seed)
        macs = rank * (c * area[0] + high * area[0] // conv.stride[0] + (wide + k) * area[1])
        yield Option(energy, macs, partial(split_cp, conv, factors))


def _kept(values: Tensor) -> list[float]:
    """The part of the energy that the first one, two, three … keep; all of them keep exactly all."""
    parts: list[float] = (values.cumsum(0) / values.sum()).clamp_max(1.0).tolist()
    return [*parts[:-1], 1.0]


def _layer_costs(model: Model, network: nn.Module) -> tuple[dict[str, int], dict[str, tuple[int, int]]]:
    """Multiply-accumulates, and input and output pixels, by layer."""
    costs: dict[str, int] = {}
    areas: dict[str, tuple[int, int]] = {}

    def observe(name: str, layer: nn.Module, x: Tensor, y: Tensor) -> None:
        weight = layer.weight
        assert isinstance(weight, Tensor)
        costs[name] = costs.get(name, 0) + y[0].numel() * weight[0].numel()
        areas[name] = (x[0, 0].numel() if x.ndim == 4 else 1, y[0, 0].numel() if y.ndim == 4 else 1)

    with watching(network, (nn.Conv2d, nn.Linear), observe):
        network(noise(model.image))
    return costs, areas


def _inputs(model: Model, network: nn.Module, pictures: np.ndarray, layers: Collection[str]) -> dict[str, Inputs]:
    """What these layers are given on these pictures."""
    sums: dict[str, tuple[Tensor, Tensor]] = {}
    counts: dict[str, int] = {}

    def observe(name: str, _layer: nn.Module, x: Tensor, _y: Tensor) -> None:
        if name in layers:
            rows = x.transpose(0, 1).flatten(1)
            total, products = sums.get(name, (torch.zeros(()), torch.zeros(())))
            sums[name] = total + rows.double().sum(1), products + (rows @ rows.T).double()
            counts[name] = counts.get(name, 0) + rows.shape[1]

    with watching(network, (nn.Conv2d, nn.Linear), observe):
        for start in range(0, len(pictures), BATCH):
            network(normalised(model.image, pictures[start : start + BATCH]))
    means = {name: total / counts[name] for name, (total, _) in sums.items()}
    return {name: Inputs(means[name], sums[name][1] / counts[name] - torch.outer(means[name], means[name])) for name in sums}


def _is_pointwise(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and layer.weight[0, 0].numel() == 1)
