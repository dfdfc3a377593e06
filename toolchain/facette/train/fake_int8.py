"""int8's rounding as modules that gradients pass through (Jacob et al., 2018, section 3.1; the straight-through estimator)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from facette.fake_quantize import last_code, weight_scale

LEVELS = 255
"""Steps between the smallest and the largest of eight bits' codes."""


class RoundedWeight(nn.Module):
    """A parametrization: symmetric, with a scale for each output channel, as exporters write weights.

    Args:
        bits: of a code.
    """

    def __init__(self, bits: int = 8) -> None:
        super().__init__()
        self._bits = bits

    def forward(self, weight: Tensor) -> Tensor:
        scale, last = weight_scale(weight, self._bits), last_code(self._bits)
        zero = torch.zeros(len(weight), dtype=torch.int32, device=weight.device)
        rounded: Tensor = torch.fake_quantize_per_channel_affine(weight, scale.flatten(), zero, 0, -last, last)
        return rounded


class RoundedActivation(nn.Module):
    """Asymmetric, with one scale for the tensor. The range follows what is seen in training by a moving average.

    Args:
        momentum: weight of the newest batch; the first batch sets the range.
    """

    low: Tensor
    high: Tensor
    seen: Tensor

    def __init__(self, momentum: float) -> None:
        super().__init__()
        self._momentum = momentum
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.zeros(()))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        x = x.float()
        if self.training:
            self._follow(x.detach())
        # Zero must be a code of its own, or padding would not be zero.
        low, high = self.low.clamp(max=0), self.high.clamp(min=0)
        scale = ((high - low) / LEVELS).clamp_min(1e-12)
        zero = (-low / scale).round().to(torch.int32)
        rounded: Tensor = torch.fake_quantize_per_tensor_affine(x, scale, zero, 0, LEVELS)
        return rounded

    def _follow(self, x: Tensor) -> None:
        share = self._momentum if int(self.seen) else 1.0
        self.low.lerp_(x.amin(), share)
        self.high.lerp_(x.amax(), share)
        self.seen += 1
