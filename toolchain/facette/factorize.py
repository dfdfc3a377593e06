"""One layer as a row of cheaper ones: SVD, a projected input, Tucker-2 and CP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

SWEEPS = 60  # of alternating least squares
RIDGE = 1e-6  # keeps its factors bounded, as a part of their Gram matrix's mean diagonal


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a layer is given, float64: mean [c] and covariance [c, c]."""

    mean: Tensor
    covariance: Tensor


def split_pointwise(layer: nn.Conv2d | nn.Linear, rank: int, inputs: Inputs | None = None) -> nn.Sequential:
    """A 1×1 convolution or linear layer as two, by SVD.

    Args:
        layer: a convolution has one group and no padding.
        rank: channels in between.
        inputs: of the layer. With them the outputs' error is the least there is for this rank, rather than the weights' (Zhang et
            al., "Accelerating very deep convolutional networks", 2016, section 3.1), and their mean stays.
    """
    weight = layer.weight.detach().flatten(1).double()
    root, inverse = _roots(inputs, weight.shape[1])
    u, s, v = torch.linalg.svd(weight @ root, full_matrices=False)
    second, first = u[:, :rank] * s[:rank].sqrt(), (s[:rank].sqrt()[:, None] * v[:rank]) @ inverse
    if isinstance(layer, nn.Linear):
        parts: list[nn.Module] = [nn.Linear(layer.in_features, rank, bias=False), nn.Linear(rank, layer.out_features)]
    else:
        parts = [
            nn.Conv2d(layer.in_channels, rank, 1, _pair(layer.stride), bias=False),
            nn.Conv2d(rank, layer.out_channels, 1),
        ]
    bias = None if layer.bias is None else layer.bias.detach()
    if inputs is not None:
        lost = ((weight - second @ first) @ inputs.mean).float()
        bias = lost if bias is None else bias + lost
    return _assemble(parts, [first, second], bias)


def pointwise_energy(layer: nn.Conv2d | nn.Linear, inputs: Inputs | None = None) -> Tensor:
    """Squared singular values of a 1×1 convolution or linear layer, float64, falling; of its outputs where ``inputs`` are given."""
    weight = layer.weight.detach().flatten(1).double()
    return torch.linalg.svdvals(weight @ _roots(inputs, weight.shape[1])[0]).square()


def projection(weight: Tensor, rank: int, inputs: Inputs | None = None) -> tuple[Tensor, Tensor]:
    """The directions of its input that a convolution hears most: the leading singular vectors of its weights, unfolded by input
    channel; of whitened inputs where these are given.

    Args:
        weight: [outputs, c, k, k].
        rank: how many.
        inputs: of the layer.

    Returns:
        float64 [rank, c], which gives the directions, and [c, rank], which goes back: its product with the weights' inputs is the
        convolution that reads the directions.
    """
    root, inverse = _roots(_about_zero(inputs), weight.shape[1])
    axes = torch.linalg.svd(root @ _by_input(weight), full_matrices=False)[0][:, :rank]
    return axes.T @ inverse, root @ axes


def split_projected(conv: nn.Conv2d, rank: int, inputs: Inputs | None = None) -> nn.Sequential:
    """A k×k convolution as a 1×1 and a k×k that reads fewer channels; see `projection`.

    Args:
        conv: with one group.
        rank: channels in between.
        inputs: of the layer.
    """
    weight = conv.weight.detach().double()
    down, up = projection(weight, rank, inputs)
    parts: list[nn.Module] = [
        nn.Conv2d(conv.in_channels, rank, 1, bias=False),
        nn.Conv2d(rank, conv.out_channels, _pair(conv.kernel_size), _pair(conv.stride), _padding(conv), _pair(conv.dilation)),
    ]
    return _assemble(parts, [down, torch.einsum("kcxy,cr->krxy", weight, up)], conv.bias)


def projected_energy(conv: nn.Conv2d, inputs: Inputs | None = None) -> Tensor:
    """Squared singular values of the directions of a convolution's input, float64, falling."""
    root, _ = _roots(_about_zero(inputs), conv.in_channels)
    return torch.linalg.svdvals(root @ _by_input(conv.weight.detach())).square()


def split_tucker(conv: nn.Conv2d, inputs: int, outputs: int) -> nn.Sequential:
    """A k×k convolution as 1×1, a small k×k and 1×1: Tucker-2 by higher-order SVD (Kim et al., "Compression of deep convolutional
    neural networks for fast and low power mobile applications", 2016, section 3.1).

    Args:
        conv: with one group.
        inputs, outputs: channels into and out of the small k×k convolution.
    """
    weight = conv.weight.detach().double()
    left = torch.linalg.svd(weight.flatten(1), full_matrices=False)[0][:, :outputs]
    right = torch.linalg.svd(weight.transpose(0, 1).flatten(1), full_matrices=False)[0][:, :inputs]
    core = torch.einsum("kcxy,ko,ci->oixy", weight, left, right)
    parts: list[nn.Module] = [
        nn.Conv2d(conv.in_channels, inputs, 1, bias=False),
        nn.Conv2d(inputs, outputs, _pair(conv.kernel_size), _pair(conv.stride), _padding(conv), _pair(conv.dilation), bias=False),
        nn.Conv2d(outputs, conv.out_channels, 1),
    ]
    return _assemble(parts, [right.T, core, left], conv.bias)


