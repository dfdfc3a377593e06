"""Cuts dlib's ResNet down to lower widths and ranks and fewer blocks, and refits what is left, layer by layer, in closed form.

Channels are chosen by how well the kept ones predict all others (greedy column subset selection on the activations'
covariance, each channel weighted by the filters that read it). Then every convolution is solved by least squares, so
that from the *student's* input it gives the teacher's pre-activation at the kept channels; for a block's second
convolution the target is what the student's own shortcut still lacks, so errors are corrected on the way rather than
piled up (He, Zhang & Sun, "Channel pruning for accelerating very deep neural networks", 2017, section 3). A convolution of
lower rank first projects its input to the directions that its filters hear most of (`facette.train.projection`). No
gradient is needed; training starts close to the teacher.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn

from facette.nets.dlib_resnet import Block, DlibResNet, DlibResNetConfig, filters
from facette.train.least_squares import CHUNK, fit_conv, sampled, solve
from facette.train.loop import autocast, pick_precision
from facette.train.projection import fit_projected, mix_outputs
from facette_runtime.errors import FacetteError

AREAS = (35 * 35, 17 * 17, 8 * 8, 4 * 4, 2 * 2)  # positions of a picture, by level
POSITIONS = 1_200_000  # of all pictures that a level is fitted on
STEM_PICTURES = 64  # with 72 × 72 positions each


@torch.no_grad()
def shrink(
    teacher: DlibResNet, config: DlibResNetConfig, pictures: Tensor, prepare: Callable[[Tensor], Tensor], seed: int
) -> DlibResNet:
    """A smaller network that imitates ``teacher`` on ``pictures``.

    Args:
        teacher: the network to cut, in eval mode.
        config: the widths and ranks wanted: no width larger than the teacher's. A level with fewer blocks deals the
            teacher's out among them, in order.
        pictures: [n, ...], what ``prepare`` takes; ten thousand faces or more. The first levels, which see each
            picture at many positions, use the first ones only.
        prepare: makes the network's input of a part of ``pictures``.
        seed: of the positions sampled.

    Raises:
        FacetteError: a width or a number of blocks is larger than the teacher's.
    """
    _check(teacher.config, config)
    generator = torch.Generator().manual_seed(seed)
    student = DlibResNet(config).eval()
    kept = torch.zeros(0, dtype=torch.long)
    truth = x = torch.zeros(0)
    for level, (blocks, originals) in enumerate(zip(_levels(student), _levels(teacher), strict=True)):
        count = min(len(pictures), POSITIONS // AREAS[level])
        if count > len(truth):
            truth = _streams(teacher, pictures[:count], prepare, level)
        if level == 0:
            kept = choose_channels([truth, _run(nn.Sequential(*originals), truth)], _readers(teacher, 0), config.streams[0], kept)
            _cut_stem(student.stem, teacher.stem, kept, prepare(pictures[:STEM_PICTURES]))
        if count > len(x):
            x = _streams(student, pictures[:count], prepare, level)
        read = kept
        if level:
            after = _run(nn.Sequential(*originals), truth)
            kept = choose_channels([after], _readers(teacher, level), config.streams[level], read)
        for block, group in zip(blocks, _groups(originals, len(blocks), down=level > 0), strict=True):
            truth = _fit_block(block, group, truth, x, read, kept, generator)
            x, read = _run(block, x), kept
    wanted = teacher.embedding(truth.mean((2, 3)))
    weight, _ = solve([(x.mean((2, 3)), wanted)], teacher.embedding.weight[:, kept], bias=False)
    student.embedding.weight.copy_(weight)
    return student


def choose_channels(evidence: list[Tensor], readers: Tensor, count: int, keep: Tensor) -> Tensor:
    """Channels that predict the others best: greedy column subset selection (a pivoted Cholesky factorisation).

    Args:
        evidence: activations [n, c, h, w] of the same channels, each counted with equal weight.
        readers: [c], how strongly later filters read a channel.
        count: how many to choose.
        keep: indices that are chosen already; they come first in the result.

    Returns:
        int64 [count].
    """
    spread = [_covariance(part) for part in evidence]
    covariance = torch.stack([part / part.trace() for part in spread]).sum(0)
    residual = (covariance * (readers[:, None] * readers).sqrt()).double()
    chosen: list[int] = []
    for step in range(count):
        if step < len(keep):
            pick = int(keep[step])
        else:
            gain = residual.square().sum(0) / residual.diagonal().clamp_min(1e-12)
            gain[chosen] = -1
            pick = int(gain.argmax())
        chosen.append(pick)
        column = residual[:, pick].clone()
        residual = residual - torch.outer(column, column) / column[pick].clamp_min(1e-12)
    return torch.tensor(chosen)


def _cut_stem(stem: nn.Module, original: nn.Module, kept: Tensor, x: Tensor) -> None:
    """Gives the kept channels to the student's stem."""
    weight, bias = filters(original), _bias(original)
    if isinstance(stem, nn.Sequential):
        mix_outputs(stem, x, weight[kept], bias[kept])
    else:
        assert isinstance(stem, nn.Conv2d)
        stem.weight.copy_(weight[kept])
        _bias(stem).copy_(bias[kept])


