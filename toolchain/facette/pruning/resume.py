"""Runs a network from the middle: what comes before has been computed already.

A module is a checkpoint if nothing that runs after it reads anything made before it. Whether that is so is tried out: with the
earlier modules passing on what they are given and the checkpoint giving what it gave before, the outputs must be the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from facette.pruning.feed import as_tuple


def finishing_order(network: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """Outputs of all modules that give one tensor, in the order in which they finish."""
    made: dict[str, Tensor] = {}

    def keep(name: str, output: Any) -> None:
        if isinstance(output, Tensor):
            made[name] = output

    handles = [
        module.register_forward_hook(lambda _m, _a, output, name=name: keep(name, output))
        for name, module in network.named_modules()
        if name
    ]
    with torch.no_grad():
        network(x)
    for handle in handles:
        handle.remove()
    return made


def find_checkpoints(network: nn.Module, x: Tensor) -> tuple[str, ...]:
    """Names of modules with parts of their own that are checkpoints, in the order in which they finish."""
    made = finishing_order(network, x)
    with torch.no_grad():
        wanted = as_tuple(network(x))
    return tuple(
        name
        for name in made
        if next(network.get_submodule(name).children(), None) is not None
        and _same(network, list(made), name, made[name], x, wanted)
    )


def _same(network: nn.Module, order: Sequence[str], name: str, value: Tensor, x: Tensor, wanted: tuple[Tensor, ...]) -> bool:
    try:
        with torch.no_grad(), resumed(network, order, name, value):
            given = as_tuple(network(x))
    except (RuntimeError, TypeError, IndexError):  # an earlier part that can't just pass on what it is given
        return False
    return all(torch.equal(a, b) for a, b in zip(wanted, given, strict=True))


@contextmanager
def resumed(network: nn.Module, order: Sequence[str], name: str, value: Tensor) -> Iterator[None]:
    """Within the block, running the network computes only what comes after a checkpoint.

    Args:
        network: as it is.
        order: its modules' names in the order in which they finish.
        name: of the checkpoint.
        value: what the checkpoint gives.
    """
    before = order[: order.index(name)]
    finished = {earlier for earlier in before if not earlier.startswith(f"{name}.")}
    skipped = [earlier for earlier in finished if not any(_inside(earlier, other) for other in finished)]
    modules = [network.get_submodule(earlier) for earlier in skipped]
    checkpoint = network.get_submodule(name)
    try:
        for module in modules:
            module.__dict__["forward"] = lambda given, *_: given
        checkpoint.__dict__["forward"] = lambda *_: value
        yield
    finally:
        for module in (*modules, checkpoint):
            module.__dict__.pop("forward", None)


def _inside(name: str, other: str) -> bool:
    return name.startswith(f"{other}.")
