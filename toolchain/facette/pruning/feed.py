"""Pictures as a network takes them, and what passes through it on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from facette.model import ImageSpec


def normalised(image: ImageSpec, pictures: np.ndarray) -> Tensor:
    """float32 [n, 3, h, w] of uint8 [n, h, w, 3] in the network's channel order."""
    pixels = torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float()
    mean, scale = (torch.tensor(values).reshape(1, 3, 1, 1) for values in (image.mean, image.scale))
    return (pixels - mean) * scale


def noise(image: ImageSpec) -> Tensor:
    """A seeded input float32 [1, 3, h, w] for questions that any input answers: shapes, order, dependencies."""
    width, height = image.size_wh
    return torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(0))


def as_tuple(outputs: Any) -> tuple[Tensor, ...]:
    """A network's outputs, also where there is only one."""
    return (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)


class _Reached(Exception):  # noqa: N818  (no error)
    """The last layer that was asked for has run."""


def capture(network: nn.Module, x: Tensor, inputs: Mapping[str, nn.Module], outputs: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """What some of a network's modules are given and give, by label. The rest of the network isn't run.

    Args:
        network: in eval mode.
        x: float32 [n, 3, h, w].
        inputs, outputs: modules whose first input or whose output is wanted.
    """
    seen: dict[str, Tensor] = {}
    wanted = len(inputs) + len(outputs)

    def keep(label: str, value: Tensor) -> None:
        seen[label] = value
        if len(seen) == wanted:
            raise _Reached

    handles = [module.register_forward_pre_hook(lambda _m, a, at=label: keep(at, a[0])) for label, module in inputs.items()]
    handles += [module.register_forward_hook(lambda _m, _a, y, at=label: keep(at, y)) for label, module in outputs.items()]
    try:
        with torch.no_grad():
            network(x)
    except _Reached:
        pass
    finally:
        for handle in handles:
            handle.remove()
    return seen


Observer = Callable[[str, nn.Module, Tensor, Tensor], None]


@contextmanager
def watching(network: nn.Module, kinds: tuple[type[nn.Module], ...], observe: Observer) -> Iterator[None]:
    """Calls ``observe(name, layer, input, output)`` after each of these layers runs."""

    def hook(name: str) -> Callable[[nn.Module, Any, Any], None]:
        return lambda layer, arguments, output: observe(name, layer, arguments[0], output)

    handles = [m.register_forward_hook(hook(name)) for name, m in network.named_modules() if isinstance(m, kinds)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
