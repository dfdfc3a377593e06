"""Channels by how well the others can stand in for them once their readers are refitted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from facette.model import Model
from facette.pruning.blocks import norms_after
from facette.pruning.feed import noise, normalised, watching
from facette.pruning.groups import Group, Member

BATCH = 32
POSITIONS = 64  # of a picture that each layer is watched at


@torch.no_grad()
def score_by_reconstruction(model: Model, groups: Sequence[Group], pictures: np.ndarray, seed: int) -> dict[str, Tensor]:
    """What each channel adds to what its readers can be told, float64 [size] by group: a part of their outputs' energy.

    Channels are taken up one by one, always the one that explains most of what is left of the readers' outputs in least squares:
    forward selection for the problem of He, Zhang & Sun ("Channel pruning for accelerating very deep neural networks", 2017,
    equation 1). A channel that others predict is worth little, however large its weights. Several readers count alike.

    Args:
        model: with a torch network.
        groups: of its channels.
        pictures: uint8 [n, h, w, 3] in the network's channel order.
        seed: of the positions that are watched.
    """
    network = model.network
    assert isinstance(network, nn.Module)
    readers = {member.layer for group in groups for member in group.members if member.side == "in"}
    spread = _spreads(model, network, readers, pictures, seed)
    norms = norms_after(network, noise(model.image))
    scores = {}
    for group in groups:
        problems = [
            _problem(member, group.size, spread[member.layer], _effective(network, member.layer, norms.get(member.layer)))
            for member in group.members
            if member.side == "in"
        ]
        scores[group.name] = forward_selection(problems)
    return scores


def forward_selection(problems: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Gains of channels taken up greedily: float64 [c], the part of the outputs' energy that each adds when its turn comes.

    Args:
        problems: covariance [c, c] of the channels and how they are read, [c, outputs], for each reader.
    """
    totals = [float((spread @ read * read).sum().clamp_min(1e-30)) for spread, read in problems]
    left = [spread.clone() for spread, _ in problems]
    told = [spread @ read for spread, read in problems]
    floors = [1e-9 * float(spread.diagonal().max().clamp_min(1e-30)) for spread in left]
    gains = torch.zeros(len(left[0]), dtype=torch.double)
    open_ = torch.ones(len(gains), dtype=torch.bool)
    for _ in range(len(gains)):
        gain = torch.zeros_like(gains)
        for rest, tell, total, floor in zip(left, told, totals, floors, strict=True):
            gain += tell.square().sum(1) / rest.diagonal().clamp_min(floor) / total
        pick = int(torch.where(open_, gain, -1.0).argmax())
        gains[pick], open_[pick] = gain[pick] / len(problems), False
        for place, floor in enumerate(floors):
            column = left[place][:, pick] / left[place][pick, pick].clamp_min(floor)
            told[place] = told[place] - torch.outer(column, told[place][pick])
            left[place] = left[place] - torch.outer(column, left[place][pick])
    return gains


def _problem(member: Member, size: int, spread: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """One reader's covariance and weights by channel; where a channel has several places there, these are added up."""
    owner = torch.zeros(size, len(spread), dtype=torch.double)
    owner[member.units, member.places] = 1.0
    return owner @ spread @ owner.T, owner @ weight.T


def _effective(network: nn.Module, layer: str, norm: str | None) -> Tensor:
    """A layer's weights [outputs, inputs] (of a k×k convolution the root of the sum of squares), behind its batch norm."""
    weight = network.get_parameter(f"{layer}.weight").detach().double()
    flat = weight if weight.ndim == 2 else weight[..., 0, 0] if weight[0, 0].numel() == 1 else weight.flatten(2).norm(dim=2)
    if norm is None:
        return flat
    bn = network.get_submodule(norm)
    assert isinstance(bn, (nn.BatchNorm1d, nn.BatchNorm2d))
    assert bn.running_var is not None
    return flat * (bn.weight.abs() / (bn.running_var + bn.eps).sqrt()).double()[:, None]


def _spreads(model: Model, network: nn.Module, layers: set[str], pictures: np.ndarray, seed: int) -> dict[str, Tensor]:
    """Covariance float64 [inputs, inputs] of what each layer is given, at some positions of each picture."""
    generator = torch.Generator().manual_seed(seed)
    rows: dict[str, list[Tensor]] = {name: [] for name in layers}

    def observe(name: str, _layer: nn.Module, x: Tensor, _y: Tensor) -> None:
        if name in rows:
            flat = x.flatten(2) if x.ndim == 4 else x[:, :, None]
            picked = torch.randperm(flat.shape[2], generator=generator)[:POSITIONS]
            rows[name].append(flat[:, :, picked].transpose(1, 2).flatten(0, 1))

    with watching(network, (nn.Conv2d, nn.Linear), observe):
        for start in range(0, len(pictures), BATCH):
            network(normalised(model.image, pictures[start : start + BATCH]))
    return {name: torch.cov(torch.cat(parts).T.double()) for name, parts in rows.items()}
