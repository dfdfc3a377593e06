"""Muon: steps of a matrix that are as large in each of its directions, whatever the gradient's spectrum.

Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024; steps scaled to AdamW's, so that one learning rate
serves both: Liu et al., "Muon is scalable for LLM training", 2025, section 2.2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

_MOMENTUM = 0.95

# Of the quintic that brings singular values near one in five rounds, from wherever in 0..1 they are.
_LINEAR, _CUBIC, _QUINTIC = 3.4445, -4.7750, 2.0315
_ROUNDS = 5


class Muon(torch.optim.AdamW):
    """Muon for weights that mix channels; AdamW for all others: depthwise kernels, biases, scales and slopes.

    Args:
        groups: of a network's parameters, float32, as `torch.optim.AdamW` takes them.
        learning_rate: of both.
    """

    def __init__(self, groups: Sequence[Mapping[str, Any]], learning_rate: float) -> None:
        parted = [
            {**group, "params": [p for p in group["params"] if is_matrix(p) == orthogonal], "orthogonal": orthogonal}
            for group in groups
            for orthogonal in (True, False)
        ]
        super().__init__([group for group in parted if group["params"]], lr=learning_rate)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # no closure is ever given
        every = self.param_groups
        for group in every:
            if group["orthogonal"]:
                for parameter in group["params"]:
                    self._step_matrix(parameter, group["lr"], group["weight_decay"])
        self.param_groups = [group for group in every if not group["orthogonal"]]
        try:
            super().step(closure)
        finally:
            self.param_groups = every

    def _step_matrix(self, weight: nn.Parameter, rate: float, decay: float) -> None:
        if weight.grad is None:
            return
        state = self.state[weight]
        if not state:
            state["step"] = torch.zeros(())  # AdamW looks for it in every state that it loads
            state["momentum"] = torch.zeros_like(weight.grad)
        state["step"] += 1
        momentum = state["momentum"].lerp_(weight.grad, 1 - _MOMENTUM)
        ahead = weight.grad.lerp(momentum, _MOMENTUM).flatten(1)  # Nesterov's
        step = orthogonalize(ahead).mul_(0.2 * max(ahead.shape) ** 0.5)
        step.masked_fill_(ahead == 0, 0.0)  # what never had a gradient is held, as the zeros of a sparse network are
        weight.mul_(1 - rate * decay).sub_(step.reshape(weight.shape), alpha=rate)


def is_matrix(weight: Tensor) -> bool:
    """Whether a weight mixes channels: [out, in, ...] with more than one channel in."""
    return weight.ndim > 1 and weight.shape[1] > 1


def orthogonalize(matrix: Tensor) -> Tensor:
    """A matrix with the singular vectors of ``matrix``, float32 [m, n], and singular values of about one, by Newton-Schulz."""
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    found = wide / wide.norm().clamp_min(1e-7)
    for _ in range(_ROUNDS):
        gram = found @ found.T
        found = _LINEAR * found + (_CUBIC * gram + _QUINTIC * gram @ gram) @ found
    return found if wide is matrix else found.T