def tucker_energies(conv: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """Squared singular values of a convolution's unfoldings by input and by output channels, float64, falling."""
    weight = conv.weight.detach().double()
    return torch.linalg.svdvals(weight.transpose(0, 1).flatten(1)).square(), torch.linalg.svdvals(weight.flatten(1)).square()


def split_cp(conv: nn.Conv2d, factors: Sequence[Tensor]) -> nn.Sequential:
    """A k×k convolution as 1×1, k×1 and 1×k depthwise, and 1×1 (Lebedev et al., "Speeding-up convolutional neural networks using
    fine-tuned CP-decomposition", 2015, section 3.2).

    Args:
        conv: with one group.
        factors: as `cp` gives them for its weight.
    """
    out, into, rows, columns = factors
    rank = out.shape[1]
    (high, wide), (down, across), (above, left), (dy, dx) = (
        _pair(conv.kernel_size),
        _pair(conv.stride),
        _padding(conv),
        _pair(conv.dilation),
    )
    parts: list[nn.Module] = [
        nn.Conv2d(conv.in_channels, rank, 1, bias=False),
        nn.Conv2d(rank, rank, (high, 1), (down, 1), (above, 0), (dy, 1), groups=rank, bias=False),
        nn.Conv2d(rank, rank, (1, wide), (1, across), (0, left), (1, dx), groups=rank, bias=False),
        nn.Conv2d(rank, conv.out_channels, 1),
    ]
    return _assemble(parts, [into.T, rows.T, columns.T, out], conv.bias)


def cp(tensor: Tensor, rank: int, seed: int = 0) -> tuple[list[Tensor], float]:
    """Canonical polyadic decomposition by alternating least squares (Kolda & Bader, "Tensor decompositions and applications",
    2009, section 3.4).

    Args:
        tensor: of any order.
        rank: number of terms.
        seed: of the start.

    Returns:
        A factor float64 [size, rank] for each dimension, balanced in length, and the part of the tensor's energy they explain.
    """
    tensor = tensor.double()
    generator = torch.Generator().manual_seed(seed)
    factors = [_start(tensor, mode, rank, generator) for mode in range(tensor.ndim)]
    for _ in range(SWEEPS):
        for mode in range(tensor.ndim):
            others = [factor for place, factor in enumerate(factors) if place != mode]
            gram = torch.stack([factor.T @ factor for factor in others]).prod(0)
            gram = gram + RIDGE * gram.diagonal().mean() * torch.eye(rank, dtype=torch.double)
            unfolded = tensor.movedim(mode, 0).flatten(1)
            factors[mode] = torch.linalg.solve(gram, (unfolded @ _khatri_rao(others)).T).T
    lengths = torch.stack([factor.norm(dim=0).clamp_min(1e-12) for factor in factors])
    even = lengths.prod(0) ** (1 / tensor.ndim)
    factors = [factor / length * even for factor, length in zip(factors, lengths, strict=True)]
    rest = tensor.flatten() - _khatri_rao(factors).sum(1)
    return factors, 1 - float(rest.square().sum() / tensor.square().sum())


def _start(tensor: Tensor, mode: int, rank: int, generator: torch.Generator) -> Tensor:
    """The leading directions of a dimension, with random ones where it has too few."""
    leading = torch.linalg.svd(tensor.movedim(mode, 0).flatten(1), full_matrices=False)[0][:, :rank]
    more = torch.randn(tensor.shape[mode], rank - leading.shape[1], generator=generator, dtype=torch.double)
    return torch.cat([leading, more], dim=1)


def _khatri_rao(factors: Sequence[Tensor]) -> Tensor:
    """[product of sizes, rank]: column by column the outer product, the last dimension fastest."""
    result = factors[0]
    for factor in factors[1:]:
        result = (result[:, None] * factor).flatten(0, 1)
    return result


def _by_input(weight: Tensor) -> Tensor:
    """[outputs, c, k, k] → float64 [c, outputs × k × k]."""
    return weight.double().transpose(0, 1).flatten(1)


def _about_zero(inputs: Inputs | None) -> Inputs | None:
    """The same inputs with their mean among what they spread by: no bias can stand for it where zeros are padded."""
    if inputs is None:
        return None
    return Inputs(torch.zeros_like(inputs.mean), inputs.covariance + torch.outer(inputs.mean, inputs.mean))


def _roots(inputs: Inputs | None, size: int) -> tuple[Tensor, Tensor]:
    """A square root of the covariance and its inverse, symmetric; directions that hardly occur count as if they did a little."""
    if inputs is None:
        return torch.eye(size, dtype=torch.double), torch.eye(size, dtype=torch.double)
    values, directions = torch.linalg.eigh(inputs.covariance)
    values = values.clamp_min(1e-6 * float(values.max())).sqrt()
    return (directions * values) @ directions.T, (directions / values) @ directions.T


def _assemble(parts: Sequence[nn.Module], weights: Sequence[Tensor], bias: Tensor | None) -> nn.Sequential:
    """The layers with these weights; the last takes the bias."""
    for part, weight in zip(parts, weights, strict=True):
        part.weight = nn.Parameter(weight.float().reshape(part.get_parameter("weight").shape).contiguous())
    last = parts[-1]
    last.register_parameter("bias", None if bias is None else nn.Parameter(bias.detach().clone()))
    return nn.Sequential(*parts).eval()


def _pair(values: tuple[int, ...]) -> tuple[int, int]:
    return values[0], values[1]


def _padding(conv: nn.Conv2d) -> tuple[int, int]:
    assert not isinstance(conv.padding, str)
    return _pair(conv.padding)
