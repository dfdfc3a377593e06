"""Cuts a network that is being trained down to fewer channels, so that the next round begins with what the last one learnt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from torch import nn

from facette.model import Model
from facette.pruning.choice import lowest
from facette.pruning.cut import cut
from facette.pruning.groups import find_groups, kept_places
from facette.pruning.scores import score
from facette_runtime.errors import FacetteError


def narrow(model: Model, keep: Mapping[str, int], pictures: np.ndarray, seed: int) -> nn.Module:
    """The network with only the channels that change its outputs most (criterion "taylor", see `facette.pruning.scores`).

    Args:
        model: with a torch network, which is left as it was. Its input size is that of the pictures.
        keep: channels that stay, by the name of a layer that makes them; more than there are leaves them all.
        pictures: uint8 [n, h, w, 3] in the network's channel order.
        seed: of the estimate.

    Raises:
        FacetteError: a layer has no channels that can be cut, or is to keep less than one.
    """
    height, width = pictures.shape[1:3]
    model = replace(model, image=replace(model.image, size_wh=(width, height)))
    groups = find_groups(model)
    owner = {maker: group for group in groups for maker in group.makers}
    for name, count in keep.items():
        if name not in owner:
            raise FacetteError(f"keep: {name!r} has no channels that can be cut; layers that have: {', '.join(owner)}")
        if count < 1:
            raise FacetteError(f"keep: {name!r} must keep at least one channel, but got {count}")
    keeps = {group.name: group.size for group in groups}
    keeps |= {owner[name].name: min(count, owner[name].size) for name, count in keep.items()}
    network = model.network
    assert isinstance(network, nn.Module)
    removed = lowest(score(model, groups, "taylor", pictures, seed), keeps)
    return cut(network, kept_places(network, groups, removed))
