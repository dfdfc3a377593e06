"""The order of the exact passes: every graph form of a network, all of which compute the same."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from facette.fake_quantize import is_coarse
from facette.model import Model
from facette.passes.equalize import equalize
from facette.passes.fold import fold_batch_norm
from facette.passes.lower import FORMS, flip_steep_channels, has_prelu, lower_prelu
from facette.passes.trace import trace

Change = Callable[[Model], Model]


def graph_forms(model: Model, repair: Change = lambda model: model) -> list[Model]:
    """The network with its batch norms folded and its layers' ranges equalized, and, where it has PReLUs, each lowered form of it.

    Equalizing costs a float graph nothing and is what makes int8 hold. A network whose weights were trained on a coarser grid is
    not equalized again, and one that can't be traced comes back as it is.

    Args:
        model: as the recipe's passes leave it.
        repair: prepares the equalized float graph for rounding.
    """
    traced = trace(model)
    if traced is None:
        return [model]
    folded = fold_batch_norm(traced)
    if not has_prelu(folded):
        return [repair(_balanced(folded))]
    gentle = repair(_balanced(flip_steep_channels(folded)))
    return [repair(_balanced(folded)), *(lower_prelu(gentle, form) for form in FORMS)]


def _balanced(model: Model) -> Model:
    assert isinstance(model.network, nn.Module)
    return model if is_coarse(model.network) else equalize(model)
