"""PReLU into forms that engines fuse, exactly.

ONNX Runtime's PReLU kernel leaves the blocked channel layout of its convolutions, and most of a PReLU network's time is then
spent converting back and forth. Three equivalents are offered; the compiler measures which is fastest on which engine:

- "dw2":  a·x + relu((1−a)·x), both scalings as depthwise 1×1 convolutions, which fuse with the ReLU and the sum;
- "relu": a·x + (1−a)·relu(x), plain arithmetic;
- "max":  max(x, a·x).

"dw2" and "max" hold for slopes a ≤ 1. `flip_steep_channels` makes them so: PReLU_a(x) = −a · PReLU_{1/a}(−x), and the signs and
the factor go into the neighbouring layers' weights.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, fx, nn

from facette.model import Model


class TwoDepthwise(nn.Module):
    """a·x + relu((1−a)·x) for slopes float32 [c] ≤ 1."""

    def __init__(self, slope: Tensor) -> None:
        super().__init__()
        channels = len(slope)
        self.linear = nn.Conv2d(channels, channels, 1, groups=channels, bias=False)
        self.rectified = nn.Conv2d(channels, channels, 1, groups=channels, bias=False)
        self.linear.weight.data = slope.reshape(-1, 1, 1, 1).clone()
        self.rectified.weight.data = (1 - slope).reshape(-1, 1, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) + torch.relu(self.rectified(x))


class ReluSum(nn.Module):
    """a·x + (1−a)·relu(x) for any slopes float32 [c]."""

    slope: Tensor
    rest: Tensor

    def __init__(self, slope: Tensor) -> None:
        super().__init__()
        self.register_buffer("slope", slope.reshape(1, -1, 1, 1).clone())
        self.register_buffer("rest", 1 - self.slope)

    def forward(self, x: Tensor) -> Tensor:
        return self.slope * x + self.rest * torch.relu(x)


class Maximum(nn.Module):
    """max(x, a·x) for slopes float32 [c] ≤ 1."""

    slope: Tensor

    def __init__(self, slope: Tensor) -> None:
        super().__init__()
        self.register_buffer("slope", slope.reshape(1, -1, 1, 1).clone())

    def forward(self, x: Tensor) -> Tensor:
        return torch.maximum(x, self.slope * x)


FORMS: dict[str, Callable[[Tensor], nn.Module]] = {"dw2": TwoDepthwise, "relu": ReluSum, "max": Maximum}


def has_prelu(model: Model) -> bool:
    """Whether there is anything to lower."""
    return isinstance(model.network, nn.Module) and any(isinstance(part, nn.PReLU) for part in model.network.modules())


def lower_prelu(model: Model, form: str) -> Model:
    """Replaces every PReLU on a picture [n, c, h, w] by ``form``; where a slope above 1 can't be flipped away, by "relu".

    Args:
        model: traced, batch norms folded.
        form: one of `FORMS`.
    """
    graph = _copy(model)
    modules = dict(graph.named_modules())
    for node in graph.graph.nodes:
        layer = modules.get(node.target) if node.op == "call_module" else None
        if isinstance(layer, nn.PReLU):
            slope = layer.weight.detach()
            build = FORMS[form] if bool((slope <= 1).all()) else ReluSum
            graph.set_submodule(node.target, build(slope))
    graph.recompile()
    return replace(model, network=graph, form=form)


def flip_steep_channels(model: Model) -> Model:
    """Makes every slope ≤ 1 where the layers on both sides are convolutions or linear, without changing the function.

    Args:
        model: traced, batch norms folded (a norm between convolution and PReLU would hide the convolution).
    """
    graph = _copy(model)
    modules = dict(graph.named_modules())
    for node in graph.graph.nodes:
        layer = modules.get(node.target) if node.op == "call_module" else None
        if not isinstance(layer, nn.PReLU) or layer.num_parameters == 1:
            continue
        source = node.args[0]
        neighbours = [source, *node.users]
        if len(source.users) != 1 or any(n.op != "call_module" or not isinstance(modules[n.target], nn.Conv2d) for n in neighbours):
            continue
        slope = layer.weight.data
        steep = slope > 1
        _scale_outputs(modules[source.target], torch.where(steep, -1.0, 1.0))
        layer.weight.data = torch.where(steep, 1 / slope, slope)
        for user in node.users:
            _scale_inputs(modules[user.target], torch.where(steep, -slope, torch.ones_like(slope)))
    return replace(model, network=graph)


def _scale_outputs(layer: nn.Conv2d, factor: Tensor) -> None:
    layer.weight.data *= factor.reshape(-1, 1, 1, 1)
    if layer.bias is not None:
        layer.bias.data *= factor


def _scale_inputs(layer: nn.Conv2d, factor: Tensor) -> None:
    # Row o of the weights reads the input channels of its group only.
    per_group = factor.reshape(layer.groups, -1)
    rows = per_group.repeat_interleave(layer.out_channels // layer.groups, dim=0)
    layer.weight.data *= rows[:, :, None, None]


def _copy(model: Model) -> fx.GraphModule:
    """A graph with weights of its own."""
    assert isinstance(model.network, fx.GraphModule)
    return copy.deepcopy(model.network)
