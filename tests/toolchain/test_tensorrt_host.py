"""TensorRT's parser and builder on this machine: what they say of our graphs, and what is said where they can't be asked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import onnx
import pytest
from onnx import TensorProto, helper

from facette.calibration import Calibration
from facette.export import export
from facette.export.onnx_graph import float_onnx
from facette.model import Model
from facette.tensorrt_host import check, libraries
from facette.tensorrt_host.builder_log import read_log
from facette.tensorrt_host.check import build_on_host, check_on_host
from facette.tensorrt_host.result import HostBuild, Kernel, NotChecked, Refusal
from facette_runtime.engines.tensorrt_build import LogLine
from facette_runtime.errors import FacetteError
from facette_runtime.manifest import Precision
from facette_runtime.schema import from_dict, to_dict
from facette_runtime.types import Image
from tests.toolchain.tiny_models import tiny_detector, tiny_embedder

MODELS = (tiny_detector, tiny_embedder)

ORIN, STAND_INS = 87, (86, 89)

needs_tensorrt = pytest.mark.skipif(libraries.missing() is not None, reason="TensorRT for RTX is not installed (extra [tensorrt])")


def exported(model: Model, precision: Precision, picture: Image) -> bytes:
    shown = cv2.resize(picture, model.image.size_wh)[None]
    return export(model, "tensorrt", precision, Calibration(shown, "one picture")).model


@needs_tensorrt
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("role", [0, 1], ids=["detector", "embedder"])
def test_builds_what_the_exporter_writes(role: int, precision: Precision, picture: Image) -> None:
    content = exported(MODELS[role](), precision, picture)
    built = build_on_host(content, ORIN, STAND_INS)
    assert (built.failure, built.refusals) == (None, ())
    assert [made.sm for made in built.builds] == [86, 89]
    nodes = {node.name for node in onnx.load_from_string(content).graph.node}
    assert built.network_layers >= len(nodes)
    for made in built.builds:
        assert made.layers == len(made.kernels) > 0
        assert made.plan_bytes == made.weights_bytes + made.source_bytes > made.weights_bytes > 0
        assert made.scratch_bytes > 0
        assert 0 < made.generated <= sum(kernel.kind == "kgen" for kernel in made.kernels)
        assert made.fusions, "at least cast, transposition and normalisation are one kernel"
        computed = {name for kernel in made.kernels for name in kernel.nodes}
        assert len(computed & nodes) > len(nodes) / 2
        types = {kernel.output for kernel in made.kernels}
        assert ("Half" in types) == (precision == "fp16" or (precision == "int8" and role == 1))
        assert ("Int8" in types) == (precision == "int8")
    assert from_dict(HostBuild, json.loads(json.dumps(to_dict(built))), "a report") == built
    assert "builds it: SM 8.6: " in built.summary


@needs_tensorrt
def test_precision_halves_the_weights(picture: Image) -> None:
    fp32, fp16 = (build_on_host(exported(tiny_detector(), name, picture), ORIN, (86,)).builds[0] for name in ("fp32", "fp16"))
    assert fp16.weights_bytes < 0.75 * fp32.weights_bytes


@needs_tensorrt
def test_names_every_refused_node(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT, name="cast"),
        helper.make_node("Det", ["floats"], ["first"], name="determinant"),
        helper.make_node("Relu", ["floats"], ["relu"], name="relu"),
        helper.make_node("Unheard", ["relu"], ["second"], name="mystery", domain="my.own"),
    ]
    graph = helper.make_graph(
        nodes,
        "odd",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, (1, 4, 4))],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("first", "second")],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("my.own", 1)]
    content = helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    built = build_on_host(content, ORIN, STAND_INS)
    assert built.builds == ()
    assert built.refusals == (
        Refusal("determinant", "Det", "TensorRT has no such operator"),
        Refusal("mystery", "Unheard", "neither an operator nor a plugin that TensorRT knows"),
    )
    assert built.failure is not None
    assert "Det 'determinant'" in built.summary
    assert "Unheard 'mystery'" in built.summary
    assert "\n" not in built.summary


@needs_tensorrt
def test_bytes_that_are_transposed_first_are_refused() -> None:
    # Which is why the exporter casts first; ONNX Runtime's own file has the cheaper order.
    built = build_on_host(float_onnx(tiny_embedder()), ORIN, (86,))
    assert [refusal.operator for refusal in built.refusals] == ["Transpose"]
    assert "has type UInt8" in built.refusals[0].reason


@needs_tensorrt
@pytest.mark.parametrize("content", [b"", b"hello"])
def test_what_is_no_network_is_a_failure(content: bytes) -> None:
    built = build_on_host(content, ORIN, (86,))
    assert built.failure is not None
    assert "finds no network in it" in built.failure


@needs_tensorrt
def test_unknown_capability_lists_the_known_ones() -> None:
    with pytest.raises(FacetteError, match="can't build for SM 87; known: 75, 80, 86, 89"):
        build_on_host(b"", ORIN, (87,))


NAMES_MISSING = """
import json
from facette.tensorrt_host.libraries import load
from tests.runtime import fake_tensorrt as fake
trt = load()
pairs = {
    fake.Builder: trt.Builder, fake.Network: trt.INetworkDefinition, fake.Parser: trt.OnnxParser, fake.Config: trt.IBuilderConfig,
    fake.Profile: trt.IOptimizationProfile, fake.Runtime: trt.Runtime, fake.Engine: trt.ICudaEngine,
    fake.Context: trt.IExecutionContext, fake.DataType: trt.DataType, fake.TensorIOMode: trt.TensorIOMode,
    fake.MemoryPoolType: trt.MemoryPoolType, fake.Severity: trt.ILogger.Severity, fake.ParserError: trt.ParserError,
}
public = lambda kind: {name for name in vars(kind) if not name.startswith("_")}
missing = [f"{real.__name__}.{name}" for mine, real in pairs.items() for name in public(mine) if not hasattr(real, name)]
print(json.dumps([len(pairs), missing]))
"""


@needs_tensorrt
def test_what_the_fake_has_the_real_one_has() -> None:
    # The device's engine is tested against tests/runtime/fake_tensorrt.py, which must not know more than TensorRT does.
    root = Path(__file__).parents[2]
    paths = os.pathsep.join(str(root / folder) for folder in ("toolchain", "runtime", "."))
    done = subprocess.run([sys.executable, "-c", NAMES_MISSING], capture_output=True, env={**os.environ, "PYTHONPATH": paths})
    assert done.returncode == 0, done.stderr.decode()
    count, absent = json.loads(done.stdout.splitlines()[-1])
    assert count == 13
    assert absent == []


def test_device_without_stand_in_is_not_checked() -> None:
    assert check_on_host(b"", 53, ()) == NotChecked("not checked", "TensorRT for RTX builds for nothing that comes near SM 5.3")


def test_without_the_libraries_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libraries, "BINDINGS", "no_such_module")
    checked = check_on_host(b"", ORIN, STAND_INS)
    assert isinstance(checked, NotChecked)
    assert checked.summary == (
        "not checked: TensorRT for RTX is not installed"
        " (pip install --no-deps tensorrt-rtx-cu13-bindings onnxruntime-ep-nv-tensorrt-rtx-cu13)"
    )
    with pytest.raises(FacetteError, match="is not installed"):
        libraries.load()


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("import os; os.abort()", "ended with status -6"),
        ("import sys; print('no kernel', file=sys.stderr); sys.exit(1)", "ended with status 1: no kernel"),
        ("import sys; print('libcudart is broken', file=sys.stderr); sys.exit(2)", "libcudart is broken"),
        ("import time; time.sleep(60)", "did not answer within 1 s"),
    ],
)
def test_a_worker_that_fails_is_told(monkeypatch: pytest.MonkeyPatch, program: str, reason: str) -> None:
    real = subprocess.run

    def run(command: list[str], **options: object) -> object:
        return real([sys.executable, "-c", program], **options)  # type: ignore[call-overload]

    monkeypatch.setattr(check, "missing", lambda: None)
    monkeypatch.setattr(check, "TIMEOUT_S", 1)
    monkeypatch.setattr(subprocess, "run", run)
    checked = check_on_host(b"", ORIN, STAND_INS)
    assert isinstance(checked, NotChecked)
    assert reason in checked.reason


def test_reads_the_builders_log() -> None:
    told = read_log(
        [
            LogLine("INFO", "Total Activation Memory: 1024 bytes"),
            LogLine("INFO", "Total Weights Memory: 2048 bytes"),
            LogLine("VERBOSE", "After Myelin optimization: 1 layers"),
            LogLine(
                "VERBOSE",
                "Layers:\n"
                "Name: front_0, LayerType: kgen, Inputs: [ { Name: image, Datatype: UInt8 }], Constants: [], Outputs: "
                "[ { Name: a, Datatype: Half }], TacticName: t1, StreamId: 0, Metadata: [ONNX Layer: cast]\x1f[ONNX Layer: mul]\n"
                "Name: conv_1, LayerType: correlation, Inputs: [ { Name: a, Datatype: Half }], Outputs: "
                "[ { Name: b, Datatype: Float }], TacticName: stub, StreamId: 0, Metadata: [ONNX Layer: conv]\n"
                "Name: front_2, LayerType: kgen, Inputs: [], Outputs: [], TacticName: t1, StreamId: 0, Metadata: \n\n"
                "I/O Tensors:\n Name: image, IOMode: Input",
            ),
        ]
    )
    assert told.kernels == (
        Kernel("front_0", "kgen", "Half", ("cast", "mul")),
        Kernel("conv_1", "correlation", "Float", ("conv",)),
        Kernel("front_2", "kgen", "", ()),
    )
    assert (told.generated, told.scratch_bytes, told.weights_bytes) == (1, 1024, 2048)


def test_a_silent_log_gives_nothing() -> None:
    told = read_log([LogLine("INFO", "Engine generation completed in 0.5 seconds.")])
    assert (told.kernels, told.generated, told.scratch_bytes, told.weights_bytes) == ((), 0, 0, 0)
