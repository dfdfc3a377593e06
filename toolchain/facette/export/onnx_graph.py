"""A model's float graph in ONNX: torch's exporter, then onnxslim. A user's ONNX file gets the normalisation in front."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import onnx
import onnx.compose
import onnx.version_converter
import onnxslim
import torch
from onnx import ModelProto, TensorProto, helper

from facette.export.device_input import INPUT_NAME, DeviceNetwork, example_input
from facette.export.quiet import quiet
from facette.model import EMBEDDER_OUTPUTS, Model
from facette_runtime.errors import FacetteError

OPSET = 18


@lru_cache(maxsize=2)  # calibration and every precision of a form start from the same graph
def float_onnx(model: Model) -> bytes:
    """The fp32 graph that everything else is made from. An embedder's batch is free, a detector's is one.

    Raises:
        FacetteError: a graph that the exporter can't write.
    """
    free_batch = model.output_names == EMBEDDER_OUTPUTS
    if isinstance(model.network, Path):
        proto = _prepend_normalisation(model, free_batch)
    else:
        proto = _from_torch(model, free_batch)
    proto = onnxslim.slim(proto)
    onnx.checker.check_model(proto)
    content: bytes = proto.SerializeToString()
    return content


def _from_torch(model: Model, free_batch: bool) -> ModelProto:
    network = DeviceNetwork(model).eval()
    # Traced with two pictures, so that the exporter can't take the batch for the constant 1.
    example = example_input(model.image, 2 if free_batch else 1)
    dynamic = {"image": {0: torch.export.Dim("batch", min=1, max=4096)}} if free_batch else None
    try:
        with quiet():
            program = torch.onnx.export(
                network,
                (example,),
                dynamo=True,
                opset_version=OPSET,
                input_names=[INPUT_NAME],
                output_names=list(model.output_names),
                dynamic_shapes=dynamic,
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        raise FacetteError(f"{model.name}: torch can't write it as ONNX: {str(error).splitlines()[0]}") from error
    assert program is not None
    return program.model_proto


def _prepend_normalisation(model: Model, free_batch: bool) -> ModelProto:
    """Puts uint8 → float, transposition and normalisation in front of a user's graph, and names its outputs."""
    assert isinstance(model.network, Path)
    users = onnx.load(str(model.network))
    if users.opset_import[0].version < OPSET:
        users = onnx.version_converter.convert_version(users, OPSET)
    initialisers = {tensor.name for tensor in users.graph.initializer}
    inputs = [value for value in users.graph.input if value.name not in initialisers]
    if len(inputs) != 1:
        raise FacetteError(f"{model.network}: has {len(inputs)} inputs; a network must take one picture")
    outputs = list(model.onnx_outputs) or [value.name for value in users.graph.output]
    known = [value.name for value in users.graph.output]
    if len(outputs) != len(model.output_names) or not set(outputs) <= set(known):
        raise FacetteError(f"{model.network}: outputs must name {', '.join(model.output_names)} among its own: {', '.join(known)}")
    front = _normalisation_graph(model, free_batch)
    front.opset_import[0].version = users.opset_import[0].version
    front.ir_version = users.ir_version
    users = onnx.compose.add_prefix(users, "net/")
    merged = onnx.compose.merge_models(front, users, io_map=[("normalised", f"net/{inputs[0].name}")])
    renamed = {f"net/{name}": wanted for name, wanted in zip(outputs, model.output_names, strict=True)}
    for source, wanted in renamed.items():
        merged.graph.node.append(helper.make_node("Identity", [source], [wanted]))
    shapes = {value.name: value for value in merged.graph.output}
    del merged.graph.output[:]
    for source, wanted in renamed.items():
        value = onnx.ValueInfoProto()
        value.CopyFrom(shapes[source])
        value.name = wanted
        merged.graph.output.append(value)
    return merged


def _normalisation_graph(model: Model, free_batch: bool) -> ModelProto:
    width, height = model.image.size_wh
    batch = "batch" if free_batch else 1
    nodes = [
        helper.make_node("Transpose", [INPUT_NAME], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["planes"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Sub", ["floats", "mean"], ["centred"]),
        helper.make_node("Mul", ["centred", "scale"], ["normalised"]),
    ]
    constants = [
        helper.make_tensor("mean", TensorProto.FLOAT, (1, 3, 1, 1), model.image.mean),
        helper.make_tensor("scale", TensorProto.FLOAT, (1, 3, 1, 1), model.image.scale),
    ]
    graph = helper.make_graph(
        nodes,
        "normalisation",
        [helper.make_tensor_value_info(INPUT_NAME, TensorProto.UINT8, (batch, height, width, 3))],
        [helper.make_tensor_value_info("normalised", TensorProto.FLOAT, (batch, 3, height, width))],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])


def layer_nodes(float_onnx: bytes, layers: frozenset[str]) -> frozenset[str]:
    """Names of the nodes that compute layers of the torch network, found by the weights that they read.

    Args:
        float_onnx: as `float_onnx` gives it.
        layers: names of modules.

    Raises:
        FacetteError: a layer has no node, since the graph is of another network or form.
    """
    if not layers:
        return frozenset()
    by_layer: dict[str, str] = {}
    for node in onnx.load_from_string(float_onnx).graph.node:
        for name in node.input:
            # `DeviceNetwork` holds the network under this name.
            layer, _, attribute = name.removeprefix("network.").rpartition(".")
            if attribute == "weight" and layer in layers:
                by_layer[layer] = node.name
    if missing := sorted(layers - by_layer.keys()):
        raise FacetteError(f"the ONNX graph has no node for layer {missing[0]!r}; was it exported from the same form?")
    return frozenset(by_layer.values())
