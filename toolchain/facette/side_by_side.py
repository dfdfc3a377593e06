"""Two copies of a network run in step, node by node: one stays as it is, the other's layers are changed on the way.

This is what methods need that repair a quantized network layer by layer: at each layer the input that the float network gives it
and the one that the already changed part gives, each computed once.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from facette.fake_quantize import Layer
from facette.model import ImageSpec, Model

CHUNK = 16
"""Pictures a call, so that activations stay near the processor."""
_MODULES = (nn.PReLU, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.Hardswish, nn.SiLU, nn.GELU, nn.Sigmoid, nn.Tanh)
_FUNCTIONS: dict[object, Callable[[Tensor], Tensor]] = {
    torch.relu: torch.relu, F.relu: torch.relu, "relu": torch.relu, F.relu6: F.relu6, F.hardswish: F.hardswish, F.silu: F.silu,
    torch.sigmoid: torch.sigmoid, "sigmoid": torch.sigmoid, torch.tanh: torch.tanh, "tanh": torch.tanh,
}  # fmt: skip


@dataclass(frozen=True)
class Place:
    """One layer, before it runs.

    Attributes:
        name: of the module in the model's network.
        layer: the copy that may be changed; what is changed before the next place is asked for is what runs.
        original: the copy that stays as it is.
        activation: the only reader of its output, where that is an activation that works number by number or channel by
            channel; it takes [n, channels, ...].
        wanted_inputs, given_inputs: of the float and of the changed network, one tensor [n, ...] for each chunk of pictures.
    """

    name: str
    layer: Layer
    original: Layer
    activation: Callable[[Tensor], Tensor] | None
    wanted_inputs: list[Tensor]
    given_inputs: list[Tensor]


class SideBySide:
    """The walk.

    Args:
        model: traced, batch norms folded.
        pictures: uint8 [n, h, w, 3] in the network's channel order.

    Attributes:
        changed: the network with what was changed, as a graph of the same structure as the model's.
    """

    def __init__(self, model: Model, pictures: np.ndarray) -> None:
        assert isinstance(model.network, fx.GraphModule)
        if not len(pictures):
            raise ValueError("pictures must hold at least one picture")
        self.changed = copy.deepcopy(model.network)
        # Traced once more: modules of our own (the lowered activations) hold layers too. Torch's modules are shared with `changed`.
        self._graphs = [fx.symbolic_trace(copy.deepcopy(model.network)), fx.symbolic_trace(self.changed)]
        self._chunks = [network_input(model.image, pictures[start : start + CHUNK]) for start in range(0, len(pictures), CHUNK)]

    def layers(self) -> Iterator[Place]:
        """Every convolution and linear layer in the order in which they run; one that runs twice comes once."""
        streams = [_Stream(graph, self._chunks) for graph in self._graphs]
        wanted, given = (dict(graph.named_modules()) for graph in self._graphs)
        seen: set[str] = set()
        for nodes in zip(*(graph.graph.nodes for graph in self._graphs), strict=True):
            node = nodes[1]
            layer = given.get(str(node.target)) if node.op == "call_module" else None
            if isinstance(layer, (nn.Conv2d, nn.Linear)) and str(node.target) not in seen:
                seen.add(str(node.target))
                original = wanted[str(node.target)]
                assert isinstance(original, (nn.Conv2d, nn.Linear))
                inputs = [stream.inputs(own) for stream, own in zip(streams, nodes, strict=True)]
                yield Place(str(node.target), layer, original, _activation(node, given), *inputs)
            for stream, own in zip(streams, nodes, strict=True):
                stream.step(own)


class _Stream:
    """One network's values so far, for every chunk of pictures; a value is forgotten after its last reader."""

    def __init__(self, graph: fx.GraphModule, chunks: list[Tensor]) -> None:
        self._interpreter = fx.Interpreter(graph)
        self._chunks = chunks
        self._values: list[dict[fx.Node, object]] = [{} for _ in chunks]

    def inputs(self, node: fx.Node) -> list[Tensor]:
        source = node.args[0]
        assert isinstance(source, fx.Node)
        values = [known[source] for known in self._values]
        return [value for value in values if isinstance(value, Tensor)]

    @torch.no_grad()
    def step(self, node: fx.Node) -> None:
        for known, chunk in zip(self._values, self._chunks, strict=True):
            self._interpreter.env = known
            known[node] = chunk if node.op == "placeholder" else self._interpreter.run_node(node)
            for done in self._interpreter.user_to_last_uses.get(node, []):
                known.pop(done, None)


def network_input(image: ImageSpec, pictures: np.ndarray) -> Tensor:
    """float32 [n, 3, h, w], normalised, of uint8 [n, h, w, 3] in the network's channel order."""
    pixels = torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).to(torch.float32)
    mean, scale = (torch.tensor(values).reshape(1, 3, 1, 1) for values in (image.mean, image.scale))
    return (pixels - mean) * scale


def _activation(node: fx.Node, modules: dict[str, nn.Module]) -> Callable[[Tensor], Tensor] | None:
    """The activation after a layer, where it is the only reader of its output."""
    if len(node.users) != 1:
        return None
    (user,) = node.users
    if user.op == "call_module":
        module = modules[str(user.target)]
        return module if isinstance(module, _MODULES) else None
    if user.op in ("call_function", "call_method") and len(user.args) == 1:
        return _FUNCTIONS.get(user.target)
    return None
