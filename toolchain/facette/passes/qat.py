"""Quantization-aware training: the network learns with int8's rounding in its way (Jacob et al., 2018, section 3).

Rounding stands where the engine rounds, and nowhere else: on weights, on what a convolution gives behind the activation that is
fused with it, and on both sides of sums. What comes out is a float network whose weights have learnt to be rounded; the exporter
finds the activations' ranges as for any other.

Weights can be taught to do with fewer codes than eight bits have. Engines compute with them in int8 as before, no faster and no
slower, but a bundle packs them in about as many bits as they have (Han, Mao & Dally, "Deep compression", 2016, sections 3
and 4).
"""

from __future__ import annotations

import copy
import json
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from facette.equalization import equalize_in_place
from facette.fake_quantize import mixing_layers, weighted_layers
from facette.model import Model
from facette.pruning.masks import hold_zeros
from facette.train.augment import central
from facette.train.fake_int8 import RoundedActivation, RoundedWeight
from facette.train.fold import fold_in_place
from facette.train.pixels import normalize_pixels
from facette.train.recovery import Recovery, check_crops, recover
from facette.train.teacher import torch_network
from facette.weight_bits import measure_harm, share_bits
from facette_runtime.errors import FacetteError
from facette_runtime.files import write_atomically

QatEngine = Literal["onnxruntime", "litert"]


@dataclass(frozen=True, slots=True)
class Rules:
    """What an engine rounds besides weights and what weighted layers are given: modules and functions by their fx target.

    Attributes:
        fused: activations that run within the layer before them, so that nothing is rounded between.
        joining: have integer kernels of their own; each of their tensors is rounded.
        moving: only move numbers: what comes out is rounded as what goes in.
        last: whether the network's own output is rounded.
    """

    fused: frozenset[Any]
    joining: frozenset[Any]
    moving: frozenset[Any]
    last: bool


_RELU = {nn.ReLU, F.relu, torch.relu, "relu"}
_SUMS = {operator.add, operator.iadd, torch.add, "add", torch.cat}
_POOLS = {nn.AvgPool2d, nn.AdaptiveAvgPool2d, F.avg_pool2d, F.adaptive_avg_pool2d}
_MOVES = {nn.Identity, nn.Dropout, nn.Flatten, nn.MaxPool2d, F.max_pool2d, F.pad, torch.flatten, "flatten", "reshape", "view"}

RULES: dict[QatEngine, Rules] = {
    "onnxruntime": Rules(frozenset(_RELU), frozenset(_SUMS | _POOLS), frozenset(_MOVES), last=False),
    "litert": Rules(
        frozenset(_RELU | {nn.ReLU6, F.relu6}), frozenset(_SUMS | {"mean", torch.mean}), frozenset(_MOVES | _POOLS), last=True
    ),
}


@dataclass(frozen=True, slots=True)
class Qat(Recovery):
    """Settings of `qat`: those of `Recovery`, with defaults for a network that needs little.

    Attributes:
        engine: whose rules are followed.
        range_momentum: how fast an activation's range follows the batches.
        range_faces: faces that set the ranges before the first step.
        weight_bits: of a weight on average, 2 to 8. Layers get more or fewer, as they suffer (see `facette.weight_bits`). Depthwise
            layers and the first keep eight: they hold few weights and suffer most.
        activations: False leaves the rounding of activations, and of weights that keep eight bits, to the exporter, unlearnt: in
            faster steps, where only ``weight_bits`` matter.
    """

    kind: Literal["qat"] = "qat"
    engine: QatEngine = "onnxruntime"
    range_momentum: float = 0.01
    range_faces: int = 256
    weight_bits: float = 8
    activations: bool = True
    steps: int = 600
    learning_rate: float = 1e-4

    def __post_init__(self) -> None:
        if not 2 <= self.weight_bits <= 8:
            raise ValueError(f"weight_bits must lie in 2..8, but got {self.weight_bits}")


