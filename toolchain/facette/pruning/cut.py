"""Takes channels out of layers, and makes a network as narrow as a file of weights."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from facette_runtime.errors import FacetteError

Kept = Mapping[tuple[str, str], Tensor]
"""int64 indices that stay, by layer and side ("out" or "in"); a side that isn't named stays whole."""

CUTTABLE = (nn.Conv2d, nn.Linear, nn.BatchNorm1d, nn.BatchNorm2d, nn.PReLU)


def is_depthwise(layer: nn.Module) -> bool:
    """One filter a channel."""
    return isinstance(layer, nn.Conv2d) and layer.groups == layer.in_channels == layer.out_channels and layer.groups > 1


def cut(network: nn.Module, kept: Kept) -> nn.Module:
    """A copy of a network with only these channels.

    Args:
        network: whatever runs; it is left as it was.
        kept: what stays. Whether the layers fit together afterwards is the caller's business.
    """
    network = copy.deepcopy(network)
    layers = dict(network.named_modules())
    for name in dict.fromkeys(layer for layer, _ in kept):
        layer = layers[name]
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            _cut_weights(layer, kept.get((name, "out")), kept.get((name, "in")))
        else:
            _cut_features(layer, kept[name, "out"])
    return network


def _cut_weights(layer: nn.Conv2d | nn.Linear, out: Tensor | None, into: Tensor | None) -> None:
    rows = slice(None) if out is None else out
    columns = slice(None) if into is None else into
    layer.weight = nn.Parameter(layer.weight.detach()[rows][:, columns].clone())
    if layer.bias is not None:
        layer.bias = nn.Parameter(layer.bias.detach()[rows].clone())
    outputs, inputs = layer.weight.shape[:2]
    if isinstance(layer, nn.Linear):
        layer.out_features, layer.in_features = outputs, inputs
        return
    layer.out_channels, layer.in_channels = outputs, inputs
    if layer.groups > 1:
        layer.in_channels = layer.groups = outputs


def _cut_features(layer: nn.Module, kept: Tensor) -> None:
    """Batch norms and PReLUs have a number a channel."""
    for name, value in list(layer.named_parameters(recurse=False)):
        setattr(layer, name, nn.Parameter(value.data[kept].clone()))
    for name, buffer in list(layer.named_buffers(recurse=False)):
        if buffer.ndim:  # not the counter of batches
            setattr(layer, name, buffer[kept].clone())
    if isinstance(layer, nn.PReLU):
        layer.num_parameters = len(kept)
    else:
        assert isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d))
        layer.num_features = len(kept)


def narrow_to(network: nn.Module, weights: Mapping[str, Tensor]) -> nn.Module:
    """The stock network with the widths that a pruned network's weights have, ready to load them: no pruning is run again.

    A residual block that the weights lack is replaced by the identity, as pruning does.

    Args:
        network: as it was before pruning.
        weights: a state dict by the stock network's names.

    Raises:
        FacetteError: the weights are no narrower version of this network's.
    """
    absent = [name for name, part in network.named_modules() if name and _is_absent(name, part, weights)]
    kept: dict[tuple[str, str], Tensor] = {}
    for name, layer in network.named_modules():
        found = weights.get(f"{name}.weight")
        if found is None or not isinstance(layer, CUTTABLE):
            continue
        own = layer.weight
        if found.ndim != own.ndim or any(a > b for a, b in zip(found.shape, own.shape, strict=True)):
            raise FacetteError(f"weights: {name}.weight has shape {tuple(found.shape)}; it must fit into {tuple(own.shape)}")
        kept[name, "out"] = torch.arange(len(found))
        if found.ndim > 1:
            kept[name, "in"] = torch.arange(found.shape[1])
    narrow = cut(network, kept)
    for name in absent:
        narrow.set_submodule(name, nn.Identity())
    return narrow


def _is_absent(name: str, part: nn.Module, weights: Mapping[str, Tensor]) -> bool:
    """Whether nothing of a part that has parameters is in a state dict."""
    return next(part.parameters(), None) is not None and not any(key.startswith(f"{name}.") for key in weights)
