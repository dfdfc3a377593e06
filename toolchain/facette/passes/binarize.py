"""Weights of one bit, as an experiment: a filter becomes ±α, with α its mean magnitude.

Rastegari et al., "XNOR-Net", 2016, section 3.1 (binary weights; activations stay as they are). No engine here computes with
bits, so the gain is the size of the weights alone, and what it costs in accuracy is for the report to say.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from facette.model import Model
from facette.train.fold import fold_in_place
from facette.train.recovery import Recovery, check_crops, recover
from facette.train.teacher import torch_network


@dataclass(frozen=True, slots=True)
class Binarize(Recovery):
    """Settings of `binarize`.

    Attributes:
        depthwise: binarize depthwise convolutions too. They hold few weights and suffer most, so they stay float by default.
    """

    kind: Literal["binarize"] = "binarize"
    depthwise: bool = False


def binarize(
    model: Model, teacher: Model, settings: Binarize, crops: Sequence[np.ndarray], run_dir: Path, labels: Sequence[str] = ()
) -> Model:
    """Trains ``model`` with binary weights and leaves them at ±α; the first and the last layer keep float weights.

    Args, returns and errors as `facette.passes.distil.distil`.
    """
    check_crops(model, teacher, crops)
    student, original = copy.deepcopy(torch_network(model)), copy.deepcopy(torch_network(teacher))
    if fold_in_place(student):
        fold_in_place(original)
    layers = binary_layers(student, depthwise=settings.depthwise)
    for layer in layers:
        parametrize.register_parametrization(layer, "weight", _Binary())
    network = recover(student, model, teacher, original, settings, crops, run_dir, labels)
    for layer in layers:
        parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
    return replace(model, network=network, statistics=None)


def binary_layers(network: nn.Module, *, depthwise: bool) -> list[nn.Conv2d | nn.Linear]:
    """The layers that `binarize` changes, in order: all but the first and the last, and depthwise ones only if asked for."""
    layers = [layer for layer in network.modules() if isinstance(layer, (nn.Conv2d, nn.Linear))][1:-1]
    return [layer for layer in layers if depthwise or not (isinstance(layer, nn.Conv2d) and layer.groups > 1)]


class _Sign(torch.autograd.Function):
    """±1; the gradient passes where the weight is within its filter's reach (the straight-through estimator)."""

    @staticmethod
    def forward(context: Any, weight: Tensor, reach: Tensor) -> Tensor:
        context.save_for_backward(weight.abs() <= reach)
        return torch.where(weight >= 0, 1.0, -1.0)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Any:
        (within,) = context.saved_tensors
        return gradients[0] * within, None


class _Binary(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        scale = weight.abs().flatten(1).mean(1).reshape(-1, *[1] * (weight.ndim - 1))
        # Rastegari's clip at one suits weights of that size; these are small, so the clip follows the filter's own scale.
        signs: Tensor = _Sign.apply(weight, 3 * scale.detach())  # type: ignore[no-untyped-call]
        return scale * signs
