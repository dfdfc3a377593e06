"""The order of the exact passes: every graph form of a network, all of which compute the same."""

from __future__ import annotations

from collections.abc import Callable

from facette.model import Model
from facette.passes.equalize import equalize
from facette.passes.fold import fold_batch_norm
from facette.passes.lower import FORMS, flip_steep_channels, has_prelu, lower_prelu
from facette.passes.trace import trace

Change = Callable[[Model], Model]


def graph_forms(model: Model, repair: Change = lambda model: model) -> list[Model]:
    """The network with its batch norms folded and its layers' ranges equalized, and, where it has PReLUs, each lowered form of it.

    Equalizing costs a float graph nothing and is what makes int8 hold. A network that can't be traced comes back as it is.

    Args:
        model: as the recipe's passes leave it.
        repair: prepares the equalized float graph for rounding.
    """
    traced = trace(model)
    if traced is None:
        return [model]
    folded = fold_batch_norm(traced)
    if not has_prelu(folded):
        return [repair(equalize(folded))]
    gentle = repair(equalize(flip_steep_channels(folded)))
    return [repair(equalize(folded)), *(lower_prelu(gentle, form) for form in FORMS)]
