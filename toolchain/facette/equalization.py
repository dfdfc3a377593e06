"""Cross-layer equalization: the same function with weights that eight bits hold better.

Where one layer's channels are scaled by 1/s and what reads them by s, nothing changes as long as what lies between is positively
homogeneous, f(s·x) = s·f(x) for s > 0, as ReLU, leaky ReLU and PReLU are. Nagel et al., "Data-free quantization through weight
equalization and bias correction", 2019, section 4.1, choose s so that each channel has the same largest weight on both sides.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

MODULES = (nn.ReLU, nn.PReLU, nn.LeakyReLU, nn.Identity, nn.Dropout, nn.Flatten, nn.MaxPool2d, nn.AvgPool2d)
"""Modules between two layers that are positively homogeneous and keep channels apart."""
FUNCTIONS = (F.relu, torch.relu, F.leaky_relu, F.max_pool2d, F.avg_pool2d, torch.flatten)
METHODS = ("relu", "relu_", "flatten", "contiguous")
MAX_SWEEPS = 500
CLOSE = 1e-4
"""Sweeps end when no factor is further from 1."""


@dataclass(frozen=True)
class Pair:
    """A layer and all that reads its output.

    Attributes:
        source: whose output channels are scaled by 1/s.
        readers: whose input channels are scaled by s.
    """

    source: nn.Conv2d
    readers: tuple[nn.Conv2d | nn.Linear, ...]


@torch.no_grad()
def equalize_in_place(graph: fx.GraphModule) -> bool:
    """Equalizes every convolution with the layers that read it, chain by chain until nothing moves any more.

    Args:
        graph: batch norms folded, PReLUs not lowered yet (their other forms hide the homogeneity).

    Returns:
        Whether there was anything to equalize.
    """
    pairs = list(_pairs(graph))
    for _ in range(MAX_SWEEPS):
        if max([_balance(pair) for pair in pairs], default=0.0) < CLOSE:
            break
    return bool(pairs)


def _pairs(graph: fx.GraphModule) -> Iterator[Pair]:
    modules = dict(graph.named_modules())
    calls: dict[str, int] = {}
    for node in graph.graph.nodes:
        if node.op == "call_module":
            calls[node.target] = calls.get(node.target, 0) + 1
    for node in graph.graph.nodes:
        layer = modules.get(node.target) if node.op == "call_module" else None
        if not isinstance(layer, nn.Conv2d) or calls[node.target] > 1:
            continue
        readers = _readers(node, modules, layer.out_channels)
        # A layer that is called twice has two inputs, and its weights can't follow both.
        if readers and all(calls[str(reader.target)] == 1 for reader in readers):
            yield Pair(layer, tuple(modules[reader.target] for reader in readers))


def _readers(node: fx.Node, modules: dict[str, nn.Module], channels: int) -> list[fx.Node] | None:
    """The layers that read ``node``'s output through homogeneous operators; None where anything else reads it too."""
    found: list[fx.Node] = []
    for user in node.users:
        if user.op == "call_module" and isinstance(modules[str(user.target)], (nn.Conv2d, nn.Linear)):
            layer = modules[str(user.target)]
            if isinstance(layer, nn.Linear) and layer.in_features % channels:
                return None
            found.append(user)
        elif _is_homogeneous(user, modules):
            further = _readers(user, modules, channels)
            if further is None:
                return None
            found += further
        else:
            return None
    return found or None


def _is_homogeneous(node: fx.Node, modules: dict[str, nn.Module]) -> bool:
    if node.op == "call_module":
        return isinstance(modules[str(node.target)], MODULES)
    if node.op == "call_method":
        return node.target in METHODS
    return node.op == "call_function" and node.target in FUNCTIONS


def _balance(pair: Pair) -> float:
    """Scales one pair; gives how far the factors were from 1, as the largest |log s|."""
    written = pair.source.weight.abs().amax((1, 2, 3))
    read = torch.stack([_by_input(layer, len(written)).abs().amax((1, 3)).flatten() for layer in pair.readers]).amax(0)
    # A channel that is never written or never read has no range to share.
    some = (written > 0) & (read > 0)
    factor = torch.where(some, (written / read.clamp_min(1e-30)).sqrt(), torch.ones_like(written))
    pair.source.weight /= factor[:, None, None, None]
    if pair.source.bias is not None:
        pair.source.bias /= factor
    for layer in pair.readers:
        weights = _by_input(layer, len(written))
        weights *= factor.reshape(weights.shape[0], 1, -1, 1)
    return float(factor.log().abs().max())


def _by_input(layer: nn.Conv2d | nn.Linear, channels: int) -> Tensor:
    """A layer's weights as a view [groups, rows, input channels of a group, weights]."""
    if isinstance(layer, nn.Linear):  # behind a flattening, each channel has several columns
        return layer.weight.view(1, layer.out_features, channels, -1)
    return layer.weight.view(layer.groups, layer.out_channels // layer.groups, layer.in_channels // layer.groups, -1)
