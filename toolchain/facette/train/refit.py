"""Refits a changed network to the original, layer by layer, in closed form, before any training.

The two networks are the same graph with other activations. Each layer is solved by least squares, so that from the *changed*
network's input it gives the original's output; a layer whose output is added to a shortcut gives what the changed network's
shortcut still lacks. Errors are corrected on the way rather than piled up (He, Zhang & Sun, "Channel pruning for accelerating very
deep neural networks", 2017, section 3). No gradient is needed; training starts close to the original.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn

from facette.train.least_squares import CHUNK, fit_depthwise, fit_layer
from facette.train.loop import autocast, pick_precision

POSITIONS = 200_000
"""Of all pictures that a layer is fitted on: the first layers, which see each picture at many positions, take fewer pictures."""

_ADDITIONS = (operator.add, operator.iadd, torch.add)


@torch.no_grad()
def refit(changed: nn.Module, original: nn.Module, pictures: Tensor, prepare: Callable[[Tensor], Tensor], seed: int) -> bool:
    """Refits ``changed`` in place.

    Args:
        changed: both networks must be traceable by torch.fx and have the same layers of the same shapes; in eval mode.
        original: what to imitate.
        pictures: [n, ...], what ``prepare`` takes; a thousand faces or more.
        prepare: makes the network's input of a part of ``pictures``.
        seed: of the positions sampled.

    Returns:
        False, and nothing is changed, where the two networks' layers don't correspond.
    """
    pair = _trace(changed, original)
    if pair is None:
        return False
    ours, theirs = pair
    generator = torch.Generator().manual_seed(seed)
    layers, originals = dict(ours.named_modules()), dict(theirs.named_modules())
    mine, truth = _Values(ours, pictures, prepare), _Values(theirs, pictures, prepare)
    areas = _areas(theirs, prepare(pictures[:1]))
    for node, other in zip(ours.graph.nodes, theirs.graph.nodes, strict=True):
        layer = layers.get(str(node.target)) if node.op == "call_module" else None
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            count = max(1, POSITIONS // areas[other])
            mine.reach(node, count)
            truth.reach(other, count)
            wanted = truth.give(other) + _lacking(node, other, mine, truth)
            inherited = originals[str(other.target)].weight
            assert isinstance(inherited, Tensor)
            _fit(layer, mine.of(node.args[0]), wanted, inherited, generator)
        mine.step(node)
        truth.step(other)
    return True


def _fit(layer: nn.Conv2d | nn.Linear, x: Tensor, wanted: Tensor, inherited: Tensor, generator: torch.Generator) -> None:
    if isinstance(layer, nn.Linear) or layer.groups == 1:
        fit_layer(layer, x, wanted, inherited, generator)
    elif layer.groups == layer.in_channels == layer.out_channels:
        fit_depthwise(layer, x, wanted, inherited, generator)


def _lacking(node: fx.Node, other: fx.Node, mine: _Values, truth: _Values) -> Tensor | float:
    """Where nothing but a sum reads the layer: what the other addend of the changed network lacks."""
    users = list(node.users)
    if len(users) != 1 or users[0].target not in _ADDITIONS:
        return 0.0
    addends = [(ours, theirs) for ours, theirs in zip(users[0].args, next(iter(other.users)).args, strict=True) if ours is not node]
    if len(addends) != 1 or not isinstance(addends[0][0], fx.Node) or not mine.has(addends[0][0]):
        return 0.0
    return truth.of(addends[0][1]) - mine.of(addends[0][0])


def _areas(graph: fx.GraphModule, picture: Tensor) -> dict[fx.Node, int]:
    """Positions of a picture that each node gives."""
    run = fx.Interpreter(graph, garbage_collect_values=False)
    run.run(picture)
    return {node: value.shape[2:].numel() if value.ndim == 4 else 1 for node, value in run.env.items() if isinstance(value, Tensor)}


def _trace(changed: nn.Module, original: nn.Module) -> tuple[fx.GraphModule, fx.GraphModule] | None:
    """Both graphs, sharing the modules' weights; None where the layers differ."""
    try:
        graphs = [net if isinstance(net, fx.GraphModule) else fx.symbolic_trace(net) for net in (changed, original)]
    except (fx.proxy.TraceError, TypeError, ValueError):
        return None
    ours, theirs = graphs
    if [node.name for node in ours.graph.nodes] != [node.name for node in theirs.graph.nodes]:
        return None
    modules = dict(theirs.named_modules())
    for name, layer in ours.named_modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)) and layer.weight.shape != modules[name].weight.shape:
            return None
    return ours, theirs


class _Values:
    """What a graph's nodes give for the first pictures; only what is still needed is kept."""

    def __init__(self, graph: fx.GraphModule, pictures: Tensor, prepare: Callable[[Tensor], Tensor]) -> None:
        self._graph = graph
        self._pictures, self._prepare = pictures, prepare
        self._count = 0
        self._env: dict[fx.Node, Any] = {}
        nodes = list(graph.graph.nodes)
        self._place = {node: place for place, node in enumerate(nodes)}
        self._last = {node: max((self._place[user] for user in node.users), default=-1) for node in nodes}

    def of(self, node: Any) -> Tensor:
        value = self._env[node]
        assert isinstance(value, Tensor)
        return value

    def has(self, node: fx.Node) -> bool:
        return node in self._env

    def give(self, node: fx.Node) -> Tensor:
        """What ``node`` gives now, not kept."""
        run = fx.Interpreter(self._graph, garbage_collect_values=False)
        run.env = dict(self._env)
        value = run.run_node(node)
        assert isinstance(value, Tensor)
        return value

    def reach(self, node: fx.Node, count: int) -> None:
        """Makes the values that ``node`` and later ones need known for ``count`` pictures."""
        if count <= self._count:
            return
        device = torch.device("cpu")
        with autocast(device, pick_precision("auto", device)):
            parts = [self._run(chunk, node) for chunk in torch.split(self._pictures[:count], CHUNK)]
        self._env = {key: torch.cat([part[key] for part in parts]).float() for key in parts[0]}
        self._count = count

    def step(self, node: fx.Node) -> None:
        """Computes ``node`` and forgets what only it needed."""
        if self._count == 0 or node.op in ("placeholder", "output"):
            return
        self._env[node] = self.give(node)
        self._forget(self._env, self._place[node])

    def _run(self, pictures: Tensor, until: fx.Node) -> dict[fx.Node, Any]:
        run = fx.Interpreter(self._graph, garbage_collect_values=False)
        run.env = {}
        for node in self._graph.graph.nodes:
            if node is until:
                break
            run.env[node] = self._prepare(pictures) if node.op == "placeholder" else run.run_node(node)
            self._forget(run.env, self._place[node])
        return run.env

    def _forget(self, env: dict[fx.Node, Any], place: int) -> None:
        for key in [key for key in env if self._last[key] <= place]:
            del env[key]
