"""Static int8 for LiteRT: ranges from the float graph in LiteRT itself, weights and activations by ai-edge-quantizer."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
from torch import nn

from facette.calibration import Calibration, RangeMethod, Ranges
from facette.export.litert_graph import Graph, fed_with_numbers, float_graph, quantize
from facette.export.quiet import quiet
from facette.model import Model
from facette.ranges import Histogram, range_of
from facette_runtime.errors import FacetteError
from facette_runtime.types import FloatArray


def observe_litert(model: Model, calibration: Calibration) -> Ranges:
    """How far every activation of the float graph reaches on the calibration's pictures, by tensor name.

    Raises:
        FacetteError: no pictures, or they don't fit the network.
    """
    content, input_range = fed_with_numbers(float_graph(model), model.image)
    return _observe(content, _numbers(model, calibration, input_range), calibration.method, input_range)


def static_int8(model: Model, calibration: Calibration) -> bytes:
    """The network with int8 weights (a scale for each output channel), int8 activations and int32 biases.

    Input and output stay as in every other precision: bytes in, float32 out.

    Layers that the calibration keeps in float get their inputs back from integers, and give floats.

    Raises:
        FacetteError: neither ranges nor pictures, ranges of another graph, a layer to keep in float that the graph hasn't, or the
            quantizer refuses the graph.
    """
    from ai_edge_quantizer import qtyping, recipe_manager

    content, _ = fed_with_numbers(float_graph(model), model.image)
    graph = Graph(content)
    ranges = observe_litert(model, calibration) if calibration.ranges is None else calibration.ranges
    missing = graph.activations().keys() - ranges.keys()
    if missing:
        raise FacetteError(
            f"litert: the ranges are those of another graph: {min(missing)!r} and {len(missing) - 1} more are missing"
        )
    manager = recipe_manager.RecipeManager()
    every = qtyping.TFLOperationName
    manager.add_static_config(".*", every.ALL_SUPPORTED, activation_num_bits=8, weight_num_bits=8)
    manager.add_quantization_config(".*", every.INPUT, _bytes_in())
    manager.add_quantization_config(".*", every.OUTPUT, algorithm_key="no_quantize")
    for result in _results_of(graph, model, calibration.keep_float):
        # The quantizer knows an operator by what it gives, with a semicolon behind it.
        manager.add_quantization_config(f"^{re.escape(result)};$", every.ALL_SUPPORTED, algorithm_key="no_quantize")
    return quantize(content, manager, _on_one_scale(graph, ranges))


def _results_of(graph: Graph, model: Model, layers: frozenset[str]) -> list[str]:
    """Names of what the operators give that compute layers of the torch network.

    Operators are found by their weights, since the converter keeps no more than the last part of a layer's name. It may scale a
    weight, where it takes the normalisation in.
    """
    if not layers:
        return []
    assert isinstance(model.network, nn.Module)
    weights = [(operator, graph.floats(operator.inputs[1])) for operator in graph.graph.operators if len(operator.inputs) > 1]
    known = [(operator, _direction(weight)) for operator, weight in weights if weight is not None]
    found = []
    for layer in sorted(layers):
        wanted = _direction(_as_stored(model.network.get_submodule(layer)))
        alike = (operator for operator, weight in known if weight.shape == wanted.shape and np.allclose(weight, wanted, atol=1e-6))
        operator = next(alike, None)
        if operator is None:
            raise FacetteError(f"litert: the graph has no operator for layer {layer!r}, which should stay in float")
        found.append(graph.name(operator.outputs[0]))
    return found


def _as_stored(layer: nn.Module) -> np.ndarray:
    """A layer's weights in the order in which TFLite keeps them, flat."""
    assert isinstance(layer, nn.Conv2d | nn.Linear)
    weight = layer.weight.detach()
    if isinstance(layer, nn.Linear):
        return np.asarray(weight.flatten().numpy())
    alone = layer.groups == layer.in_channels and layer.groups > 1
    return np.asarray((weight.permute(1, 2, 3, 0) if alone else weight.permute(0, 2, 3, 1)).flatten().numpy())


def _direction(values: np.ndarray) -> np.ndarray:
    return values / max(float(np.linalg.norm(values)), 1e-30)


def _bytes_in() -> object:
    """The input's configuration: uint8, where the quantizer would take int8."""
    from ai_edge_quantizer import qtyping

    return qtyping.OpQuantizationConfig(
        activation_tensor_config=qtyping.TensorQuantizationConfig(8, symmetric=False, dtype=qtyping.TensorDataType.UINT),
        weight_tensor_config=qtyping.TensorQuantizationConfig(8, granularity=qtyping.QuantGranularity.CHANNELWISE),
        compute_precision=qtyping.ComputePrecision.INTEGER,
    )


def _numbers(model: Model, calibration: Calibration, input_range: tuple[float, float]) -> FloatArray:
    """The pictures as the cut graph takes them: float32 [n, h, w, 3], bytes 0..255 spread over ``input_range``."""
    pictures = calibration.pictures
    width, height = model.image.size_wh
    if pictures is None:
        raise FacetteError("litert: static int8 needs calibration pictures, or ranges that were taken from pictures")
    if not len(pictures) or pictures.shape[1:] != (height, width, 3):
        raise FacetteError(f"litert: calibration pictures must be [n, {height}, {width}, 3], but are {list(pictures.shape)}")
    low, high = input_range
    return np.asarray(low + pictures.astype(np.float32) * ((high - low) / 255), np.float32)


def _observe(content: bytes, numbers: FloatArray, method: RangeMethod, input_range: tuple[float, float]) -> Ranges:
    from ai_edge_litert.interpreter import Interpreter

    graph = Graph(content)
    with quiet():  # it warns that keeping every tensor takes memory, which is meant
        interpreter = Interpreter(model_content=content, num_threads=1, experimental_preserve_all_tensors=True)
        interpreter.allocate_tensors()
    fed = int(graph.graph.inputs[0])
    histograms = {tensor: Histogram() for tensor in graph.activations().values() if tensor != fed}
    for picture in numbers:
        interpreter.set_tensor(fed, picture[None])
        interpreter.invoke()
        for tensor, histogram in histograms.items():
            seen = interpreter.get_tensor(tensor)
            # The extremes alone make the same "min-max" in a tenth of the time.
            histogram.add(np.array([seen.min(), seen.max()]) if method == "min-max" else seen)
    found = {graph.name(tensor): range_of(histogram, method) for tensor, histogram in histograms.items()}
    # All of it whatever the pictures: the scale of a byte isn't to be estimated.
    return {graph.name(fed): input_range, **found}


def _on_one_scale(graph: Graph, ranges: Ranges) -> Mapping[str, tuple[float, float]]:
    """The ranges with those that an operator ties made one, which spares converting between them.

    The quantizer would otherwise put a conversion before each maximum and concatenation. Precision is no loss: what goes in is
    rounded to the common scale either way.
    """
    merged = {name: ranges[name] for name in graph.activations()}
    changed = True
    while changed:  # a tensor may be tied at both of its ends
        changed = False
        for names in graph.tied():
            union = (min(merged[name][0] for name in names), max(merged[name][1] for name in names))
            changed |= any(merged[name] != union for name in names)
            merged.update(dict.fromkeys(names, union))
    return merged
