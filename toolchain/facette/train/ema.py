"""A moving average of a network's weights (Polyak & Juditsky, 1992): it generalises better than the last step."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Ema:
    """Averages parameters and floating-point buffers.

    Args:
        module: the network to follow.
        decay: weight of the past; 0 keeps a plain copy of the latest weights.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.average: dict[str, Tensor] = {name: value.detach().clone() for name, value in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Takes in the weights after the 0-based ``step``. The start is soon forgotten."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, value in module.state_dict().items():
            if value.is_floating_point():
                self.average[name].lerp_(value, 1 - decay)
            else:
                self.average[name].copy_(value)

    def load_into(self, module: nn.Module) -> None:
        """Replaces the network's weights by the average."""
        module.load_state_dict(self.average)
