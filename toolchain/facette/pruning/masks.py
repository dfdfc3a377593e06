"""Zeros that stay zero while what is left is trained."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


def weights_of(network: nn.Module) -> dict[str, Tensor]:
    """The weights of convolutions and linear layers by layer; biases and norms are too few to be worth emptying."""
    return {name: layer.weight for name, layer in network.named_modules() if isinstance(layer, (nn.Conv2d, nn.Linear))}


def hold_zeros(network: nn.Module) -> Callable[[], None]:
    """Remembers which weights are zero now.

    Returns:
        A function that makes them zero again: to be called after each step of an optimizer.
    """
    zeros: dict[str, Tensor] = {name: weight.detach() == 0 for name, weight in weights_of(network).items()}
    zeros = {name: mask for name, mask in zeros.items() if bool(mask.any())}
    layers = dict(network.named_modules())

    def again() -> None:
        with torch.no_grad():
            for name, mask in zeros.items():
                weight = layers[name].weight
                assert isinstance(weight, Tensor)
                weight.masked_fill_(mask, 0.0)

    return again


def density(network: nn.Module) -> float:
    """The part of all weights of convolutions and linear layers that is not zero."""
    weights = [weight.detach() for weight in weights_of(network).values()]
    return sum(int(weight.count_nonzero()) for weight in weights) / sum(weight.numel() for weight in weights)
