"""What each channel is worth.

A channel is removed by reading it no more, which is the same as its readers' weights being zero. The criteria that look at data
therefore ask what zeroing those weights would change, and the criteria that look at weights alone add up those of all that make
or read the channel.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from facette.model import Model
from facette.pruning.cut import is_depthwise
from facette.pruning.feed import as_tuple, normalised
from facette.pruning.groups import Group, Member
from facette.pruning.reconstruction import score_by_reconstruction
from facette_runtime.errors import FacetteError
from facette_runtime.manifest import EmbeddingDecoder

Criterion = Literal["l1", "l2", "bn-scale", "taylor", "hessian", "reconstruction", "random"]
"""What a channel is ranked by:

- "l1", "l2": the norm of the weights that make and read it (Li et al., "Pruning filters for efficient ConvNets", 2017, section 3);
- "bn-scale": its batch norm's |γ| (Liu et al., "Network slimming", 2017, section 3);
- "taylor": the squared first-order change when it goes (Molchanov et al., "Importance estimation for neural network pruning",
  2019, equation 8);
- "hessian": half the sum of weight² × the Hessian's diagonal, taken for the Fisher information (LeCun et al., "Optimal brain
  damage", 1990, section 2);
- "reconstruction": what the other channels can't stand in for (see `facette.pruning.reconstruction`);
- "random": a control."""

DATA_DRIVEN: tuple[Criterion, ...] = ("taylor", "hessian", "reconstruction")

BATCH = 16  # pictures that share a gradient
PASSES = 32  # gradients that an estimate is averaged over


def score(model: Model, groups: Sequence[Group], criterion: Criterion, pictures: np.ndarray | None, seed: int) -> dict[str, Tensor]:
    """A number for each channel, float64 [size] by group; the smallest goes first.

    Those of the criteria that look at data are comparable between groups as they are. The others are divided by the group's
    mean, without which a layer whose weights happen to be small would be emptied.

    Args:
        model: with a torch network.
        groups: of its channels.
        criterion: how.
        pictures: uint8 [n, h, w, 3] in the network's channel order, for the criteria that look at data.
        seed: of what is random.

    Raises:
        FacetteError: no pictures for a criterion that needs them, or "bn-scale" where a group has no batch norm.
    """
    assert isinstance(model.network, nn.Module)
    layers = dict(model.network.named_modules())
    if criterion in DATA_DRIVEN:
        if pictures is None or not len(pictures):
            raise FacetteError(f"prune: criterion {criterion!r} looks at pictures, and there are none; without: {_without()}")
        if criterion == "reconstruction":
            return score_by_reconstruction(model, groups, pictures, seed)
        return _from_gradients(model, groups, criterion, pictures, seed)
    if criterion == "random":
        generator = torch.Generator().manual_seed(seed)
        return {group.name: torch.rand(group.size, generator=generator, dtype=torch.double) for group in groups}
    scores = {}
    for group in groups:
        values = (
            _norm_scales(group, layers) if criterion == "bn-scale" else _weight_norms(group, layers, 1 if criterion == "l1" else 2)
        )
        scores[group.name] = values / values.mean().clamp_min(1e-30)
    return scores


def _without() -> str:
    return ", ".join(name for name in get_args(Criterion) if name not in DATA_DRIVEN)


def _weight_norms(group: Group, layers: Mapping[str, nn.Module], power: int) -> Tensor:
    total = torch.zeros(group.size, dtype=torch.double)
    for member in group.members:
        layer = layers[member.layer]
        if isinstance(layer, (nn.Conv2d, nn.Linear)) and not is_depthwise(layer):
            _add_up(total, member, _rows(layer.weight.detach(), member).abs().double().pow(power).sum(1))
    return total.pow(1 / power)


def _norm_scales(group: Group, layers: Mapping[str, nn.Module]) -> Tensor:
    total = torch.zeros(group.size, dtype=torch.double)
    norms = [member for member in group.members if isinstance(layers[member.layer], (nn.BatchNorm1d, nn.BatchNorm2d))]
    if not norms:
        raise FacetteError(f"prune: criterion 'bn-scale' needs batch norms, but the channels of {group.name!r} have none")
    for member in norms:
        scale = layers[member.layer].weight
        assert isinstance(scale, Tensor)
        _add_up(total, member, scale.detach()[member.places].abs().double())
    return total


def _from_gradients(
    model: Model, groups: Sequence[Group], criterion: Criterion, pictures: np.ndarray, seed: int
) -> dict[str, Tensor]:
    """Both criteria from the gradients of random projections of what the network says.

    A network agrees with itself perfectly, so the gradient of its agreement with the uncut one is zero, and there are no labels.
    But the expected square of a random projection's first-order change is the squared change of the outputs themselves.
    """
    network = model.network
    assert isinstance(network, nn.Module)
    layers = dict(network.named_modules())
    readers = [(group, member) for group in groups for member in group.members if member.side == "in"]
    weights = {member.layer: layers[member.layer].get_parameter("weight") for _, member in readers}
    scores = {group.name: torch.zeros(group.size, dtype=torch.double) for group in groups}
    flags = [parameter.requires_grad for parameter in network.parameters()]
    network.requires_grad_(False)
    for weight in weights.values():
        weight.requires_grad_(True)
    for projection in _projections(model, network, pictures, seed):
        gradients = dict(zip(weights, torch.autograd.grad(projection, list(weights.values())), strict=True))
        first: dict[str, Tensor] = {group.name: torch.zeros(group.size, dtype=torch.double) for group in groups}
        for group, member in readers:
            change = _rows(gradients[member.layer] * weights[member.layer].detach(), member).double()
            _add_up(first[group.name], member, change.sum(1) if criterion == "taylor" else change.square().sum(1) / 2)
        for name, values in first.items():
            scores[name] += values.square() if criterion == "taylor" else values
    for parameter, flag in zip(network.parameters(), flags, strict=True):
        parameter.requires_grad_(flag)
    return scores


def _projections(model: Model, network: nn.Module, pictures: np.ndarray, seed: int) -> Iterator[Tensor]:
    """Scalars whose gradients are wanted: outputs of a few pictures each, times random signs.

    An embedding counts by its direction; a detector's boxes and landmarks count as much as the score beside them.
    """
    generator = torch.Generator().manual_seed(seed)
    for _ in range(PASSES):
        some = torch.randint(len(pictures), (min(BATCH, len(pictures)),), generator=generator)
        with torch.enable_grad():
            outputs = as_tuple(network(normalised(model.image, pictures[some.numpy()])))
            if isinstance(model.decoder, EmbeddingDecoder):
                outputs = (nn.functional.normalize(outputs[0]),)
            else:
                boxes, likely, landmarks = outputs
                faces = likely.detach()[..., None]
                outputs = (boxes * faces, likely, landmarks * faces)
            yield torch.stack([(o * _signs(o.shape, generator)).sum() for o in outputs]).sum()


def _signs(shape: torch.Size, generator: torch.Generator) -> Tensor:
    return torch.randint(0, 2, shape, generator=generator) * 2.0 - 1.0


def _rows(weight: Tensor, member: Member) -> Tensor:
    """[k, rest]: the weights at each of a member's places."""
    side = weight if member.side == "out" else weight.transpose(0, 1)
    return side[member.places].flatten(1)


def _add_up(total: Tensor, member: Member, values: Tensor) -> None:
    total.index_add_(0, member.units, values)
