"""Follows every channel through a network while it runs once.

Each channel that a layer makes gets a number. Operators pass numbers on, and where two channels are added, their numbers become
one: such channels can only go together. What an operator that isn't known here is given, and what the network gives back, is
fixed: those channels can't go. The network is really run, so branches of its Python code are no hindrance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from facette.pruning.cut import is_depthwise

FIXED = 0
"""The number of all channels that must stay."""

CHANNELWISE: frozenset[Any] = frozenset(
    {
        *(torch.relu, Tensor.relu, F.relu, F.relu6, F.leaky_relu, F.elu, F.silu, F.hardswish, F.hardsigmoid, F.gelu, F.hardtanh),
        *(torch.sigmoid, Tensor.sigmoid, F.sigmoid, torch.tanh, Tensor.tanh, Tensor.clamp, torch.clamp, torch.clamp_min, F.prelu),
        *(Tensor.add, Tensor.__add__, Tensor.__radd__, Tensor.__iadd__, torch.add, Tensor.sub, Tensor.__sub__, torch.sub),
        *(Tensor.mul, Tensor.__mul__, Tensor.__rmul__, torch.mul, torch.maximum, torch.minimum, Tensor.__neg__, torch.neg),
        *(F.max_pool2d, torch.max_pool2d, F.avg_pool2d, F.adaptive_avg_pool2d, F.adaptive_max_pool2d, F.interpolate, F.dropout),
        *(Tensor.contiguous, Tensor.float, Tensor.to, F.batch_norm, torch.batch_norm, torch.Tensor.clone),
    }
)
"""Operators whose output channels are made of the same channels of their inputs."""


class Channels(TorchFunctionMode):
    """Numbers by tensor, as the network runs.

    Attributes:
        sides: the numbers on each layer's sides, by name and "out" or "in".
    """

    def __init__(self) -> None:
        super().__init__()
        self.sides: dict[tuple[str, str], list[int]] = {}
        self._same = [FIXED]  # union-find: a number's parent
        self._inside = False  # a layer, whose own operators say nothing new
        self._known: dict[int, tuple[Tensor, list[int]]] = {}  # the tensor is kept, or another could get its id

    def find(self, number: int) -> int:
        """The one number that stands for all that are joined with it."""
        while self._same[number] != number:
            number = self._same[number]
        return number

    def fix(self, x: Any) -> None:
        """None of these channels can go."""
        for number in self._of(x) or ():
            self._join(number, FIXED)

    def follow(self, network: nn.Module, x: Tensor) -> None:
        """Runs the network on float32 [1, 3, h, w]."""
        self._known[id(x)] = (x, [FIXED] * x.shape[1])
        kinds = (nn.Conv2d, nn.Linear, nn.BatchNorm1d, nn.BatchNorm2d, nn.PReLU)
        layers = {
            name: layer
            for name, layer in network.named_modules()
            if isinstance(layer, kinds) and not (isinstance(layer, nn.PReLU) and layer.num_parameters == 1)
        }
        handles = [layer.register_forward_pre_hook(self._enter) for layer in layers.values()]
        handles += [
            layer.register_forward_hook(lambda layer, given, y, name=name: self._layer(name, layer, given[0], y))
            for name, layer in layers.items()
        ]
        try:
            with torch.no_grad(), self:
                outputs = network(x)
        finally:
            for handle in handles:
                handle.remove()
        for output in (outputs,) if isinstance(outputs, Tensor) else outputs:
            self.fix(output)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        output = func(*args, **kwargs)
        if self._inside:
            return output
        if isinstance(output, Tensor):
            numbers = self._passed_on(func, args, kwargs, output)
            if numbers is None:
                for tensor in _tensors([*args, *kwargs.values()]):
                    self.fix(tensor)
            else:
                self._known[id(output)] = (output, numbers)
        elif isinstance(output, (tuple, list)) and _tensors(output):
            for tensor in _tensors([*args, *kwargs.values()]):
                self.fix(tensor)
        return output

    def _passed_on(self, func: Any, args: Any, kwargs: Any, output: Tensor) -> list[int] | None:
        """Numbers of an operator's output; None where they aren't known."""
        if func in CHANNELWISE:
            return self._joined(_tensors([*args, *kwargs.values()]), output)
        special = _SPECIAL.get(func)
        return special(self, output, *args, **kwargs) if special else None

    def _joined(self, tensors: Sequence[Tensor], output: Tensor) -> list[int] | None:
        """Elementwise: channel by channel, all inputs' numbers become one."""
        if output.ndim < 2:
            return None
        wide = [tensor for tensor in tensors if tensor.ndim == output.ndim and tensor.shape[1] == output.shape[1]]
        if not wide:
            return None
        rows = [self._of(tensor) or [FIXED] * output.shape[1] for tensor in wide]
        for row in rows[1:]:
            for a, b in zip(rows[0], row, strict=True):
                self._join(a, b)
        for tensor in tensors:
            if all(tensor is not other for other in wide):
                self.fix(tensor)
        return rows[0]

    def _enter(self, _layer: nn.Module, _given: Any) -> None:
        self._inside = True

    def _layer(self, name: str, layer: nn.Module, x: Tensor, y: Tensor) -> None:
        self._inside = False
        given = self._of(x) or [FIXED] * (x.shape[1] if x.ndim > 1 else 0)
        if not isinstance(layer, (nn.Conv2d, nn.Linear)) or is_depthwise(layer):
            self._note(name, "out", given)
            self._known[id(y)] = (y, given)
        elif (
            (isinstance(layer, nn.Conv2d) and layer.groups > 1)
            or y.ndim not in (2, 4)
            or (y.ndim == 4) != isinstance(layer, nn.Conv2d)
        ):
            self.fix(x)
            self._known.pop(id(y), None)
        else:
            self._note(name, "in", given)
            if (name, "out") not in self.sides:
                start = len(self._same)
                self._same.extend(range(start, start + y.shape[1]))
                self.sides[name, "out"] = list(range(start, start + y.shape[1]))
            self._known[id(y)] = (y, self.sides[name, "out"])

    def _note(self, name: str, side: str, numbers: list[int]) -> None:
        """A layer that is used several times has one set of weights for all of them."""
        for a, b in zip(self.sides.setdefault((name, side), numbers), numbers, strict=True):
            self._join(a, b)

    def _of(self, x: Any) -> list[int] | None:
        return self._known[id(x)][1] if id(x) in self._known else None

    def _join(self, a: int, b: int) -> None:
        a, b = sorted((self.find(a), self.find(b)))
        self._same[b] = a


