"""The TensorRT engine on a GPU that isn't there: what is built and kept, what is given to ONNX Runtime, what goes over the bus."""

from __future__ import annotations

import gc
import hashlib
import logging
import sys
import types
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="the tests' networks are made with onnx")
pytest.importorskip("onnxruntime", reason="stands in for TensorRT, here and on a device without")

from facette_runtime.engines import open_engine, tensorrt  # noqa: E402
from facette_runtime.engines.base import Engine  # noqa: E402
from facette_runtime.engines.tensorrt_build import MAX_BATCH  # noqa: E402
from facette_runtime.engines.tensorrt_plans import PlanKey, PlanStore, default_folder  # noqa: E402
from facette_runtime.errors import EngineError  # noqa: E402
from tests.runtime.fake_cuda import FakeCuda  # noqa: E402
from tests.runtime.fake_tensorrt import FakeTensorRT  # noqa: E402

FLOAT, HALF, UINT8, INT8 = (getattr(onnx.TensorProto, name) for name in ("FLOAT", "FLOAT16", "UINT8", "INT8"))
SIDE = 4


def network(batch: int | str = "batch", middle: str = "", bias: float = 0.5) -> bytes:
    """ONNX: ``image`` uint8 [batch, 4, 4, 3] to ``mean`` [batch, 3]; ``middle`` adds a cast, a quantizer or the unknown."""
    node, constant = onnx.helper.make_node, onnx.helper.make_tensor
    nodes = [node("Cast", ["image"], ["pixels"], to=FLOAT), node("Add", ["pixels", "bias"], ["sum"])]
    last = "sum"
    if middle == "half":
        nodes += [node("Cast", ["sum"], ["small"], to=HALF), node("Cast", ["small"], ["large"], to=FLOAT)]
        last = "large"
    if middle == "quantizer":
        nodes += [node("QuantizeLinear", ["sum", "one", "zero"], ["q"]), node("DequantizeLinear", ["q", "one", "zero"], ["dq"])]
        last = "dq"
    if middle == "unknown":
        nodes += [node("Det", ["sum"], ["nothing"], name="oddity")]
    nodes.append(node("ReduceMean", [last, "axes"], ["mean"], keepdims=0))
    graph = onnx.helper.make_graph(
        nodes,
        "tiny",
        [onnx.helper.make_tensor_value_info("image", UINT8, (batch, SIDE, SIDE, 3))],
        [onnx.helper.make_tensor_value_info("mean", FLOAT, (batch, 3))],
        [
            constant("bias", FLOAT, (), [bias]),
            constant("one", FLOAT, (), [1.0]),
            constant("zero", INT8, (), [0]),
            constant("axes", onnx.TensorProto.INT64, (2,), [1, 2]),
        ],
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=8).SerializeToString()


def pictures(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 100, (count, SIDE, SIDE, 3), dtype=np.uint8)


def expected(images: np.ndarray, bias: float = 0.5) -> np.ndarray:
    return images.mean((1, 2)) + bias


