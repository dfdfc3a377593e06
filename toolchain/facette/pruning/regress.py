"""Least squares for the layers of a cut network, at a sample of output positions."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from facette.pruning.cut import is_depthwise
from facette.train.least_squares import RIDGE


def patches(conv: nn.Conv2d, x: Tensor, picked: Tensor) -> Tensor:
    """What each filter reads at some output positions: [m, inputs × taps], or [m, c, taps] for a depthwise convolution."""
    assert not isinstance(conv.padding, str)
    (above, left), (high, wide) = conv.padding, conv.kernel_size
    x = F.pad(x, (left, left, above, above))
    columns = (x.shape[3] - conv.dilation[1] * (wide - 1) - 1) // conv.stride[1] + 1
    rows, columns_at = picked // columns * conv.stride[0], picked % columns * conv.stride[1]
    down = rows[:, None] + torch.arange(high).repeat_interleave(wide) * conv.dilation[0]
    across = columns_at[:, None] + torch.arange(wide).repeat(high) * conv.dilation[1]
    taps = x[:, :, down, across].transpose(1, 2).flatten(0, 1)
    return taps if is_depthwise(conv) else taps.flatten(1)


def solve_depthwise(pairs: Iterable[tuple[Tensor, Tensor]], inherited: Tensor, *, bias: bool) -> tuple[Tensor, Tensor]:
    """As `facette.train.least_squares.solve`, for each channel alone.

    Args:
        pairs: x [m, c, taps], y [m, c].
        inherited: [c, taps], where the data do not decide.
        bias: whether there is a constant term.
    """
    channels, taps = inherited.shape
    gram, cross = torch.zeros(channels, taps + 1, taps + 1, dtype=torch.double), torch.zeros(channels, taps + 1, dtype=torch.double)
    for x, y in pairs:
        x = torch.cat([x, torch.full((*x.shape[:2], 1), 1.0 if bias else 0.0)], dim=2).transpose(0, 1)
        gram += (x.transpose(1, 2) @ x).double()
        cross += (x.transpose(1, 2) @ y.T[..., None]).squeeze(2).double()
    diagonal = gram.diagonal(dim1=1, dim2=2)
    pull = (RIDGE * diagonal[:, :-1].mean(1)).clamp_min(1e-9)[:, None].repeat(1, taps + 1)
    pull[:, -1] = 1e-9 if bias else 1.0
    centre = F.pad(inherited.double(), (0, 1))
    solution = torch.linalg.solve(gram + torch.diag_embed(pull), (cross + pull * centre)[..., None]).squeeze(2).float()
    return solution[:, :-1], solution[:, -1]
