"""Zeros in place of the smallest weights. Shapes stay, so an engine is faster only if it skips zeros.

`benchmarks/sparse_speed.py` measures which do. The file gets smaller once it is packed, on every engine.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor, nn

from facette.model import Model
from facette.pruning.masks import weights_of
from facette_runtime.errors import FacetteError


@dataclass(frozen=True, slots=True)
class Sparsify:
    """Which weights become zero. Biases and batch norms are left alone.

    Attributes:
        kind: tells the passes of a recipe apart.
        pattern: "unstructured": the smallest anywhere; "2:4": the two smallest of every four neighbours along the input channels,
            the pattern of NVIDIA's sparse tensor cores (Mishra et al., "Accelerating sparse deep neural networks", 2021).
        sparsity: the part that becomes zero. Either this or ``keep``; neither for "2:4".
        keep: how many weights stay, the largest; in each layer for the scope "layer".
        scope: whether weights compete with all others or within their layer.
        order: for the scope "global": layers that are emptied first, one after the other, before any other layer is touched.
        layers: for the scope "layer": sparsities of some layers instead of ``sparsity``.
        skip: layers that stay as they are.
        most: no layer loses more than this part of its weights.
    """

    kind: Literal["sparsify"] = "sparsify"
    pattern: Literal["unstructured", "2:4"] = "unstructured"
    sparsity: float | None = None
    keep: int | None = None
    scope: Literal["global", "layer"] = "global"
    order: tuple[str, ...] = ()
    layers: dict[str, float] = field(default_factory=dict)
    skip: tuple[str, ...] = ()
    most: float = 0.98

    def __post_init__(self) -> None:
        if self.pattern == "2:4":
            if self.sparsity is not None or self.keep is not None or self.order or self.layers:
                raise ValueError("pattern 2:4 empties half of everything: sparsity, keep, order and layers say nothing to it")
        elif (self.sparsity is None) == (self.keep is None):
            raise ValueError("give either sparsity (the part that becomes zero) or keep (how many weights stay)")
        if self.order and self.scope != "global":
            raise ValueError('order is for scope = "global"')
        if self.layers and (self.scope != "layer" or self.sparsity is None):
            raise ValueError('layers are for scope = "layer" with sparsity')
        for name, value in {"sparsity": self.sparsity, "most": self.most, **self.layers}.items():
            if value is not None and not 0 <= value <= 1:
                raise ValueError(f"{name} must lie in 0..1, but got {value}")
        if self.keep is not None and self.keep < 0:
            raise ValueError(f"keep must not be negative, but got {self.keep}")


@torch.no_grad()
def sparsify(model: Model, settings: Sparsify) -> Model:
    """Empties a network's smallest weights (Han et al., "Learning both weights and connections", 2015, section 3.1).

    Passes that train hold the zeros: see `facette.pruning.masks.hold_zeros`.

    Args:
        model: with a torch network.
        settings: what and how much.

    Returns:
        A model with a new network; the old one is left as it was.

    Raises:
        FacetteError: the network is an ONNX file, or a layer that the settings name isn't a convolution or linear layer of it.
    """
    if not isinstance(model.network, nn.Module):
        raise FacetteError(f"{model.name}: an ONNX file can't be made sparse; give the torch module")
    network = copy.deepcopy(model.network)
    weights = weights_of(network)
    for name in (*settings.order, *settings.layers, *settings.skip):
        if name not in weights:
            raise FacetteError(f"sparsify: no layer {name!r} with weights; known: {', '.join(weights)}")
    weights = {name: weight for name, weight in weights.items() if name not in settings.skip}
    if settings.pattern == "2:4":
        for weight in weights.values():
            weight.mul_(two_of_four(weight))
    elif settings.scope == "layer":
        for name, weight in weights.items():
            _empty(weight, _count_in_layer(settings, name, weight.numel()))
    else:
        for name, count in _counts(settings, weights).items():
            _empty(weights[name], count)
    return replace(model, network=network)


def two_of_four(weight: Tensor) -> Tensor:
    """True for the two largest of every four neighbours along the input channels; everywhere, if those are no multiple of four.

    Args:
        weight: [k, c, ...] as torch has it, which is the KCRS of engines; a depthwise convolution's c is 1.
    """
    if weight.shape[1] % 4:
        return torch.ones_like(weight, dtype=torch.bool)
    fours = _in_fours(weight.abs().movedim(1, -1))
    places = fours.argsort(dim=-1, descending=True, stable=True)[..., :2]
    mask = torch.zeros_like(fours, dtype=torch.bool).scatter_(-1, places, True)
    return mask.flatten(-2).movedim(-1, 1)


def _in_fours(x: Tensor) -> Tensor:
    return x.reshape(*x.shape[:-1], -1, 4)


def _empty(weight: Tensor, count: int) -> None:
    """Zeroes the ``count`` smallest."""
    weight.view(-1)[weight.abs().flatten().argsort(stable=True)[:count]] = 0


def _count_in_layer(settings: Sparsify, name: str, size: int) -> int:
    """How many of a layer's weights go."""
    if settings.keep is not None:
        return min(max(size - settings.keep, 0), int(settings.most * size))
    return int(min(settings.layers.get(name, settings.sparsity or 0.0), settings.most) * size)


def _counts(settings: Sparsify, weights: Mapping[str, Tensor]) -> dict[str, int]:
    """How many weights go from each layer, all competing but for those that are to be emptied first."""
    total = sum(weight.numel() for weight in weights.values())
    left = max(total - settings.keep, 0) if settings.keep is not None else int((settings.sparsity or 0.0) * total)
    limits = {name: int(settings.most * weight.numel()) for name, weight in weights.items()}
    counts = dict.fromkeys(weights, 0)
    for name in settings.order:
        if name in weights:
            counts[name] = min(left, limits[name])
            left -= counts[name]
    others = [name for name in weights if name not in settings.order]
    # Each layer offers as many of its smallest as it may lose.
    offers = {name: weights[name].abs().flatten().sort().values[: limits[name]] for name in others}
    if left and offers:
        owners = torch.cat([torch.full((len(values),), place) for place, values in enumerate(offers.values())])
        chosen = owners[torch.cat(list(offers.values())).argsort(stable=True)[:left]]
        counts.update(zip(offers, torch.bincount(chosen, minlength=len(offers)).tolist(), strict=True))
    return counts
