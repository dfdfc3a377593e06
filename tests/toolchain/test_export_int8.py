"""int8 for ONNX Runtime and TensorRT, and the precisions that only store small weights."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto
from torch import Tensor, nn

from facette.calibration import Calibration, RangeMethod
from facette.export import export
from facette.export.onnx import export_onnx
from facette.export.onnx_dequantize import dequantize_onnx
from facette.export.onnx_editing import Graph
from facette.export.onnx_graph import float_onnx, layer_nodes
from facette.export.onnx_int8 import quantize_onnx
from facette.export.onnx_plan import Flavour
from facette.export.onnx_ranges import observe_onnx
from facette.export.onnx_weights import halve_weights
from facette.model import ImageSpec, Model
from facette.passes.equalize import equalize
from facette.passes.fold import fold_batch_norm
from facette.passes.lower import flip_steep_channels, lower_prelu
from facette.passes.trace import trace
from facette_runtime.engines import open_engine
from facette_runtime.errors import FacetteError
from facette_runtime.manifest import EmbeddingDecoder, Precision
from facette_runtime.types import Image

SIDE = 32
FLAVOURS: tuple[Flavour, ...] = ("onnxruntime", "tensorrt")


class Residual(nn.Module):
    """What real networks have: a padded stem, PReLU, depthwise, a shortcut, pooling, a concatenation and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.act = nn.Conv2d(3, 16, 3, 2, 1), nn.PReLU(16)
        self.depthwise, self.narrow = nn.Conv2d(16, 16, 3, 1, 1, groups=16), nn.Conv2d(16, 16, 1)
        self.one, self.other = nn.Conv2d(16, 8, 3, 2, 1), nn.Conv2d(16, 8, 3, 2, 1)
        self.embedding = nn.Linear(16 * 16, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.stem(x))
        x = torch.relu(x + self.narrow(torch.relu(self.depthwise(x))))
        x = torch.cat([self.one(x), torch.relu(self.other(x))], 1)
        return self.embedding(torch.max_pool2d(x, 2).flatten(1))


def model_of(network: nn.Module) -> Model:
    return Model(
        name="tiny",
        network=network.eval(),
        image=ImageSpec((SIDE, SIDE), "rgb", (120.0, 110.0, 100.0), (0.01, 0.02, 0.03)),
        decoder=EmbeddingDecoder("embedding", 8),
        letterbox=None,
        alignment=None,
        licences=(),
        digest="",
    )


@pytest.fixture(scope="module")  # exporting takes seconds
def stock() -> Model:
    torch.manual_seed(0)
    network = Residual()
    with torch.no_grad():
        network.act.weight.copy_(torch.linspace(-0.5, 0.9, 16))
    return model_of(network)


@pytest.fixture(scope="module")
def dw2(stock: Model) -> Model:
    traced = trace(stock)
    assert traced is not None
    return lower_prelu(equalize(flip_steep_channels(fold_batch_norm(traced))), "dw2")