def _tensors(values: Any) -> list[Tensor]:
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, (tuple, list)):
            found.extend(_tensors(value))
    return found


def _cat(channels: Channels, output: Tensor, tensors: Sequence[Tensor], dim: int = 0) -> list[int] | None:
    if dim % output.ndim != 1:
        return channels._joined(list(tensors), output)
    return [number for tensor in tensors for number in channels._of(tensor) or [FIXED] * tensor.shape[1]]


def _flatten(channels: Channels, output: Tensor, x: Tensor, start_dim: int = 0, end_dim: int = -1) -> list[int] | None:
    numbers = channels._of(x)
    if numbers is None or start_dim != 1 or output.ndim != 2:
        return None
    times = output.shape[1] // x.shape[1]
    return [number for number in numbers for _ in range(times)]


def _mean(channels: Channels, output: Tensor, x: Tensor, dim: Any = None, keepdim: bool = False, **_: Any) -> list[int] | None:
    over = {dim % x.ndim} if isinstance(dim, int) else {d % x.ndim for d in dim or range(x.ndim)}
    return channels._of(x) if not over & {0, 1} else None


def _pad(channels: Channels, output: Tensor, x: Tensor, pad: Sequence[int], *_: Any, **__: Any) -> list[int] | None:
    numbers = channels._of(x)
    if numbers is None or x.ndim != 4 or len(pad) > 6 or output.shape[0] != x.shape[0]:
        return None
    before, after = (pad[4], pad[5]) if len(pad) == 6 else (0, 0)
    return [FIXED] * before + numbers + [FIXED] * after


def _getitem(channels: Channels, output: Tensor, x: Tensor, index: Any) -> list[int] | None:
    """Only where rows and columns are cut out."""
    whole = isinstance(index, tuple) and len(index) >= 2 and all(isinstance(part, slice) for part in index)
    return channels._of(x) if whole and index[1] == slice(None) and output.ndim == x.ndim else None


_SPECIAL: dict[Any, Callable[..., list[int] | None]] = {
    torch.cat: _cat,
    torch.concat: _cat,
    torch.flatten: _flatten,
    Tensor.flatten: _flatten,
    torch.mean: _mean,
    Tensor.mean: _mean,
    F.pad: _pad,
    Tensor.__getitem__: _getitem,
}
