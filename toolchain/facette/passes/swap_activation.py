"""PReLU traded for an activation that engines fuse with the convolution before it.

Unlike `facette.passes.lower`, this changes what the network computes, so it is followed by training (`facette.passes.distil`).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Literal

from torch import nn

from facette.model import Model
from facette_runtime.errors import FacetteError

Activation = Literal["relu", "relu6", "hardswish", "leaky"]


@dataclass(frozen=True, slots=True)
class SwapActivation:
    """Settings of `swap_activation`.

    Attributes:
        to: "relu" and "relu6" fuse on every engine and quantize best; "hardswish" (Howard et al., "Searching for MobileNetV3",
            2019, section 5.2) fuses on most; "leaky" has one slope for all channels: the mean of the PReLU's that it replaces.
    """

    kind: Literal["swap-activation"] = "swap-activation"
    to: Activation = "relu"


def swap_activation(model: Model, settings: SwapActivation) -> Model:
    """Replaces every PReLU by the activation of ``settings``.

    Args:
        model: stock or traced.

    Returns:
        A model with a new network; the old one is left as it was.

    Raises:
        FacetteError: the network is an ONNX file, or has no PReLU.
    """
    if not isinstance(model.network, nn.Module):
        raise FacetteError(f"{model.name}: activations can be swapped in a torch network only, not in an ONNX file")
    network = copy.deepcopy(model.network)
    found = [(name, layer) for name, layer in network.named_modules() if isinstance(layer, nn.PReLU)]
    if not found:
        raise FacetteError(f"{model.name}: has no PReLU to swap; leave the pass swap-activation out")
    for name, layer in found:
        network.set_submodule(name, _activation(layer, settings.to))
    return replace(model, network=network, statistics=None)


def _activation(layer: nn.PReLU, kind: Activation) -> nn.Module:
    if kind == "relu":
        return nn.ReLU()
    if kind == "relu6":
        return nn.ReLU6()
    if kind == "hardswish":
        return nn.Hardswish()
    return nn.LeakyReLU(float(layer.weight.detach().mean()))