def qat(
    model: Model, teacher: Model, settings: Qat, crops: Sequence[np.ndarray], run_dir: Path, labels: Sequence[str] = ()
) -> Model:
    """Trains ``model`` under int8's rounding to give the embeddings of ``teacher``, batch norms folded and layers equalized first.

    Args and returns as `facette.passes.distil.distil`: the weights that come back are float, and rounded only where they have fewer
    than eight bits, which ``run_dir/weight_bits.json`` lists by layer.

    Raises:
        FacetteError: as `facette.passes.distil.distil`; or torch.fx can't trace the network.
    """
    check_crops(model, teacher, crops)
    student, original = copy.deepcopy(torch_network(model)), copy.deepcopy(torch_network(teacher))
    if not fold_in_place(student):
        raise FacetteError(f"{model.name}: torch.fx can't trace this network, so qat can't tell where int8 rounds")
    fold_in_place(original)
    equalize_in_place(_traced(student))  # as the exporters would
    hold_zeros(student)
    faces = torch.from_numpy(np.ascontiguousarray(central(crops[0][: settings.range_faces], teacher.image.size_wh[0])))
    chunks = [normalize_pixels(part, model.image) for part in torch.split(faces, settings.batch)]
    few = _few_bits(student.eval(), chunks, settings.weight_bits, run_dir / "weight_bits.json") if settings.weight_bits < 8 else {}
    if settings.activations:
        rounded: nn.Module = with_rounding(student, settings.engine, settings.range_momentum, few)
        with torch.no_grad():
            for chunk in chunks:
                rounded.train()(chunk)
    else:
        rounded = student
        _round_weights(student, few)
    recover(rounded, model, teacher, original, settings, crops, run_dir, labels)
    for name, layer in weighted_layers(student).items():
        if parametrize.is_parametrized(layer):
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=name in few)
    return replace(model, network=student.eval(), statistics=None)


def with_rounding(student: nn.Module, engine: QatEngine, momentum: float, few: Mapping[str, int] | None = None) -> fx.GraphModule:
    """A graph over the modules of ``student``, which share their parameters with it, with rounding in it.

    The student's own layers get a parametrization of their weights: to eight bits, or to as many as ``few`` says by name.
    """
    rounded = fx.GraphModule(student, copy.deepcopy(_traced(student).graph))
    for number, node in enumerate(rounded_nodes(rounded, RULES[engine])):
        name = f"rounding_{number}"
        rounded.add_submodule(name, RoundedActivation(momentum))
        with rounded.graph.inserting_after(node):
            after = rounded.graph.call_module(name, (node,))
        node.replace_all_uses_with(after)
        after.args = (node,)
    rounded.recompile()
    _round_weights(student, {**dict.fromkeys(weighted_layers(student), 8), **(few or {})})
    return rounded


def _traced(student: nn.Module) -> fx.GraphModule:
    """Its graph, over the same modules."""
    return student if isinstance(student, fx.GraphModule) else fx.symbolic_trace(student)


def rounded_nodes(graph: fx.GraphModule, rules: Rules) -> list[fx.Node]:
    """The nodes whose values an engine keeps as integers, in order."""
    kind = _kinds(graph)
    chosen: dict[fx.Node, None] = {}
    for node in graph.graph.nodes:
        joins = kind(node) in rules.joining
        if not joins and kind(node) not in (nn.Conv2d, nn.Linear):
            continue
        for given in node.all_input_nodes:
            chosen[_source(given, rules, kind)] = None
        result = _behind_activation(node, rules, kind)
        if rules.last or not _is_output(result):
            chosen[result] = None
    return [node for node in graph.graph.nodes if node in chosen]


def _kinds(graph: fx.GraphModule) -> Callable[[fx.Node], Any]:
    modules = dict(graph.named_modules())

    def kind(node: fx.Node) -> Any:
        return type(modules[str(node.target)]) if node.op == "call_module" else node.target

    return kind


def _source(node: fx.Node, rules: Rules, kind: Callable[[fx.Node], Any]) -> fx.Node:
    while kind(node) in rules.moving:
        node = node.all_input_nodes[0]
    return node


def _behind_activation(node: fx.Node, rules: Rules, kind: Callable[[fx.Node], Any]) -> fx.Node:
    last = node
    while len(last.users) == 1 and kind(next(iter(last.users))) is nn.Identity:  # a batch norm stood here
        last = next(iter(last.users))
    users = list(last.users)
    return users[0] if len(users) == 1 and kind(users[0]) in rules.fused else node


def _is_output(node: fx.Node) -> bool:
    return all(user.op == "output" for user in node.users)


def _few_bits(network: nn.Module, chunks: Sequence[Tensor], mean: float, kept: Path) -> dict[str, int]:
    """Bits of the layers that `Qat.weight_bits` is for, by name: as the run began with, if it did."""
    if kept.exists():
        return {name: int(bits) for name, bits in json.loads(kept.read_text()).items()}
    first = next(iter(weighted_layers(network)))
    layers = {name: layer for name, layer in mixing_layers(network).items() if name != first}
    weights = {name: layer.weight.numel() for name, layer in layers.items()}
    bits = share_bits(measure_harm(network, layers, chunks), weights, mean)
    kept.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(kept, json.dumps(bits, indent=1).encode())
    return bits


def _round_weights(network: nn.Module, bits: Mapping[str, int]) -> None:
    for name, count in bits.items():
        parametrize.register_parametrization(network.get_submodule(name), "weight", RoundedWeight(count))