@pytest.fixture(scope="module")
def pictures() -> Image:
    """uint8 [24, SIDE, SIDE, 3]: noise that is smooth enough to look like something."""
    coarse = np.random.default_rng(0).uniform(0, 255, (24, 8, 8, 3))
    return np.kron(coarse, np.ones((1, SIDE // 8, SIDE // 8, 1))).astype(np.uint8)


def run(content: bytes, pictures: Image) -> np.ndarray:
    return next(iter(open_engine("onnxruntime", content, 1).run({"image": pictures}).values()))


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return float(((one * other).sum(1) / lengths).min())


def kinds(content: bytes) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load_from_string(content).graph.node)


def optimized(content: bytes, folder: Path) -> Counter[str]:
    """What ONNX Runtime really runs."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(folder / "optimized.onnx")
    ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return kinds((folder / "optimized.onnx").read_bytes())


@pytest.mark.parametrize("method", ["min-max", "percentile", "entropy", "mse"])
def test_int8_is_close_to_float(method: RangeMethod, dw2: Model, pictures: Image) -> None:
    artifact = export_onnx(dw2, "int8", Calibration(pictures, "noise", method))
    assert (artifact.engine, artifact.precision, artifact.form) == ("onnxruntime", "int8", "dw2")
    wanted = run(float_onnx(dw2), pictures)
    found = run(artifact.model, pictures)
    assert cosine(found, wanted) > 0.99
    assert np.abs(found - wanted).max() > 0


@pytest.fixture(scope="module")
def near(dw2: Model) -> Model:
    """With means that are next to one whole number."""
    return replace(dw2, image=replace(dw2.image, mean=(127.5, 127.5, 127.5)))


def test_every_layer_runs_in_integers(near: Model, pictures: Image, tmp_path: Path) -> None:
    found = optimized(export_onnx(near, "int8", Calibration(pictures, "noise")).model, tmp_path)
    assert found["QLinearConv"] == 7  # five, and two for the PReLU
    assert found["QLinearAdd"] == 2
    assert found["QGemm"] == 1
    left = set(found) - {"QLinearConv", "QLinearAdd", "QGemm", "QLinearConcat", "MaxPool", "NhwcMaxPool", "Transpose", "Reshape"}
    assert not left, left


def test_the_picture_is_never_turned_into_floats(near: Model, pictures: Image) -> None:
    content = export_onnx(near, "int8", Calibration(pictures, "noise")).model
    assert not {"Cast", "Sub", "Mul"} & set(kinds(content))
    wanted = run(float_onnx(near), pictures)
    assert cosine(run(content, pictures), wanted) > 0.99
    # In float, only the stem's borders differ: by half a level of the padding's.
    assert np.abs(run(dequantize_onnx(content), pictures) - wanted).max() < 0.03 * np.abs(wanted).max()


def test_whole_means_far_apart_become_zero_points(dw2: Model, pictures: Image) -> None:
    content = export_onnx(dw2, "int8", Calibration(pictures, "noise")).model
    assert not {"Cast", "Sub", "Mul"} & set(kinds(content))
    graph = Graph(content)
    node = next(node for node in graph.nodes if node.name == "dequantize_bytes")
    zeros = graph.value(node.input[2])
    assert zeros is not None
    assert zeros.tolist() == [120, 110, 100]
    np.testing.assert_allclose(run(dequantize_onnx(content), pictures), run(float_onnx(dw2), pictures), atol=0.05)


def test_other_means_far_apart_keep_the_normalisation_before_a_padded_stem(dw2: Model, pictures: Image) -> None:
    model = replace(dw2, image=replace(dw2.image, mean=(120.5, 110.0, 100.0)))
    content = export_onnx(model, "int8", Calibration(pictures, "noise")).model
    assert {"Cast", "Sub", "Mul"} <= set(kinds(content))
    assert cosine(run(content, pictures), run(float_onnx(model), pictures)) > 0.99


def test_any_means_do_where_nothing_is_padded(pictures: Image) -> None:
    unpadded = model_of(nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 15 * 15, 8)))
    content = export_onnx(unpadded, "int8", Calibration(pictures, "noise")).model
    assert not {"Cast", "Sub", "Mul"} & set(kinds(content))
    assert cosine(run(content, pictures), run(float_onnx(unpadded), pictures)) > 0.995


class Padded(nn.Module):
    """A shortcut that is filled up with channels of zeros, as in residual networks without parameters there."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.wide = nn.Conv2d(3, 8, 3, 2), nn.Conv2d(8, 16, 3, 1, 1)
        self.last, self.embedding = nn.Conv2d(16, 8, 3, 2), nn.Linear(8 * 49, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)  # no ReLU: the zero point is no zero
        x = nn.functional.pad(x, (0, 0, 0, 0, 0, 8)) + self.wide(x)
        return self.embedding(self.last(x).flatten(1))


def test_padding_is_done_in_integers(pictures: Image) -> None:
    torch.manual_seed(0)
    model = model_of(Padded())
    content = export_onnx(model, "int8", Calibration(pictures, "noise")).model
    graph = Graph(content)
    pad = next(node for node in graph.nodes if node.op_type == "Pad")
    reader = graph.only_reader(pad.output[0])
    assert reader is not None
    assert reader.op_type == "DequantizeLinear"
    level = graph.value(pad.input[2])
    assert level is not None
    assert level.dtype == np.uint8
    assert 50 < level < 200
    wanted = run(float_onnx(model), pictures)
    assert cosine(run(content, pictures), wanted) > 0.995
    assert cosine(run(dequantize_onnx(content), pictures), wanted) > 0.999


def test_weights_have_a_scale_for_each_output_channel(dw2: Model, pictures: Image) -> None:
    graph = Graph(export_onnx(dw2, "int8", Calibration(pictures, "noise")).model)
    layers = [node for node in graph.nodes if node.op_type in ("Conv", "Gemm")]
    assert len(layers) == 8
    for node in layers:
        source = graph.producer(node.input[1])
        assert source is not None
        weights, steps, zeros = (graph.value(name) for name in source.input)
        assert weights is not None
        assert steps is not None
        assert zeros is not None
        assert weights.dtype == np.int8
        assert steps.shape == (len(weights),)
        assert not zeros.any()
        assert (np.abs(weights.reshape(len(weights), -1)).max(1) == 127).all()


def test_tensorrt_gets_symmetric_int8_and_float_biases(dw2: Model, pictures: Image) -> None:
    content = quantize_onnx(float_onnx(dw2), observe_onnx(dw2, Calibration(pictures, "noise")), flavour="tensorrt")
    graph = Graph(content)
    found = {kind for tensor in graph.constants.values() for kind in [tensor.data_type]}
    assert TensorProto.UINT8 not in found
    assert TensorProto.INT32 not in found
    zeros = [graph.value(node.input[2]) for node in graph.nodes if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert zeros
    assert all(zero is not None and zero.dtype == np.int8 and not zero.any() for zero in zeros)
    assert cosine(run(content, pictures), run(float_onnx(dw2), pictures)) > 0.98


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_layers_can_be_kept_in_float(flavour: Flavour, dw2: Model, pictures: Image) -> None:
    content = float_onnx(dw2)
    layers = frozenset(node.name for node in onnx.load_from_string(content).graph.node if node.op_type in ("Conv", "Gemm"))
    ranges = observe_onnx(dw2, Calibration(pictures, "noise"))
    first = sorted(layers)[0]
    kept = Graph(quantize_onnx(content, ranges, flavour=flavour, keep_float=frozenset({first})))
    node = next(node for node in kept.nodes if node.name == first)
    assert kept.value(node.input[1]) is not None  # no DequantizeLinear before it
    everything = quantize_onnx(content, ranges, flavour=flavour, keep_float=layers)
    np.testing.assert_allclose(run(everything, pictures), run(content, pictures), rtol=0.05, atol=0.05)
    with pytest.raises(FacetteError, match=r"no node 'nose'.*known: .*" + first):
        quantize_onnx(content, ranges, flavour=flavour, keep_float=frozenset({"nose"}))


def test_layers_are_found_in_the_onnx_graph(dw2: Model) -> None:
    content = float_onnx(dw2)
    kinds = {node.name: node.op_type for node in onnx.load_from_string(content).graph.node}
    assert {kinds[name] for name in layer_nodes(content, frozenset({"stem", "narrow"}))} == {"Conv"}
    assert [kinds[name] for name in layer_nodes(content, frozenset({"embedding"}))] == ["Gemm"]
    with pytest.raises(FacetteError, match="no node for layer 'nose'"):
        layer_nodes(content, frozenset({"stem", "nose"}))


@pytest.mark.parametrize("engine", ["onnxruntime", "tensorrt"])
def test_a_calibration_names_layers_that_stay_in_float(engine: str, dw2: Model, pictures: Image) -> None:
    given = export(dw2, engine, "int8", Calibration(pictures, "noise"))
    mixed = export(dw2, engine, "int8", Calibration(pictures, "noise", keep_float=frozenset({"narrow"})))
    assert kinds(mixed.model)["DequantizeLinear"] < kinds(given.model)["DequantizeLinear"]


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_dequantizing_separates_the_weights_error(flavour: Flavour, dw2: Model, pictures: Image) -> None:
    content = float_onnx(dw2)
    quantized = quantize_onnx(content, observe_onnx(dw2, Calibration(pictures, "noise")), flavour=flavour)
    again = dequantize_onnx(quantized)
    assert not {"QuantizeLinear", "DequantizeLinear"} & set(kinds(again))
    wanted = run(content, pictures)
    by_weights, by_both = (np.abs(run(each, pictures) - wanted).mean() for each in (again, quantized))
    assert 0 < by_weights < by_both


def test_ranges_stand_in_for_pictures(dw2: Model, pictures: Image) -> None:
    calibration = Calibration(pictures, "noise", "mse")
    ranges = observe_onnx(dw2, calibration)
    kept = Calibration(None, "kept", "mse", ranges)
    assert export_onnx(dw2, "int8", kept).model == export_onnx(dw2, "int8", calibration).model
    one = dict(ranges)
    del one[next(node.output[0] for node in onnx.load_from_string(float_onnx(dw2)).graph.node if node.op_type == "Relu")]
    with pytest.raises(FacetteError, match="no range for tensor"):
        export_onnx(dw2, "int8", replace(kept, ranges=one))


def test_observed_ranges_are_those_of_the_tensors(dw2: Model, pictures: Image) -> None:
    ranges = observe_onnx(dw2, Calibration(pictures, "noise", "min-max"))
    given = run(float_onnx(dw2), pictures)
    low, high = ranges["embedding"]
    assert (low, high) == pytest.approx((min(given.min(), 0), max(given.max(), 0)), rel=1e-4)


def test_dead_channels_and_silent_tensors_are_survived(pictures: Image) -> None:
    network = Residual()
    with torch.no_grad():
        network.stem.weight[3] = 0
        network.one.weight.zero_()
        assert network.one.bias is not None
        network.one.bias.zero_()
    model = model_of(network)
    found = run(export_onnx(model, "int8", Calibration(pictures, "noise")).model, pictures)
    assert np.isfinite(found).all()
    assert cosine(found, run(float_onnx(model), pictures)) > 0.99


@pytest.fixture(scope="module")
def wide() -> Model:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 32, 3, 2, 1), nn.ReLU(), nn.Conv2d(32, 64, 3, 2, 1), nn.Conv2d(64, 64, 3, 1, 1, groups=64)]
    return model_of(nn.Sequential(*layers, nn.Flatten(), nn.Linear(4096, 8)))


@pytest.mark.parametrize(
    ("precision", "least", "share"), [("fp16", 0.99999, 0.62), ("int8-weights", 0.999, 0.5), ("int8-dynamic", 0.99, 0.6)]
)
def test_small_weights(precision: Precision, least: float, share: float, wide: Model, pictures: Image, tmp_path: Path) -> None:
    content = export_onnx(wide, precision).model
    whole = float_onnx(wide)
    assert len(content) < share * len(whole)
    assert least < cosine(run(content, pictures), run(whole, pictures)) < 1
    found = optimized(content, tmp_path)
    if precision == "int8-dynamic":
        assert found["ConvInteger"] == 2
        assert found["Conv"] == 1  # the depthwise one
        assert found["MatMulIntegerToFloat"] + found["MatMulInteger"] + found["DynamicQuantizeMatMul"] == 1
    else:  # the weights are floats again before the first picture comes
        assert found["Conv"] == 3
        assert found["DequantizeLinear"] == 1  # the picture's bytes
        assert not {"Cast", "QuantizeLinear"} & set(found)


def test_half_refuses_what_it_cannot_hold(wide: Model) -> None:
    proto = onnx.load_from_string(float_onnx(wide))
    large = next(tensor for tensor in proto.graph.initializer if list(tensor.dims[1:2]) == [32])
    large.CopyFrom(onnx.numpy_helper.from_array(np.full(tuple(large.dims), 1e5, np.float32), large.name))
    with pytest.raises(FacetteError, match="half floats can't hold"):
        halve_weights(proto.SerializeToString())


def test_detectors_too(tiny_models: tuple[Model, Model], tmp_path: Path) -> None:
    detector = tiny_models[0]
    shown = np.random.default_rng(1).integers(0, 256, (4, 64, 64, 3), np.uint8)
    content = export_onnx(detector, "int8", Calibration(shown, "noise")).model
    wanted, found = (
        ort.InferenceSession(each, providers=["CPUExecutionProvider"]).run(["boxes", "scores", "landmarks"], {"image": shown[:1]})
        for each in (float_onnx(detector), content)
    )
    for one, other in zip(wanted, found, strict=True):
        np.testing.assert_allclose(one, other, atol=0.03)
    assert optimized(content, tmp_path)["QLinearConv"] == 1


def test_what_cannot_be_done_is_said(dw2: Model, pictures: Image) -> None:
    with pytest.raises(FacetteError, match="bf16 on CPUs; known: fp32, fp16, int8, int8-dynamic, int8-weights"):
        export_onnx(dw2, "bf16")
    with pytest.raises(FacetteError, match=r"int8 needs a calibration: .*pictures.*ranges"):
        export_onnx(dw2, "int8")
    with pytest.raises(FacetteError, match="neither pictures nor ranges"):
        export_onnx(dw2, "int8", Calibration(None, "nothing"))
    with pytest.raises(FacetteError, match="must be 32x32x3, but got 16x32x3"):
        export_onnx(dw2, "int8", Calibration(pictures[:, :16], "half"))
