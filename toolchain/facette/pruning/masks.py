"""Zeros that stay zero while what is left is trained."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn


def weights_of(network: nn.Module) -> dict[str, Tensor]:
    """The weights of convolutions and linear layers by layer; biases and norms are too few to be worth emptying."""
    return {name: layer.weight for name, layer in network.named_modules() if isinstance(layer, (nn.Conv2d, nn.Linear))}


def hold_zeros(network: nn.Module) -> bool:
    """Keeps weights that are zero now at zero while the network is trained: their gradients become zero too.

    AdamW, Muon and SGD then leave them where they are, weight decay included, as long as they have no momentum yet.

    Returns:
        Whether there are any.
    """
    masks = [(weight, weight.detach() == 0) for weight in weights_of(network).values()]
    sparse = [(weight, mask) for weight, mask in masks if bool(mask.any())]
    for weight, mask in sparse:
        weight.register_hook(_emptying(mask))  # type: ignore[no-untyped-call]
    return bool(sparse)


def _emptying(mask: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda gradient: gradient.masked_fill(mask.to(gradient.device), 0.0)


def density(network: nn.Module) -> float:
    """The part of all weights of convolutions and linear layers that is not zero."""
    weights = [weight.detach() for weight in weights_of(network).values()]
    return sum(int(weight.count_nonzero()) for weight in weights) / sum(weight.numel() for weight in weights)
