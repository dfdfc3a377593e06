"""How many bits each layer's weights get when a network has so many on average: most where a bit helps most.

A layer's harm falls to a quarter with each bit more, so the best shares give every layer the same gain for its next bit a weight
(reverse water-filling: Cover & Thomas, "Elements of information theory", 2006, section 10.3.3). Whole bits are dealt out one by
one, to the layer that gains most.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from facette.fake_quantize import Layer, last_code, rounded_weights
from facette.harm import harm_of_each

FEWEST, MOST = 2, 7
"""Bits of a layer; eight would be no saving."""

_TRIED = 4


def measure_harm(network: nn.Module, layers: Mapping[str, Layer], chunks: Sequence[Tensor]) -> dict[str, float]:
    """What four bits do to the network when one layer's weights alone have them.

    Args:
        network: in eval mode, on the CPU.
        layers: some of its layers, by name.
        chunks: inputs, float32 [n, 3, h, w] each.

    Returns:
        The mean cosine distance, 1 − cosine, between the outputs with and without, by layer.
    """
    return harm_of_each(network, chunks, layers, lambda name: rounded_weights(layers[name], _TRIED), "weights' bits")


def share_bits(harm: Mapping[str, float], weights: Mapping[str, int], mean: float) -> dict[str, int]:
    """Whole bits for each layer, so that all layers' weights together have no more than ``mean`` on average.

    Args:
        harm: of each layer at four bits, as `measure_harm` gives.
        weights: how many each layer has.
        mean: of bits, over all weights.

    Returns:
        `FEWEST` to `MOST`, by layer; `FEWEST` for all where ``mean`` is less.
    """

    def gain(name: str) -> float:
        return harm[name] * (_share(bits[name]) - _share(bits[name] + 1)) / weights[name]

    bits = dict.fromkeys(harm, FEWEST)
    left = (mean - FEWEST) * sum(weights.values())
    while fitting := [name for name in bits if bits[name] < MOST and weights[name] <= left]:
        best = max(fitting, key=gain)
        bits[best] += 1
        left -= weights[best]
    return bits


def _share(bits: int) -> float:
    """Of the harm that four bits do: rounding's error goes with the square of the step."""
    return (last_code(_TRIED) / last_code(bits)) ** 2
