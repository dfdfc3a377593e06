"""One suite that every engine passes: the same tiny network in each engine's own format.

It takes ``image``, uint8 [1, 8, 8, 3], and gives ``mean`` [1, 3], the channels' means, and ``double`` [1, 4], twice the first
four values.
"""

from __future__ import annotations

import importlib
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from facette_runtime import engines
from facette_runtime.engines import open_engine
from facette_runtime.engines.base import Engine
from facette_runtime.errors import EngineError

SHAPE = (1, 8, 8, 3)


def _onnx(_: Path) -> bytes:
    onnx = pytest.importorskip("onnx", reason="the test's network is made with onnx")
    helper, types = onnx.helper, onnx.TensorProto
    constants = {"axes": [1, 2], "starts": [0, 0], "ends": [1, 4], "slices": [0, 1], "flat": [1, -1]}
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["image"], ["pixels"], to=types.FLOAT),
            helper.make_node("ReduceMean", ["pixels", "axes"], ["mean"], keepdims=0),
            helper.make_node("Reshape", ["pixels", "flat"], ["row"]),
            helper.make_node("Slice", ["row", "starts", "ends", "slices"], ["four"]),
            helper.make_node("Add", ["four", "four"], ["double"]),
        ],
        "tiny",
        [helper.make_tensor_value_info("image", types.UINT8, SHAPE)],
        [
            helper.make_tensor_value_info("mean", types.FLOAT, (1, 3)),
            helper.make_tensor_value_info("double", types.FLOAT, (1, 4)),
        ],
        [helper.make_tensor(name, types.INT64, (len(values),), values) for name, values in constants.items()],
    )
    content: bytes = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8).SerializeToString()
    return content


def _tflite(folder: Path) -> bytes:
    torch = pytest.importorskip("torch", reason="the test's network is converted from torch")
    litert_torch = pytest.importorskip("litert_torch", reason="the test's network is made with litert-torch")

    class Tiny(torch.nn.Module):
        def forward(self, image):
            pixels = image.to(torch.float32)
            return {"mean": pixels.mean((1, 2)), "double": pixels.flatten(1)[:, :4] * 2.0}

    litert_torch.convert(Tiny().eval(), sample_kwargs={"image": torch.zeros(SHAPE, dtype=torch.uint8)}).export(
        str(folder / "tiny.tflite")
    )
    return (folder / "tiny.tflite").read_bytes()


def _openvino(folder: Path) -> bytes:
    from facette_runtime.engines.openvino import BIN, OUTPUTS_PATH, PRECISION_PATH, XML, import_openvino

    ov = import_openvino()
    ops = importlib.import_module("openvino.opset13")
    image = ops.parameter(SHAPE, np.uint8, name="image")
    pixels = ops.convert(image, "f32")
    mean = ops.reduce_mean(pixels, np.array([1, 2]))
    row = ops.reshape(pixels, np.array([1, -1]), special_zero=False)
    four = ops.strided_slice(row, np.array([0, 0]), np.array([1, 4]), np.array([1, 1]), [0, 0], [0, 0])
    double = ops.add(four, four)
    image.output(0).get_tensor().set_names({"image"})
    mean.output(0).get_tensor().set_names({"mean"})
    double.output(0).get_tensor().set_names({"double"})
    network = ov.Model([mean, double], [image], "tiny")
    network.set_rt_info("f32", list(PRECISION_PATH))
    network.set_rt_info(",".join(port.any_name for port in network.outputs), list(OUTPUTS_PATH))
    ov.save_model(network, str(folder / XML), compress_to_fp16=False)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name in (XML, BIN):
            archive.write(folder / name, name)
    return packed.getvalue()


def _null(_: Path) -> bytes:
    network = {
        "inputs": [{"name": "image", "shape": SHAPE, "dtype": "uint8"}],
        "outputs": [
            {"kind": "colour", "name": "mean", "shape": [1, 3], "seed": 1},
            {"kind": "brightness", "name": "double", "shape": [1, 4], "values": [1, 2, 3, 4]},
        ],
    }
    return json.dumps(network).encode()


NETWORKS: dict[str, Callable[[Path], bytes]] = {
    "onnxruntime": _onnx,
    "litert": _tflite,
    "openvino": _openvino,
    "null": _null,
}
ELSEWHERE = {"tensorrt"}
"""Builds its plan on the device and needs a GPU for it: test_engine_tensorrt.py runs it against a stand-in."""


@pytest.fixture(scope="session", params=NETWORKS)
def network(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, bytes]:
    """An engine's name and the tiny network in its format."""
    if request.param not in engines.installed_engines():
        pytest.skip(f"engine {request.param} is not installed")
    return request.param, NETWORKS[request.param](tmp_path_factory.mktemp("network"))


