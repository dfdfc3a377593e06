"""AdaRound: which weights to round up and which down, learnt layer by layer from pictures without labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from facette.fake_quantize import is_on_grid, last_code, weight_scale
from facette.layer_positions import draw_positions, inputs_at, outputs_at
from facette.model import Model
from facette.side_by_side import Place, SideBySide

# The rectified sigmoid's stretch: h reaches 0 and 1 at finite V (Nagel et al., 2020, equation 23).
LOW, HIGH = -0.1, 1.1
WARM_UP = 0.2
"""Share of the steps before roundings are pushed to one side."""
SHARPNESS = (20.0, 2.0)
"""Exponent of the push at its start and its end: at first only roundings near one side feel it."""
HELD_BACK = 8
"""One sample in so many judges the result."""
NUMBERS = 2**20
"""Input numbers that a step reads at most: wide depthwise layers get fewer samples, of which their few weights need fewer."""


@dataclass(frozen=True, slots=True)
class RoundAdaptively:
    """How hard to try.

    Attributes:
        steps: of Adam, for each layer.
        batch: samples a step, at most; a sample is one position of one picture.
        samples: drawn for each layer from all positions of all pictures.
        learning_rate: of Adam.
        push: weight of the roundings' push to one side, against an error in units of plain rounding's.
        bits: of the weights' grid.
    """

    kind: Literal["round-adaptively"] = "round-adaptively"
    steps: int = 300
    batch: int = 256
    samples: int = 8192
    learning_rate: float = 0.1
    push: float = 1.0
    bits: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.steps, self.batch, self.samples) < 1:
            raise ValueError(f"steps, batch and samples must be at least 1, but got {self.steps}, {self.batch}, {self.samples}")
        last_code(self.bits)


def round_adaptively(model: Model, settings: RoundAdaptively, pictures: np.ndarray) -> Model:
    """Puts all weights on the exporters' grid so that each layer's output, after its activation, stays closest to the float
    network's (Nagel et al., "Up or down? Adaptive rounding for post-training quantization", 2020, equations 21 to 25, with the
    asymmetric reconstruction of section 4.3: a layer sees what the already rounded layers before it give).

    The largest weight of a channel stays, and with it the channel's scale, so that rounding the result to nearest gives it back.
    A layer that does not do better than plain rounding on samples held back is rounded plainly.

    Args:
        model: traced, batch norms folded, equalized if it is to be; not lowered, so that PReLUs are seen as activations.
            Lowering afterwards leaves the grid alone.
        settings: how hard to try.
        pictures: uint8 [n, h, w, 3] in the network's channel order; a few hundred.
    """
    walk = SideBySide(model, pictures)
    generator = torch.Generator().manual_seed(settings.seed)
    layers = sum(isinstance(part, (nn.Conv2d, nn.Linear)) for part in walk.changed.modules())
    with tqdm(total=layers, desc="round adaptively", unit="layer", dynamic_ncols=True) as bar:
        for place in walk.layers():
            bar.set_postfix_str(place.name)
            if not is_on_grid(place.layer.weight, settings.bits):
                _round(place, settings, generator)
            bar.update()
    return replace(model, network=walk.changed)


@dataclass(frozen=True)
class _Problem:
    """One layer's weights to round: rows are samples, and a layer is a product for each of its groups.

    Attributes:
        codes: [groups, out / group, k], not rounded.
        scale: [groups, out / group, 1].
        bias: [out] or 0.
        inputs: [samples, groups, k], of the rounded network.
        wanted: [samples, out], of the float network, after the activation.
    """

    codes: Tensor
    scale: Tensor
    bias: Tensor
    inputs: Tensor
    wanted: Tensor
    activation: Callable[[Tensor], Tensor]

    def error(self, codes: Tensor, rows: Tensor) -> Tensor:
        """Mean squared error over some samples."""
        weight, inputs = codes * self.scale, self.inputs[rows]
        if weight.shape[0] == 1:
            output = inputs[:, 0] @ weight[0].T
        else:
            output = torch.einsum("sgk,gok->sgo", inputs, weight).flatten(1)
        return (self.activation(output + self.bias) - self.wanted[rows]).square().mean()


@torch.no_grad()
def _round(place: Place, settings: RoundAdaptively, generator: torch.Generator) -> None:
    layer = place.layer
    groups = layer.groups if isinstance(layer, nn.Conv2d) else 1
    scale = weight_scale(layer.weight, settings.bits)
    positions = draw_positions(layer, place.given_inputs, settings.samples, generator)
    activation = place.activation or _identity
    wanted = torch.cat([outputs_at(place.original, x, rows) for x, rows in zip(place.wanted_inputs, positions, strict=True)])
    problem = _Problem(
        codes=(layer.weight / scale).reshape(groups, layer.weight.shape[0] // groups, -1),
        scale=scale.reshape(groups, -1, 1),
        bias=torch.zeros(()) if layer.bias is None else layer.bias.detach(),
        inputs=torch.cat([inputs_at(layer, x, rows) for x, rows in zip(place.given_inputs, positions, strict=True)]),
        wanted=activation(wanted),
        activation=activation,
    )
    order = torch.randperm(len(wanted), generator=generator)
    count = len(order) // HELD_BACK
    held_back, rows = (order[:count], order[count:]) if count else (order, order)
    nearest = problem.codes.round()
    learnt = _learn(problem, rows, settings, generator)
    better = problem.error(learnt, held_back) < problem.error(nearest, held_back)
    layer.weight.data = (learnt if better else nearest).reshape(layer.weight.shape) * scale


@torch.enable_grad()
def _learn(problem: _Problem, rows: Tensor, settings: RoundAdaptively, generator: torch.Generator) -> Tensor:
    """The codes, rounded up or down."""
    below, last = problem.codes.floor(), last_code(settings.bits)
    rest = (problem.codes - below).clamp(0, 1)
    extreme = problem.codes.abs() > last - 1e-3
    choice = torch.logit((rest - LOW) / (HIGH - LOW)).requires_grad_()
    unit = float(problem.error(problem.codes.round(), rows).detach()) or 1.0
    optimizer = torch.optim.Adam([choice], lr=settings.learning_rate)
    size = min(settings.batch, len(rows), max(1, NUMBERS // problem.inputs[0].numel()))
    for step in range(settings.steps):
        batch = rows[torch.randint(len(rows), (size,), generator=generator)]
        up = (choice.sigmoid() * (HIGH - LOW) + LOW).clamp(0, 1)
        codes = torch.where(extreme, problem.codes.round(), (below + up).clamp(-last, last))
        loss = problem.error(codes, batch) / unit
        progress = (step / settings.steps - WARM_UP) / (1 - WARM_UP)
        if progress > 0:
            sharpness = SHARPNESS[0] + (SHARPNESS[1] - SHARPNESS[0]) * progress
            loss = loss + settings.push * (1 - (2 * up - 1).abs().pow(sharpness)).mean()
        (choice.grad,) = torch.autograd.grad(loss, choice)  # the activation's own parameters need none
        optimizer.step()
    up = (choice.detach() >= 0).float()
    return torch.where(extreme, problem.codes.round(), (below + up).clamp(-last, last))


def _identity(x: Tensor) -> Tensor:
    return x
