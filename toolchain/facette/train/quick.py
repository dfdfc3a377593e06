"""Layers that train at a sensible speed on CPUs, with the same numbers as torch's own.

torch's bf16 gradient of a strided depthwise convolution towards its input takes an order of magnitude longer than that of the same
convolution at stride one: so the output's gradient is spread out with zeros between, which makes it that of stride one. And PReLU's
gradient takes several times as long as the plain arithmetic that it is.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize


class _Strided(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor, weight: Tensor, bias: Tensor | None, layer: nn.Conv2d) -> Tensor:
        context.save_for_backward(x, weight)
        context.layer, context.biased = layer, bias is not None
        return F.conv2d(x, weight, bias, layer.stride, layer.padding, layer.dilation, layer.groups)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Any:
        x, weight = context.saved_tensors
        layer: nn.Conv2d = context.layer
        assert not isinstance(layer.padding, str)
        height, width = (
            side + 2 * border - (kernel - 1)
            for side, border, kernel in zip(x.shape[2:], layer.padding, layer.kernel_size, strict=True)
        )
        spread = x.new_zeros(len(x), layer.out_channels, height, width).to(memory_format=torch.channels_last)
        spread[:, :, :: layer.stride[0], :: layer.stride[1]] = gradients[0]
        sizes = [layer.out_channels] if context.biased else None
        found = torch.ops.aten.convolution_backward(
            spread, x, weight, sizes, [1, 1], layer.padding, [1, 1], False, [0, 0], layer.groups, (True, True, context.biased)
        )
        return *found, None


class StridedDepthwise(nn.Module):
    """Shares the parameters of a strided depthwise convolution, under the same names, and computes the same."""

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        self.weight: Tensor = layer.weight
        self.bias: Tensor | None = layer.bias
        self._layer = [layer]  # in a list, so that its parameters aren't registered twice

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.weight, self.bias
        if torch.is_autocast_enabled(x.device.type):
            kind = torch.get_autocast_dtype(x.device.type)
            x, weight, bias = x.to(kind), weight.to(kind), None if bias is None else bias.to(kind)
        found: Tensor = _Strided.apply(x, weight, bias, self._layer[0])  # type: ignore[no-untyped-call]
        return found


class _PReLU(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor, slope: Tensor) -> Tensor:
        context.save_for_backward(x, slope)
        return F.prelu(x, slope)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Any:
        x, slope = context.saved_tensors
        (given,) = gradients
        # Through the gradient that ReLU would have: torch.where is slow in bf16.
        above = torch.ops.aten.threshold_backward(given, x, 0)
        below = given - above
        shaped = slope.reshape(-1, *[1] * (x.ndim - 2))
        slopes = (below * x).sum([0, *range(2, x.ndim)])
        return torch.addcmul(above, below, shaped), slopes.sum_to_size(slope.shape).to(slope.dtype)


class QuickPReLU(nn.Module):
    """Shares the slopes of a PReLU, under the same name, and computes the same."""

    def __init__(self, layer: nn.PReLU) -> None:
        super().__init__()
        self.weight = layer.weight
        self._layer = [layer]

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = _PReLU.apply(x, self.weight.to(x.dtype))  # type: ignore[no-untyped-call]
        return found


def quicken(network: nn.Module) -> nn.Module:
    """Replaces the slow layers of ``network``, in place; its state dict stays the same.

    Undo it with `restore`.
    """
    for name, layer in list(network.named_modules()):
        if parametrize.is_parametrized(layer):  # its weight is computed anew for each batch
            continue
        if isinstance(layer, nn.Conv2d) and layer.groups == layer.in_channels > 1 and max(layer.stride) > 1 == max(layer.dilation):
            network.set_submodule(name, StridedDepthwise(layer))
        elif isinstance(layer, nn.PReLU):
            network.set_submodule(name, QuickPReLU(layer))
    return network


def restore(network: nn.Module) -> nn.Module:
    """The network as it was before `quicken`, with the parameters as they are now."""
    for name, layer in list(network.named_modules()):
        if isinstance(layer, (StridedDepthwise, QuickPReLU)):
            original = layer._layer[0]
            for key, value in layer.named_parameters():
                setattr(original, key, value)
            network.set_submodule(name, original)
    return network