@pytest.fixture
def engine(network: tuple[str, bytes]) -> Engine:
    """The tiny network, loaded."""
    return open_engine(*network, threads=1)


def _image(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, SHAPE, dtype=np.uint8)


def test_every_engine_has_a_network_here() -> None:
    assert set(NETWORKS) | ELSEWHERE == set(engines.ENGINES)


def test_tells_names_shapes_and_dtypes(engine: Engine, network: tuple[str, bytes]) -> None:
    assert engine.name == network[0]
    assert [(spec.name, spec.shape, spec.dtype) for spec in engine.inputs] == [("image", SHAPE, "uint8")]
    assert {spec.name: (spec.shape, spec.dtype) for spec in engine.outputs} == {
        "mean": ((1, 3), "float32"),
        "double": ((1, 4), "float32"),
    }


def test_gives_every_output_as_told(engine: Engine) -> None:
    outputs = engine.run({"image": _image()})
    assert {name: (array.shape, array.dtype.name) for name, array in outputs.items()} == {
        spec.name: (spec.shape, spec.dtype) for spec in engine.outputs
    }


def test_computes(engine: Engine) -> None:
    if engine.name == "null":
        pytest.skip("the null engine computes nothing of the network")
    image = _image()
    outputs = engine.run({"image": image})
    np.testing.assert_allclose(outputs["mean"], image.mean((1, 2)), rtol=1e-5)
    np.testing.assert_array_equal(outputs["double"], image.reshape(1, -1)[:, :4].astype(np.float32) * 2)


def test_is_deterministic_and_depends_on_its_input(engine: Engine) -> None:
    first, other, again = (engine.run({"image": _image(seed)}) for seed in (0, 1, 0))
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])
        assert not np.array_equal(first[name], other[name])


def test_outputs_stay_as_they_were(engine: Engine) -> None:
    outputs = engine.run({"image": _image(0)})
    copies = {name: array.copy() for name, array in outputs.items()}
    engine.run({"image": _image(1)})
    for name in outputs:
        np.testing.assert_array_equal(outputs[name], copies[name])


def test_takes_arrays_that_are_not_contiguous(engine: Engine) -> None:
    image = _image()
    flipped = engine.run({"image": image[:, :, ::-1]})
    expected = engine.run({"image": image[:, :, ::-1].copy()})
    for name in expected:
        np.testing.assert_array_equal(flipped[name], expected[name])


def test_two_engines_do_not_share_state(network: tuple[str, bytes]) -> None:
    first, second = open_engine(*network, threads=1), open_engine(*network, threads=2)
    expected = first.run({"image": _image(0)})
    second.run({"image": _image(1)})
    np.testing.assert_array_equal(first.run({"image": _image(0)})["double"], expected["double"])


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({}, "missing input 'image'; inputs: image"),
        ({"image": _image(), "mask": _image()}, "unknown input 'mask'; inputs: image"),
        ({"picture": _image()}, "unknown input 'picture'"),
        ({"image": _image().astype(np.float32)}, "must be uint8, but got float32"),
        ({"image": _image()[0]}, r"must have shape \(1, 8, 8, 3\), but got \(8, 8, 3\)"),
        ({"image": _image()[:, :7]}, r"must have shape \(1, 8, 8, 3\), but got \(1, 7, 8, 3\)"),
    ],
)
def test_refuses_wrong_tensors(engine: Engine, tensors: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(EngineError, match=message):
        engine.run(tensors)


@pytest.mark.parametrize("damage", [lambda model: b"", lambda model: b"hello", lambda model: model[: len(model) // 2]])
def test_refuses_damaged_networks_in_one_line(network: tuple[str, bytes], damage: Callable[[bytes], bytes]) -> None:
    name, model = network
    with pytest.raises(EngineError, match=f"{name}: refuses this network") as caught:
        open_engine(name, damage(model), 1)
    assert "\n" not in str(caught.value)


def test_unknown_engine_lists_the_known_ones() -> None:
    with pytest.raises(EngineError, match="unknown engine 'abacus'; known engines: onnxruntime, litert"):
        open_engine("abacus", b"", 1)


def test_missing_engine_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "_can_import", lambda module: False)
    with pytest.raises(
        EngineError, match=r"'litert' is not installed \(installed: null\).*pip install 'facette-runtime\[litert\]'"
    ):
        open_engine("litert", b"", 1)


def test_threads_must_be_positive() -> None:
    with pytest.raises(EngineError, match="threads must be at least 1"):
        open_engine("null", b"", 0)


def test_null_network_must_fit_its_shapes() -> None:
    network = {"inputs": [], "outputs": [{"kind": "constant", "name": "x", "shape": [1, 4], "values": [1]}]}
    with pytest.raises(EngineError, match="'x' needs 4 values, but has 1"):
        open_engine("null", json.dumps(network).encode(), 1)
