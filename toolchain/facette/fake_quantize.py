"""What int8 does to a network, in float arithmetic: the grids that the exporters round to.

Weights are symmetric with a scale for each output channel, so that the largest weight of a channel sits on the last code:
±127 for eight bits. Grids of fewer bits are for a bundle's size, not for an engine: their step is a little less, so that it has few
binary digits and packs well, and the largest weight is clipped a little. Activations are asymmetric with one scale a tensor
(Krishnamoorthi, "Quantizing deep convolutional networks for efficient inference", 2018, sections 2.1 and 3.1).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

Layer = nn.Conv2d | nn.Linear
"""A layer whose weights exporters round; output channels come first in both kinds' weights."""

_ENGINES_BITS = 8
"""Of the grid whose steps the exporters choose."""

_DIGITS = 5
"""Binary digits of a coarser grid's step: at most a sixteenth of the largest weight is clipped."""


def last_code(bits: int) -> int:
    """The largest code of a symmetric grid: 127 for eight bits.

    Raises:
        ValueError: fewer than two bits, which leave no codes on both sides of zero.
    """
    if bits < 2:
        raise ValueError(f"bits must be at least 2, but got {bits}")
    return int(2 ** (bits - 1) - 1)


def weight_scale(weight: Tensor, bits: int = 8) -> Tensor:
    """The step of each output channel's grid; 1 where a channel is all zeros.

    For eight bits max|w| / 127; for fewer the largest number of five binary digits that is no more than max|w| / `last_code`.

    Args:
        weight: float32 [out, ...].

    Returns:
        float32 [out, 1, ...], of as many dimensions as ``weight``.
    """
    reach = weight.detach().flatten(1).abs().amax(1)
    scale = torch.where(reach > 0, reach / last_code(bits), torch.ones_like(reach))
    if bits < _ENGINES_BITS:
        digits, exponent = torch.frexp(scale)
        scale = torch.ldexp((digits * 2**_DIGITS).floor() / 2**_DIGITS, exponent)
    return scale.reshape(-1, *[1] * (weight.ndim - 1))


def weight_codes(weight: Tensor, bits: int = 8) -> Tensor:
    """The nearest codes as float32, shaped as ``weight``, in −127..127 for eight bits."""
    last = last_code(bits)
    return (weight.detach() / weight_scale(weight, bits)).round().clamp(-last, last)


def round_weight(weight: Tensor, bits: int = 8) -> Tensor:
    """The weights that the nearest codes stand for. Rounding twice changes nothing."""
    return weight_codes(weight, bits) * weight_scale(weight, bits)


@contextmanager
def rounded_weights(layer: Layer, bits: int) -> Iterator[None]:
    """The layer with its weights on the grid for a while."""
    kept = layer.weight.data
    layer.weight.data = round_weight(kept, bits)
    try:
        yield
    finally:
        layer.weight.data = kept


def is_on_grid(weight: Tensor, bits: int = 8) -> bool:
    """Whether rounding would leave every weight as it is, but for float32's own rounding."""
    codes = weight.detach() / weight_scale(weight, bits)
    return bool((codes - codes.round()).abs().max() <= 1e-4)


def weighted_layers(network: nn.Module) -> dict[str, Layer]:
    """The layers whose weights are rounded, by name, in order."""
    return {name: layer for name, layer in network.named_modules() if isinstance(layer, Layer)}


def mixing_layers(network: nn.Module) -> dict[str, Layer]:
    """Those of `weighted_layers` that mix channels: most of the weights. Depthwise and grouped convolutions are none of them."""
    return {name: layer for name, layer in weighted_layers(network).items() if getattr(layer, "groups", 1) == 1}


def is_coarse(network: nn.Module) -> bool:
    """Whether a pass has rounded the weights to grids of fewer than eight bits, which rescaling them would take them off: those of
    all layers that mix channels, but perhaps for the first and the last."""
    layers = list(mixing_layers(network).values())[1:-1]
    return bool(layers) and all(any(is_on_grid(layer.weight, bits) for bits in range(2, 8)) for layer in layers)


def round_activation(x: Tensor, low: float, high: float, bits: int = 8) -> Tensor:
    """Clips to [low, high], widened to hold zero, and rounds to 2^bits evenly spaced numbers of which zero is one."""
    low, high = min(low, 0.0), max(high, 0.0)
    if low == high:
        return x
    step = (high - low) / (2**bits - 1)
    zero = round(-low / step)
    return ((x / step).round() + zero).clamp(0, 2**bits - 1).sub(zero).mul(step)
