"""ONNX for TensorRT: what types its tensors have, and that it still computes the network."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import ModelProto, TensorProto, helper
from torch import nn

from facette.calibration import Calibration
from facette.export import export
from facette.export.onnx_half import LARGEST, halve
from facette.export.quiet import quiet
from facette.model import Model
from facette.reference import reference_engine
from facette.verify import parity_on, shortfall
from facette_runtime.engines import open_engine
from facette_runtime.errors import FacetteError
from facette_runtime.manifest import Precision
from facette_runtime.types import Image
from tests.toolchain.tiny_models import tiny_detector, tiny_embedder

MODELS = (tiny_detector, tiny_embedder)


def pictures(model: Model, picture: Image) -> list[Image]:
    return [cv2.resize(picture, model.image.size_wh), cv2.resize(picture[::-1, ::-1], model.image.size_wh)]


def calibration(model: Model, picture: Image) -> Calibration:
    return Calibration(np.stack(pictures(model, picture)), "two pictures")


def types(proto: ModelProto) -> dict[str, int]:
    graph = onnx.shape_inference.infer_shapes(proto, strict_mode=True).graph
    return {value.name: value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.output, *graph.input)}


def exported(model: Model, precision: Precision, picture: Image) -> ModelProto:
    return onnx.load_from_string(export(model, "tensorrt", precision, calibration(model, picture)).model)


@pytest.mark.parametrize(("precision", "cosine"), [("fp32", 0.999999), ("fp16", 0.99999), ("int8", 0.999)])
@pytest.mark.parametrize("role", [0, 1], ids=["detector", "embedder"])
def test_parity(role: int, precision: Precision, cosine: float, picture: Image) -> None:
    model = MODELS[role]()
    shown = pictures(model, picture)
    expected = [reference_engine(model).run({"image": image[None]}) for image in shown]
    # ONNX Runtime computes the same graph, and what TensorRT itself makes of it only a GPU can tell.
    engine = open_engine("onnxruntime", exported(model, precision, picture).SerializeToString(), 1)
    assert [(spec.name, spec.dtype) for spec in engine.inputs] == [("image", "uint8")]
    assert {(spec.name, spec.dtype) for spec in engine.outputs} == {(name, "float32") for name in model.output_names}
    assert engine.inputs[0].shape[0] == (1 if role == 0 else None)
    parity = parity_on(engine, expected, shown)
    assert shortfall(parity, cosine) is None
    assert max(value.max_abs for value in parity.values()) > (0 if precision == "fp32" else 1e-6)


def test_bytes_are_read_by_a_cast_only(picture: Image) -> None:
    for precision in ("fp32", "fp16", "int8"):
        proto = exported(tiny_embedder(), precision, picture)
        assert [node.op_type for node in proto.graph.node if "image" in node.input] == ["Cast"]
        assert [name for name, kind in types(proto).items() if kind == TensorProto.UINT8] == ["image"]


def test_half_between_normalisation_and_outputs(picture: Image) -> None:
    proto = exported(tiny_embedder(), "fp16", picture)
    kinds = types(proto)
    (into,) = [node for node in proto.graph.node if node.op_type == "Cast" and kinds[node.output[0]] == TensorProto.FLOAT16]
    before = [node.op_type for node in proto.graph.node if kinds[node.output[0]] == TensorProto.FLOAT]
    assert before == ["Cast", "Transpose", "Sub", "Mul", "Cast"], "the normalisation, and the cast of the output"
    assert kinds[into.input[0]] == TensorProto.FLOAT
    assert {tensor.data_type for tensor in proto.graph.initializer if tensor.name not in ("mean", "scale")} <= {
        TensorProto.FLOAT16,
        TensorProto.INT64,
    }
    weights = sum(len(tensor.raw_data) for tensor in exported(tiny_embedder(), "fp32", picture).graph.initializer)
    assert sum(len(tensor.raw_data) for tensor in proto.graph.initializer) < 0.6 * weights


def test_int8_is_symmetric_with_float_biases_and_without_grouped_convolutions(picture: Image) -> None:
    proto = exported(tiny_embedder(), "int8", picture)
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    givers = {node.output[0]: node for node in proto.graph.node}
    dense = 0
    for node in proto.graph.node:
        if node.op_type == "QuantizeLinear":
            assert constants[node.input[1]].dtype == np.float16
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            zero = constants[node.input[2]]
            assert zero.dtype == np.int8
            assert not zero.any()
        if node.op_type in ("Conv", "Gemm", "MatMul"):
            grouped = any(item.name == "group" and item.i > 1 for item in node.attribute)
            quantized = [name for name in node.input if name in givers and givers[name].op_type == "DequantizeLinear"]
            assert len(quantized) == (0 if grouped else 2)
            assert all(constants[name].dtype == np.float16 for name in node.input if name in constants), "a bias stays a float"
            assert grouped or len(node.input) == 2, "the bias of what is quantized stands apart"
            dense += not grouped
    assert dense == 2, "the first convolution and the last product"


def test_biases_hold_in_onnx_runtimes_own_optimisations(picture: Image) -> None:
    # It rounds the bias of a convolution between two quantizers. With pixels scaled this low, a step of input × weight is some
    # 1e-6, of which half holds one digit.
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 8))
    image = replace(tiny_embedder().image, scale=(1e-4, 1e-4, 1e-4))
    model = replace(tiny_embedder(), network=nn.Sequential(*layers).eval(), image=image)
    content = exported(model, "int8", picture).SerializeToString()
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    plain = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    optimised = open_engine("onnxruntime", content, 1)
    feed = {"image": pictures(model, picture)[0][None]}
    np.testing.assert_allclose(optimised.run(feed)["embedding"], plain.run(None, feed)[0], atol=2e-3)


def test_grouped_convolutions_stay_as_they_are_in_float(picture: Image) -> None:
    proto = exported(tiny_embedder(), "int8", picture)
    (grouped,) = [n for n in proto.graph.node if n.op_type == "Conv" and any(a.name == "group" and a.i > 1 for a in n.attribute)]
    weight = next(tensor for tensor in proto.graph.initializer if tensor.name == grouped.input[1])
    assert weight.data_type == TensorProto.FLOAT16


def test_a_users_file_without_names_is_quantized_too(picture: Image, tmp_path: Path) -> None:
    embedder = tiny_embedder()
    assert isinstance(embedder.network, torch.nn.Module)
    path = tmp_path / "users.onnx"
    with quiet():
        torch.onnx.export(
            embedder.network,
            (torch.zeros(2, 3, 32, 32),),
            path,
            dynamo=True,
            external_data=False,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
        )
    users = onnx.load(path)
    for node in users.graph.node:
        node.name = ""
    onnx.save(users, path)
    proto = exported(replace(embedder, network=path), "int8", picture)
    assert Counter(node.op_type for node in proto.graph.node)["QuantizeLinear"] == 2


def test_refuses_what_it_cannot_write() -> None:
    with pytest.raises(FacetteError, match="precision bf16 is not exported; known: fp32, fp16, int8"):
        export(tiny_embedder(), "tensorrt", "bf16")
    with pytest.raises(FacetteError, match="int8 needs calibration pictures"):
        export(tiny_embedder(), "tensorrt", "int8")


def small_graph(nodes: list[onnx.NodeProto], constants: list[TensorProto]) -> ModelProto:
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 2, 4, 4))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ("n", "c", "h", "w"))],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def test_halving_keeps_a_resizes_scales() -> None:
    scales = helper.make_tensor("scales", TensorProto.FLOAT, (4,), [1, 1, 2, 2])
    halved = halve(small_graph([helper.make_node("Resize", ["x", "", "scales"], ["y"], mode="nearest")], [scales]))
    assert [tensor.data_type for tensor in halved.graph.initializer] == [TensorProto.FLOAT]
    assert [node.op_type for node in halved.graph.node] == ["Cast", "Resize", "Cast"]


def test_halving_splits_a_constant_that_both_sides_use() -> None:
    shared = helper.make_tensor("shared", TensorProto.FLOAT, (), [3.0])
    nodes = [
        helper.make_node("Mul", ["x", "shared"], ["front"]),
        helper.make_node("Relu", ["front"], ["inner"]),
        helper.make_node("Mul", ["inner", "shared"], ["y"]),
    ]
    halved = halve(small_graph(nodes, [shared]))
    assert {tensor.name: tensor.data_type for tensor in halved.graph.initializer} == {
        "shared": TensorProto.FLOAT,
        "shared/half": TensorProto.FLOAT16,
    }


def test_halving_keeps_an_output_that_is_read_inside() -> None:
    nodes = [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Neg", ["y"], ["z"])]
    model = small_graph(nodes, [])
    model.graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, (1, 2, 4, 4)))
    session = open_engine("onnxruntime", halve(model).SerializeToString(), 1)
    x = np.linspace(-1, 1, 32, dtype=np.float32).reshape(1, 2, 4, 4)
    outputs = session.run({"x": x})
    np.testing.assert_allclose(outputs["y"], np.maximum(x, 0), rtol=1e-3)
    np.testing.assert_array_equal(outputs["z"], -outputs["y"])


def test_halving_keeps_an_epsilon_from_vanishing() -> None:
    epsilon = helper.make_tensor("epsilon", TensorProto.FLOAT, (1,), [1e-12])
    nodes = [helper.make_node("Relu", ["x"], ["r"]), helper.make_node("Add", ["r", "epsilon"], ["y"])]
    halved = halve(small_graph(nodes, [epsilon]))
    assert 0 < onnx.numpy_helper.to_array(halved.graph.initializer[0])[0] < 1e-7


def test_halving_refuses_what_half_cannot_hold() -> None:
    large = helper.make_tensor("large", TensorProto.FLOAT, (1,), [1e5])
    nodes = [helper.make_node("Relu", ["x"], ["r"]), helper.make_node("Add", ["r", "large"], ["y"])]
    with pytest.raises(FacetteError, match=f"no half-precision form: 'large' reaches 1e\\+05, and half {LARGEST:.0f}"):
        halve(small_graph(nodes, [large]))


def test_halving_refuses_graphs_within_graphs() -> None:
    branch = helper.make_graph(
        [helper.make_node("Constant", [], ["b"], value_float=1.0)],
        "branch",
        [],
        [helper.make_tensor_value_info("b", TensorProto.FLOAT, ())],
    )
    true = helper.make_tensor("true", TensorProto.BOOL, (), [True])
    nodes = [
        helper.make_node("If", ["true"], ["c"], name="choice", then_branch=branch, else_branch=branch),
        helper.make_node("Add", ["x", "c"], ["y"]),
    ]
    with pytest.raises(FacetteError, match="If 'choice' holds a graph of its own"):
        halve(small_graph(nodes, [true]))