def _fit(layer: nn.Module, x: Tensor, wanted: Tensor, inherited: Tensor, generator: torch.Generator) -> None:
    """Solves a convolution, whole or projected."""
    if isinstance(layer, nn.Sequential):
        fit_projected(layer, x, wanted, inherited, generator)
    else:
        assert isinstance(layer, nn.Conv2d)
        fit_conv(layer, x, wanted, inherited, generator)


def _fit_block(
    block: Block, group: list[Block], truth: Tensor, x: Tensor, read: Tensor, kept: Tensor, generator: torch.Generator
) -> Tensor:
    """Solves ``block`` so that it does to x what ``group`` does to the truth; returns the latter.

    ``read`` and ``kept`` are the teacher's channels that the student has before and after the block.
    """
    first, last = group[0], group[-1]
    inner_truth = _run(first.conv1, truth)
    conv1, conv2 = filters(first.conv1), _as_wide(filters(first.conv2), block.conv2)
    readers = conv2.square().sum((0, 2, 3))
    inner = choose_channels([inner_truth.relu()], readers, len(_bias(block.conv1)), torch.zeros(0, dtype=torch.long))
    _fit(block.conv1, x, inner_truth[:, inner], conv1[inner][:, read], generator)
    result = _run(last.before_relu, _run(nn.Sequential(*group[:-1]), truth))
    wanted = result[:, kept] - _run(block.shortcut, x)
    hidden = _run(lambda chunk: block.conv1(chunk).relu(), x)
    wanted = wanted[:, :, : hidden.shape[2], : hidden.shape[3]]
    _fit(block.conv2, hidden, wanted, conv2[kept][:, inner], generator)
    return result.relu()


def _streams(network: DlibResNet, pictures: Tensor, prepare: Callable[[Tensor], Tensor], levels: int) -> Tensor:
    """The residual stream after so many levels."""
    device = torch.device("cpu")
    with autocast(device, pick_precision("auto", device)):
        return _run(lambda chunk: network.stream(prepare(chunk), levels).float(), pictures)


def _groups(originals: list[Block], count: int, *, down: bool) -> list[list[Block]]:
    """Deals a level's blocks out to ``count`` smaller ones, in order; the halving block stands alone if it can."""
    if count == len(originals) or count <= 1:
        return [[block] for block in originals] if count == len(originals) else [originals][:count]
    head = [[originals[0]]] if down else []
    rest = originals[len(head) :]
    parts = count - len(head)
    bounds = [round(part * len(rest) / parts) for part in range(parts + 1)]
    return head + [rest[low:high] for low, high in pairwise(bounds)]


def _readers(teacher: DlibResNet, level: int) -> Tensor:
    """How strongly each channel of a level's stream is read by what follows it."""
    if level + 1 == len(teacher.levels):
        return teacher.embedding.weight.square().sum(0)
    return filters(_levels(teacher)[level + 1][0].conv1).square().sum((0, 2, 3))


def _levels(network: DlibResNet) -> list[list[Block]]:
    return [[block for block in level.modules() if isinstance(block, Block)] for level in network.levels]


def _covariance(x: Tensor) -> Tensor:
    return torch.cov(sampled(x))


def _run(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    return torch.cat([function(chunk) for chunk in torch.split(x, CHUNK)])


def _as_wide(taps: Tensor, layer: nn.Module) -> Tensor:
    """Filters [o, i, k, k] cut down to the middle, or filled up with zeros round it, to a layer's side."""
    border = (_last(layer).kernel_size[0] - taps.shape[-1]) // 2
    return nn.functional.pad(taps, (border,) * 4)


def _bias(layer: nn.Module) -> Tensor:
    bias = _last(layer).bias
    assert bias is not None
    return bias


def _last(layer: nn.Module) -> nn.Conv2d:
    conv = layer[1] if isinstance(layer, nn.Sequential) else layer
    assert isinstance(conv, nn.Conv2d)
    return conv


def _check(original: DlibResNetConfig, wanted: DlibResNetConfig) -> None:
    if len(wanted.streams) != len(original.streams):
        raise FacetteError(f"streams must have {len(original.streams)} levels, but got {len(wanted.streams)}")
    for level, (stream, widest) in enumerate(zip(wanted.streams, original.streams, strict=True)):
        inner, most = wanted.inners_of(level), original.inners_of(level)
        if stream > widest or len(inner) > len(most) or max(inner, default=0) > min(most):
            raise FacetteError(f"level {level + 1}: {stream} channels, inner {inner}: more than the original's {widest}, {most}")
