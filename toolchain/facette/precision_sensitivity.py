"""How much each layer suffers from int8 by itself, so that the few that suffer most can stay in float."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from facette.calibration import RangeMethod
from facette.fake_quantize import Layer, round_activation, rounded_weights, weighted_layers
from facette.harm import harm_of_each, outputs
from facette.model import Model
from facette.ranges import Histogram, range_of
from facette.side_by_side import CHUNK, network_input
from facette.tables import table
from facette_runtime.errors import FacetteError


@dataclass(frozen=True, slots=True)
class LayerSensitivity:
    """One layer.

    Attributes:
        layer: name of the module in the model's network.
        distance: mean cosine distance, 1 − cosine, of the network's outputs when only this layer is in int8.
        macs_share: of all convolutions' and linear layers' multiply-accumulates, 0..1.
    """

    layer: str
    distance: float
    macs_share: float


def measure_sensitivity(
    model: Model, pictures: np.ndarray, method: RangeMethod = "min-max", bits: int = 8
) -> tuple[LayerSensitivity, ...]:
    """Puts each layer into int8 alone, its weights and what it reads, and compares the outputs with the float network's.

    What a layer gives is left to the layers that read it: were they in float, nothing would round it.

    Args:
        model: a torch network, batch norms folded, equalized if it is to ship so.
        pictures: uint8 [n, h, w, 3] in the network's channel order; the ranges are taken from the same ones. The time grows with
            pictures × layers; 64 tell the layers apart.
        method: how activations' ranges are found.
        bits: of weights and activations.

    Returns:
        One entry a layer, in the order in which they run.
    """
    network = model.network
    assert isinstance(network, nn.Module)
    chunks = [network_input(model.image, pictures[start : start + CHUNK]) for start in range(0, len(pictures), CHUNK)]
    layers = weighted_layers(network)
    ranges, macs = _observe(network, layers, chunks, method)
    harm = harm_of_each(network, chunks, macs, lambda name: _rounded(layers[name], ranges[name], bits), "sensitivity")
    return tuple(LayerSensitivity(name, harm[name], macs[name] / sum(macs.values())) for name in macs)


def keep_float(sensitivity: Sequence[LayerSensitivity], budget: float) -> frozenset[str]:
    """Which layers to leave in float: those that win most distance for their multiply-accumulates, as many as the budget allows.

    Args:
        budget: share of the multiply-accumulates that may stay in float, 0..1.

    Raises:
        FacetteError: the budget is outside 0..1.
    """
    if not 0 <= budget <= 1:
        raise FacetteError(f"the share of multiply-accumulates kept in float must be between 0 and 1, but got {budget}")
    kept, left = [], budget + 1e-9
    for entry in sorted(sensitivity, key=lambda entry: entry.distance / max(entry.macs_share, 1e-9), reverse=True):
        if entry.macs_share <= left and entry.distance > 0:
            kept.append(entry.layer)
            left -= entry.macs_share
    return frozenset(kept)


def to_table(sensitivity: Sequence[LayerSensitivity], kept: frozenset[str] = frozenset()) -> str:
    """The layers, the most sensitive first; those in ``kept`` are marked."""
    ordered = sorted(sensitivity, key=lambda entry: entry.distance, reverse=True)
    rows = [
        [entry.layer, f"{entry.distance:.2e}", f"{entry.macs_share:.1%}", "float" if entry.layer in kept else "int8"]
        for entry in ordered
    ]
    return table(["layer", "cosine distance", "MACs", "precision"], rows)


def _observe(
    network: nn.Module, layers: dict[str, Layer], chunks: Sequence[Tensor], method: RangeMethod
) -> tuple[dict[str, tuple[float, float]], dict[str, int]]:
    """The range of what each layer reads, and its multiply-accumulates for one picture, in the order in which they run."""
    seen: dict[str, Histogram] = {}
    macs: dict[str, int] = {}

    def watch(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hook(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            assert isinstance(layer, (nn.Conv2d, nn.Linear))
            seen.setdefault(name, Histogram()).add(inputs[0].numpy())
            macs[name] = output[0].numel() * layer.weight[0].numel()

        return hook

    hooks = [layer.register_forward_hook(watch(name)) for name, layer in layers.items()]
    outputs(network, chunks)
    for hook in hooks:
        hook.remove()
    return {name: range_of(histogram, method) for name, histogram in seen.items()}, macs


@contextmanager
def _rounded(layer: Layer, span: tuple[float, float], bits: int) -> Iterator[None]:
    """The layer in int8 for a while."""
    hook = layer.register_forward_pre_hook(lambda _, inputs: (round_activation(inputs[0], *span, bits),))
    try:
        with rounded_weights(layer, bits):
            yield
    finally:
        hook.remove()
