"""Residual blocks, which can be left out whole."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from facette.model import Model
from facette.pruning.feed import noise, watching


@dataclass(frozen=True, slots=True)
class Block:
    """A module that adds something to what it is given.

    Attributes:
        name: of the module.
        last: the convolution that makes what is added.
    """

    name: str
    last: str


@torch.no_grad()
def find_blocks(model: Model) -> tuple[Block, ...]:
    """Every smallest module that gives back its input when all its parameters are zero: the shortcut alone is the identity.

    A shortcut that pools or fills up with zeros doesn't, and a traced graph has no such modules.
    """
    network = model.network
    assert isinstance(network, nn.Module)
    passed = _inputs_and_outputs(network, noise(model.image))
    found: list[Block] = []
    for name, module in network.named_modules():
        given = passed.get(name)
        if not name or given is None or given[0].shape != given[1].shape:
            continue
        convolutions = [key for key in passed if key.startswith(f"{name}.") and isinstance(network.get_submodule(key), nn.Conv2d)]
        if convolutions and torch.equal(_zeroed(module)(given[0]), given[0]):
            last = max(convolutions, key=list(passed).index)
            found.append(Block(name, last))
    smallest = [block for block in found if not any(other.name.startswith(f"{block.name}.") for other in found)]
    return tuple(smallest)


def without(network: nn.Module, names: tuple[str, ...]) -> nn.Module:
    """A copy of the network in which these blocks do nothing."""
    network = copy.deepcopy(network)
    for name in names:
        network.set_submodule(name, nn.Identity())
    return network


def _zeroed(module: nn.Module) -> nn.Module:
    module = copy.deepcopy(module)
    for parameter in module.parameters():
        parameter.zero_()
    return module


def _inputs_and_outputs(network: nn.Module, x: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """Of every module that takes one tensor and gives one, in the order in which they finish."""
    passed: dict[str, tuple[Tensor, Tensor]] = {}

    def hooks() -> Iterator[Any]:
        for name, module in network.named_modules():

            def keep(_module: nn.Module, arguments: Any, output: Any, name: str = name) -> None:
                if len(arguments) == 1 and isinstance(arguments[0], Tensor) and isinstance(output, Tensor):
                    passed[name] = (arguments[0], output)

            yield module.register_forward_hook(keep)

    handles = list(hooks())
    network(x)
    for handle in handles:
        handle.remove()
    return passed


def norms_after(network: nn.Module, x: Tensor) -> dict[str, str]:
    """The batch norm that reads each layer's output, by layer."""
    made: dict[int, tuple[str, Tensor]] = {}  # the tensor is kept, or another could get its id
    pairs: dict[str, str] = {}

    def observe(name: str, layer: nn.Module, given: Tensor, y: Tensor) -> None:
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            made[id(y)] = (name, y)
        elif id(given) in made:
            pairs[made[id(given)][0]] = name

    with watching(network, (nn.Conv2d, nn.Linear, nn.BatchNorm1d, nn.BatchNorm2d), observe):
        network(x)
    return pairs
