"""Solves one layer at a time, in closed form."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CHUNK = 64  # pictures at a time
SAMPLES = 400_000  # output positions one problem sees at most
PER_UNKNOWN = 1000  # positions for each unknown of an output, where that is fewer
RIDGE = 1e-3  # pull towards the inherited weights, as a part of the mean of the Gram matrix's diagonal


def fit_conv(conv: nn.Conv2d, x: Tensor, wanted: Tensor, inherited: Tensor, generator: torch.Generator) -> None:
    """Sets a 3×3 convolution's filters and biases so that it turns x into ``wanted`` with the least squared error.

    Args:
        conv: stride, padding and widths; its parameters are overwritten.
        x: float32 [n, inputs, h, w].
        wanted: float32 [n, outputs, h', w'].
        inherited: [outputs, inputs, 3, 3], where the data do not decide.
        generator: of the positions sampled.
    """
    weight, bias = solve(_patches(conv, x, wanted, generator), inherited.flatten(1), bias=True)
    conv.weight.copy_(weight.reshape(conv.weight.shape))
    if conv.bias is not None:
        conv.bias.copy_(bias)


def solve(pairs: Iterable[tuple[Tensor, Tensor]], inherited: Tensor, *, bias: bool) -> tuple[Tensor, Tensor]:
    """Ridge regression of y on x, pulled towards ``inherited`` rather than to zero.

    Args:
        pairs: x [m, i] and y [m, o], in parts.
        inherited: [o, i].
        bias: whether there is a constant term, which nothing pulls at.

    Returns:
        The weight [o, i] and the bias [o], zero without ``bias``.
    """
    gram = cross = torch.zeros((), dtype=torch.double)
    for x, y in pairs:
        x = torch.cat([x, torch.full((len(x), 1), 1.0 if bias else 0.0)], dim=1)
        gram, cross = gram + (x.T @ x).double(), cross + (x.T @ y).double()
    pull = torch.full((len(gram),), RIDGE * float(gram.diagonal()[:-1].mean()), dtype=torch.double)
    pull[-1] = 1e-9 if bias else 1.0  # without a bias its row is empty and must still be solvable
    centre = torch.cat([inherited.T, torch.zeros(1, len(inherited))]).double()
    solution = torch.linalg.solve(gram + torch.diag(pull), cross + pull[:, None] * centre).float()
    return solution[:-1].T, solution[-1]


def _patches(
    conv: nn.Conv2d, x: Tensor, wanted: Tensor, generator: torch.Generator, samples: int = SAMPLES
) -> Iterator[tuple[Tensor, Tensor]]:
    """What the convolution sees, and what it should give, at a random sample of positions: [m, inputs × 9], [m, outputs]."""
    assert not isinstance(conv.padding, str)
    positions = wanted.shape[2] * wanted.shape[3]
    share = min(positions, max(1, samples // len(x)))
    for some, targets in zip(torch.split(x, CHUNK), torch.split(wanted, CHUNK), strict=True):
        picked = torch.randperm(positions, generator=generator)[:share]
        patches = F.unfold(some, conv.kernel_size, padding=conv.padding, stride=conv.stride)[:, :, picked]
        yield patches.transpose(1, 2).flatten(0, 1), targets.flatten(2)[:, :, picked].transpose(1, 2).flatten(0, 1)


def sampled(x: Tensor) -> Tensor:
    """[n, c, h, w] → [c, m]: at most about twice `SAMPLES` of the positions, evenly spread."""
    columns = x.transpose(0, 1).flatten(1)
    return columns[:, :: max(1, columns.shape[1] // SAMPLES)]


def fit_layer(layer: nn.Conv2d | nn.Linear, x: Tensor, wanted: Tensor, inherited: Tensor, generator: torch.Generator) -> None:
    """As `fit_conv`, for a linear layer or a convolution of any kernel, with or without bias, that has one group."""
    if isinstance(layer, nn.Conv2d):
        pairs = _patches(layer, x, wanted, generator, min(SAMPLES, PER_UNKNOWN * inherited[0].numel()))
    else:
        pairs = zip(torch.split(x, CHUNK), torch.split(wanted, CHUNK), strict=True)
    weight, bias = solve(pairs, inherited.flatten(1), bias=layer.bias is not None)
    layer.weight.copy_(weight.reshape(layer.weight.shape))
    if layer.bias is not None:
        layer.bias.copy_(bias)


def fit_depthwise(conv: nn.Conv2d, x: Tensor, wanted: Tensor, inherited: Tensor, generator: torch.Generator) -> None:
    """As `fit_conv`, for a depthwise convolution: each channel is a small problem of its own, all are solved at once."""
    channels, taps = conv.out_channels, conv.weight[0].numel()
    gram = torch.zeros(channels, taps + 1, taps + 1, dtype=torch.double)
    cross = torch.zeros(channels, taps + 1, dtype=torch.double)
    for patches, targets in _patches(conv, x, wanted, generator, PER_UNKNOWN * taps):
        columns = torch.cat([patches.reshape(-1, channels, taps), torch.ones(len(patches), channels, 1)], dim=2).transpose(0, 1)
        gram += (columns.transpose(1, 2) @ columns).double()
        cross += torch.einsum("cmt,mc->ct", columns, targets).double()
    pull = RIDGE * gram.diagonal(dim1=1, dim2=2)[:, :-1].mean(1, keepdim=True).expand(-1, taps + 1).clone() + 1e-6
    pull[:, -1] = 1e-9 if conv.bias is not None else 1e12
    centre = torch.cat([inherited.flatten(1), torch.zeros(channels, 1)], dim=1).double()
    solution = torch.linalg.solve(gram + torch.diag_embed(pull), cross + pull * centre).float()
    conv.weight.copy_(solution[:, :-1].reshape(conv.weight.shape))
    if conv.bias is not None:
        conv.bias.copy_(solution[:, -1])