class Device:
    """A device with fakes in place of its modules."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, plans: Path) -> None:
        self._monkeypatch = monkeypatch
        self._installed: list[FakeTensorRT] = []
        self.plans = plans
        monkeypatch.setenv("FACETTE_PLANS", str(plans))
        self.install()

    def install(self, cuda: FakeCuda | None = None, version: str = "10.3.0", broken: bool = False) -> None:
        self.cuda = cuda or FakeCuda()
        self.trt = FakeTensorRT(self.cuda, version, broken)
        self._installed.append(self.trt)
        self.remove("cuda.cudart")
        self._set("tensorrt", self.trt)
        self._set("cuda", types.ModuleType("cuda"))
        self._set("cuda.bindings", types.ModuleType("cuda.bindings"))
        self._set("cuda.bindings.runtime", self.cuda)
        tensorrt._say_once.cache_clear()

    def remove(self, name: str) -> None:
        self._set(name, None)  # importing it raises ModuleNotFoundError

    def use_old_cuda_python(self) -> None:
        for name in ("cuda.bindings", "cuda.bindings.runtime"):
            self.remove(name)
        self._set("cuda.cudart", self.cuda)

    def _set(self, name: str, module: object) -> None:
        self._monkeypatch.setitem(sys.modules, name, module)

    @property
    def builds(self) -> int:
        return sum(len(trt.built) for trt in self._installed)

    def files(self) -> list[str]:
        return sorted(path.suffix for path in self.plans.iterdir())


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Device:
    """An Orin with JetPack 6 and an empty folder of plans."""
    return Device(monkeypatch, tmp_path / "plans")


def load(model: bytes) -> Engine:
    return tensorrt.load(model, 1)


def test_computes_on_the_gpu(device: Device) -> None:
    engine = load(network())
    assert engine.name == "tensorrt"
    assert [(spec.name, spec.shape, spec.dtype) for spec in engine.inputs] == [("image", (None, SIDE, SIDE, 3), "uint8")]
    assert [(spec.name, spec.shape, spec.dtype) for spec in engine.outputs] == [("mean", (None, 3), "float32")]
    np.testing.assert_allclose(engine.run({"image": pictures(2)})["mean"], expected(pictures(2)), rtol=1e-6)


@pytest.mark.parametrize("count", [0, 1, 3, MAX_BATCH, MAX_BATCH + 1, 3 * MAX_BATCH])
def test_takes_any_batch_in_pieces_of_the_profile(device: Device, count: int) -> None:
    engine = load(network())
    images = pictures(count)
    outputs = engine.run({"image": images})
    assert outputs["mean"].shape == (count, 3)
    np.testing.assert_allclose(outputs["mean"], expected(images) if count else np.empty((0, 3)), rtol=1e-6)
    assert all(1 <= shape[0] <= MAX_BATCH for shape in device.trt.contexts[0].shapes)


def test_profile_is_one_to_the_largest_batch_and_best_for_one(device: Device) -> None:
    load(network())
    rest = (SIDE, SIDE, 3)
    assert device.trt.built[0]["profile"] == ((1, *rest), (1, *rest), (MAX_BATCH, *rest))


def test_fixed_batch_needs_no_profile(device: Device) -> None:
    engine = load(network(batch=1))
    assert engine.inputs[0].shape == (1, SIDE, SIDE, 3)
    assert device.trt.built[0]["profile"] is None
    np.testing.assert_allclose(engine.run({"image": pictures(1)})["mean"], expected(pictures(1)), rtol=1e-6)
    with pytest.raises(EngineError, match=r"must have shape \(1, 4, 4, 3\), but got \(2, 4, 4, 3\)"):
        engine.run({"image": pictures(2)})


def test_memory_is_made_once_and_given_back(device: Device) -> None:
    engine = load(network())
    engine.run({"image": pictures(1)})
    made = list(device.cuda.calls)
    assert sorted(made) == ["cudaMalloc", "cudaMalloc", "cudaMallocHost", "cudaMallocHost", "cudaStreamCreate"]
    assert sorted(len(content) for content in device.cuda.device.values()) == [MAX_BATCH * 3 * 4, MAX_BATCH * SIDE * SIDE * 3]
    for count in (5, MAX_BATCH, 1, 20):
        engine.run({"image": pictures(count)})
    assert device.cuda.calls == made
    del engine
    gc.collect()
    assert not device.cuda.device
    assert not device.cuda.pinned
    assert not device.cuda.streams


def test_shape_is_told_only_when_it_changes(device: Device) -> None:
    engine = load(network())
    for count in (1, 1, 2, 2, 1):
        engine.run({"image": pictures(count)})
    assert [shape[0] for shape in device.trt.contexts[0].shapes] == [1, 2, 1]


def test_outputs_stay_as_they_were(device: Device) -> None:
    engine = load(network())
    first = engine.run({"image": pictures(1, seed=0)})["mean"]
    engine.run({"image": pictures(1, seed=1)})
    np.testing.assert_allclose(first, expected(pictures(1, seed=0)), rtol=1e-6)


def test_takes_arrays_that_are_not_contiguous(device: Device) -> None:
    flipped = pictures(3)[::-1, :, ::-1]
    np.testing.assert_allclose(load(network()).run({"image": flipped})["mean"], expected(flipped), rtol=1e-6)


def test_builds_once_and_keeps_the_plan(device: Device) -> None:
    load(network())
    again = load(network())
    assert device.builds == 1
    assert device.files() == [".plan", ".timing"]
    np.testing.assert_allclose(again.run({"image": pictures(1)})["mean"], expected(pictures(1)), rtol=1e-6)


def test_next_build_gets_the_timing_cache(device: Device) -> None:
    load(network(bias=0.5))
    load(network(bias=2.0))
    assert [record["timing"] for record in device.trt.built] == [b"", b"timings"]


@pytest.mark.parametrize(
    "change",
    [
        lambda device: load(network(bias=0.75)),
        lambda device: (device.install(version="10.7.0"), load(network())),
        lambda device: (device.install(version="8.6.2"), load(network())),
        lambda device: (device.install(cuda=FakeCuda(sm=(7, 2))), load(network())),
        lambda device: (device.install(cuda=FakeCuda(name=b"Larger Orin")), load(network())),
    ],
    ids=["network", "TensorRT", "typing", "SM", "GPU"],
)
def test_builds_again_for_another(device: Device, change: Callable[[Device], object]) -> None:
    load(network())
    before = {path.name: path.read_bytes() for path in device.plans.glob("*.plan")}
    change(device)
    assert device.builds == 2
    after = {path.name: path.read_bytes() for path in device.plans.glob("*.plan")}
    assert len(after) == 2, "the first plan stays for the first device"
    assert before.items() <= after.items()


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[: len(content) // 2],
        lambda content: content[:-1] + bytes([content[-1] ^ 1]),
        lambda content: b"[]\n" + content,
        lambda content: content.replace(b'"format": 1', b'"format": 0'),
    ],
    ids=["empty", "cut", "flipped bit", "no header", "other format"],
)
def test_unreadable_plan_is_built_again(device: Device, damage: Callable[[bytes], bytes]) -> None:
    load(network())
    (path,) = device.plans.glob("*.plan")
    good = path.read_bytes()
    path.write_bytes(damage(good))
    engine = load(network())
    assert engine.name == "tensorrt"
    assert device.builds == 2
    assert path.read_bytes() == good


def test_plan_that_tensorrt_refuses_is_built_again(device: Device) -> None:
    key = PlanKey(hashlib.sha256(network()).hexdigest(), "10.3.0", "Fake Orin", "8.7", "by the graph", MAX_BATCH)
    store = PlanStore(device.plans)
    store.keep_plan(key, b'{"version": "of another driver"}\n')
    assert load(network()).name == "tensorrt"
    assert device.builds == 1
    assert load(network()).name == "tensorrt"
    assert device.builds == 1, "the new plan took the place of the old one"


def test_folder_that_cannot_be_written_only_costs_time(device: Device, caplog: pytest.LogCaptureFixture) -> None:
    device.plans.write_bytes(b"a file where the folder should be")
    engine = load(network())
    assert engine.name == "tensorrt"
    assert "the plan can't be kept, so every start builds it" in caplog.text
    np.testing.assert_allclose(engine.run({"image": pictures(1)})["mean"], expected(pictures(1)), rtol=1e-6)


@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        ({"FACETTE_PLANS": "/plans"}, "/plans"),
        ({"XDG_CACHE_HOME": "/cache"}, "/cache/facette/plans"),
        ({"HOME": "/home/someone"}, "/home/someone/.cache/facette/plans"),
    ],
)
def test_folder_of_plans(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], folder: str) -> None:
    for name in ("FACETTE_PLANS", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert default_folder() == Path(folder)


@pytest.mark.parametrize(
    ("middle", "version", "creation", "flags"),
    [
        ("", "10.3.0", 1 << 1, set()),
        ("half", "10.3.0", 1 << 1, set()),
        ("quantizer", "10.3.0", 1 << 1, set()),
        ("", "8.6.2", 1 << 0, set()),
        ("half", "8.6.2", 1 << 0, {"FP16"}),
        ("quantizer", "8.5.2", 1 << 0, {"INT8"}),
    ],
)
def test_precision_comes_from_the_graph(device: Device, middle: str, version: str, creation: int, flags: set[str]) -> None:
    device.install(version=version)
    load(network(middle=middle))
    record = device.trt.built[0]
    assert record["creation"] == creation
    assert {flag.name for flag in record["flags"]} == flags
    assert 0 < record["workspace"] <= 1 << 30


def test_old_name_of_cuda_python(device: Device) -> None:
    device.use_old_cuda_python()
    assert load(network()).name == "tensorrt"


def _no_tensorrt(device: Device) -> None:
    device.remove("tensorrt")


def _no_cuda_python(device: Device) -> None:
    device.remove("cuda.bindings.runtime")


def _no_gpu(device: Device) -> None:
    device.install(cuda=FakeCuda(gpus=0))


def _old(device: Device) -> None:
    device.install(version="8.4.1.5")


def _broken(device: Device) -> None:
    device.install(broken=True)


def _full(device: Device) -> None:
    device.install(cuda=FakeCuda(memory=16))


@pytest.mark.parametrize(
    ("trouble", "name", "line"),
    [
        (_no_tensorrt, "onnxruntime (TensorRT absent)", "tensorrt: TensorRT is not installed: ONNX Runtime runs"),
        (_no_cuda_python, "onnxruntime (cuda-python absent)", "tensorrt: cuda-python is not installed (pip install cuda-python)"),
        (
            _no_gpu,
            "onnxruntime (no GPU)",
            "tensorrt: no NVIDIA GPU is found (CUDA: cudaGetDeviceCount failed: cudaErrorNoDevice)",
        ),
        (_old, "onnxruntime (TensorRT too old)", "TensorRT 8.4.1.5 is older than 8.5"),
        (_broken, "onnxruntime (TensorRT build failed)", "TensorRT 10.3.0 can't build it: no kernel for this GPU: ONNX"),
        (_full, "onnxruntime (TensorRT build failed)", "CUDA: cudaMalloc failed: cudaErrorMemoryAllocation"),
    ],
)
def test_onnx_runtime_stands_in_with_one_line(
    device: Device, caplog: pytest.LogCaptureFixture, trouble: Callable[[Device], None], name: str, line: str
) -> None:
    trouble(device)
    engines = [load(network()), load(network(bias=3.0))]
    assert [engine.name for engine in engines] == [name, name]
    lines = [record.getMessage() for record in caplog.records if "ONNX Runtime runs" in record.getMessage()]
    assert len(lines) == 1
    assert line in lines[0]
    assert "\n" not in lines[0]
    np.testing.assert_allclose(engines[1].run({"image": pictures(9)})["mean"], expected(pictures(9), 3.0), rtol=1e-6)
    assert engines[0].inputs[0].shape == (None, SIDE, SIDE, 3)


def test_bindings_that_raise_count_as_a_failed_build(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> object:
        raise TypeError("pybind11::init(): factory function returned nullptr")

    monkeypatch.setattr(device.trt, "Builder", fail)
    assert load(network()).name == "onnxruntime (TensorRT build failed)"


def test_library_that_does_not_load_counts_as_absent(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> object:
        if name == "tensorrt":
            raise ImportError("libnvinfer.so.10: cannot open shared object file")
        return real(name)

    real = tensorrt.importlib.import_module
    monkeypatch.setattr(tensorrt.importlib, "import_module", fail)
    assert load(network()).name == "onnxruntime (TensorRT absent)"


def test_unsupported_nodes_are_all_named(device: Device, caplog: pytest.LogCaptureFixture) -> None:
    # Neither takes it, so both are told.
    with pytest.raises(
        EngineError, match=r"refuses this network: .*Det 'oddity': TensorRT has no such operator; onnxruntime: "
    ) as error:
        load(network(middle="unknown"))
    assert "\n" not in str(error.value)


def test_says_when_a_build_begins(device: Device, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    load(network())
    load(network())
    assert [record.getMessage() for record in caplog.records] == [
        "tensorrt: compiling the network for Fake Orin (SM 8.7); only the first start takes this long"
    ]


def test_failure_while_running_is_an_error(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = load(network())
    monkeypatch.setattr(type(device.trt.contexts[0]), "execute_async_v3", lambda self, stream: False)
    with pytest.raises(EngineError, match="running the network failed"):
        engine.run({"image": pictures(1)})


def test_opens_by_name(device: Device) -> None:
    assert open_engine("tensorrt", network(), 1).name == "tensorrt"
