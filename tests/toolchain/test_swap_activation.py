"""PReLU traded for activations that engines fuse."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import fx, nn

from facette.passes.swap_activation import Activation, SwapActivation, swap_activation
from facette_runtime.errors import FacetteError
from tests.toolchain.faces import small_model

KINDS: dict[Activation, type[nn.Module]] = {"relu": nn.ReLU, "relu6": nn.ReLU6, "hardswish": nn.Hardswish, "leaky": nn.LeakyReLU}


@pytest.mark.parametrize("to", list(KINDS))
def test_every_prelu_becomes_the_activation(to: Activation) -> None:
    model = small_model()
    swapped = swap_activation(model, SwapActivation(to=to)).network
    assert isinstance(swapped, nn.Module)
    assert sum(isinstance(part, KINDS[to]) for part in swapped.modules()) == 2
    assert not any(isinstance(part, nn.PReLU) for part in swapped.modules())
    assert sum(isinstance(part, nn.PReLU) for part in model.network.modules()) == 2  # type: ignore[union-attr]


def test_a_leaky_slope_is_the_mean_of_the_channels() -> None:
    model = small_model()
    assert isinstance(model.network, nn.Module)
    with torch.no_grad():
        model.network.get_submodule("act").weight.copy_(torch.linspace(0, 0.7, 8))  # type: ignore[operator]
    swapped = swap_activation(model, SwapActivation(to="leaky")).network
    assert swapped.get_submodule("act").negative_slope == pytest.approx(0.35)  # type: ignore[union-attr]


def test_a_traced_network_is_swapped_too() -> None:
    model = small_model()
    assert isinstance(model.network, nn.Module)
    traced = replace(model, network=fx.symbolic_trace(model.network))
    swapped = swap_activation(traced, SwapActivation()).network
    direct = swap_activation(model, SwapActivation()).network
    x = torch.randn(2, 3, 32, 32)
    assert isinstance(swapped, nn.Module)
    assert isinstance(direct, nn.Module)
    assert torch.equal(swapped(x), direct(x))


def test_what_has_no_prelu_is_refused() -> None:
    swapped = swap_activation(small_model(), SwapActivation())
    with pytest.raises(FacetteError, match="no PReLU"):
        swap_activation(swapped, SwapActivation())
    with pytest.raises(FacetteError, match="ONNX"):
        swap_activation(replace(swapped, network=Path("network.onnx")), SwapActivation())
