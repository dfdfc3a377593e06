"""TensorRT that isn't there: its API as far as the engine uses it. A "plan" is the ONNX file, which ONNX Runtime computes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import Enum, IntEnum
from importlib.machinery import ModuleSpec
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

from tests.runtime.fake_cuda import FakeCuda

_TYPES = {onnx.TensorProto.FLOAT: "FLOAT", onnx.TensorProto.UINT8: "UINT8", onnx.TensorProto.FLOAT16: "HALF"}
_NUMPY = {"FLOAT": np.float32, "UINT8": np.uint8, "HALF": np.float16}

DataType = Enum("DataType", ["FLOAT", "UINT8", "HALF", "INT8"])
LayerType = Enum("LayerType", ["QUANTIZE", "CAST", "OTHER"])
TensorIOMode = Enum("TensorIOMode", ["INPUT", "OUTPUT"])
Severity = Enum("Severity", ["ERROR", "WARNING", "INFO", "VERBOSE"])
MemoryPoolType = Enum("MemoryPoolType", ["WORKSPACE"])
TypedFlag = IntEnum("TypedFlag", {"EXPLICIT_BATCH": 0, "STRONGLY_TYPED": 1})
OldFlag = IntEnum("OldFlag", {"EXPLICIT_BATCH": 0})


class ILogger:
    def __init__(self) -> None:
        self.initialised = True


class FakeTensorRT:
    """Stands for the module ``tensorrt``.

    Args:
        cuda: where its engines compute.
        version: below 10 it knows no strong typing.
        broken: the builder gives nothing.

    Attributes:
        built: a record of every build: creation flags, builder flags, profile, timing cache that was given, workspace.
    """

    DataType, LayerType, TensorIOMode, MemoryPoolType = DataType, LayerType, TensorIOMode, MemoryPoolType
    BuilderFlag = Enum("BuilderFlag", ["FP16", "INT8"])
    ILogger = ILogger
    __spec__ = ModuleSpec("tensorrt", None)

    def __init__(self, cuda: FakeCuda, version: str = "10.3.0", broken: bool = False) -> None:
        self.cuda, self.broken, self.__version__ = cuda, broken, version
        self.NetworkDefinitionCreationFlag = TypedFlag if int(version.split(".")[0]) >= 10 else OldFlag
        self.built: list[dict[str, Any]] = []
        self.contexts: list[Context] = []

    def Builder(self, logger: Any) -> Builder:
        return Builder(self, logger)

    def OnnxParser(self, network: Network, logger: Any) -> Parser:
        return Parser(network, logger)

    def Runtime(self, logger: Any) -> Runtime:
        return Runtime(self, logger)


class Builder:
    def __init__(self, trt: FakeTensorRT, logger: Any) -> None:
        assert logger.initialised
        self._trt, self._logger = trt, logger

    def create_network(self, flags: int) -> Network:
        return Network(flags)

    def create_builder_config(self) -> Config:
        return Config()

    def create_optimization_profile(self) -> Profile:
        return Profile()

    def build_serialized_network(self, network: Network, config: Config) -> bytes | None:
        record = {"creation": network.creation_flags, "flags": config.flags, "profile": config.profile, "timing": config.given}
        self._trt.built.append(record | {"workspace": config.workspace})
        if self._trt.broken:
            self._logger.log(Severity.ERROR, "no kernel for this GPU\nand more")
            return None
        most = config.profile[2][0] if config.profile else None
        header = json.dumps({"version": self._trt.__version__, "most": most}).encode()
        return header + b"\n" + network.model


class Network:
    def __init__(self, flags: int) -> None:
        self.creation_flags, self.model = flags, b""
        self._graph = onnx.GraphProto()

    def _fill(self, model: bytes) -> None:
        self.model, self._graph = model, onnx.load_from_string(model).graph

    @property
    def num_inputs(self) -> int:
        return len(self._graph.input)

    @property
    def num_outputs(self) -> int:
        return len(self._graph.output)

    @property
    def num_layers(self) -> int:
        return len(self._graph.node)

    def get_input(self, index: int) -> SimpleNamespace:
        value = self._graph.input[index]
        shape = tuple(size.dim_value if size.HasField("dim_value") else -1 for size in value.type.tensor_type.shape.dim)
        return SimpleNamespace(name=value.name, shape=shape)

    def get_layer(self, index: int) -> SimpleNamespace:
        node = self._graph.node[index]
        half = any(item.name == "to" and item.i == onnx.TensorProto.FLOAT16 for item in node.attribute)
        output = SimpleNamespace(dtype=DataType.HALF if half else DataType.FLOAT)
        kind = LayerType.QUANTIZE if node.op_type == "QuantizeLinear" else LayerType.OTHER
        return SimpleNamespace(type=kind, num_outputs=1, get_output=lambda _: output)


class Parser:
    def __init__(self, network: Network, logger: Any) -> None:
        self._network, self._logger = network, logger
        self._errors: list[ParserError] = []

    def parse(self, model: bytes) -> bool:
        try:
            self._network._fill(model)
            nodes = onnx.load_from_string(model).graph.node
        except Exception as error:  # protobuf's own
            self._errors = [ParserError("", "", f"Failed to parse the ONNX model: {type(error).__name__}")]
            return False
        self._errors = [ParserError(node.name, node.op_type, "false") for node in nodes if node.op_type == "Det"]
        return not self._errors

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> ParserError:
        return self._errors[index]


class ParserError:
    def __init__(self, node: str, operator: str, text: str) -> None:
        self._node, self._operator, self._text = node, operator, text

    def node_name(self) -> str:
        return self._node

    def node_operator(self) -> str:
        return self._operator

    def desc(self) -> str:
        return self._text


class Profile:
    def set_shape(self, name: str, least: Sequence[int], best: Sequence[int], most: Sequence[int]) -> None:
        self.shapes = (tuple(least), tuple(best), tuple(most))


class Config:
    def __init__(self) -> None:
        self.flags: set[Any] = set()
        self.profile: tuple[tuple[int, ...], ...] | None = None
        self.given: bytes | None = None
        self.workspace = 0

    def set_memory_pool_limit(self, pool: MemoryPoolType, size: int) -> None:
        self.workspace = size

    def set_flag(self, flag: Any) -> None:
        self.flags.add(flag)

    def add_optimization_profile(self, profile: Profile) -> None:
        self.profile = profile.shapes

    def create_timing_cache(self, content: bytes) -> bytes:
        return content

    def set_timing_cache(self, cache: bytes, ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch
        if cache not in (b"", b"timings"):
            return False
        self.given = cache
        return True

    def get_timing_cache(self) -> SimpleNamespace:
        return SimpleNamespace(serialize=lambda: b"timings")


class Runtime:
    def __init__(self, trt: FakeTensorRT, logger: Any) -> None:
        self._trt, self._logger = trt, logger

    def deserialize_cuda_engine(self, plan: bytes) -> Engine | None:
        header, _, model = plan.partition(b"\n")
        try:
            facts = json.loads(header)
        except ValueError:
            facts = {"version": "none"}
        if facts["version"] != self._trt.__version__:
            self._logger.log(Severity.ERROR, f"plan of TensorRT {facts['version']}")
            return None
        return Engine(self._trt, model, facts["most"])


class Engine:
    def __init__(self, trt: FakeTensorRT, model: bytes, most: int | None) -> None:
        self.trt, self.model, self.most = trt, model, most
        graph = onnx.load_from_string(model).graph
        self._values = {value.name: value.type.tensor_type for value in (*graph.input, *graph.output)}
        self._inputs = {value.name for value in graph.input}
        self.num_io_tensors = len(self._values)

    def get_tensor_name(self, index: int) -> str:
        return list(self._values)[index]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.INPUT if name in self._inputs else TensorIOMode.OUTPUT

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(size.dim_value if size.HasField("dim_value") else -1 for size in self._values[name].shape.dim)

    def get_tensor_dtype(self, name: str) -> DataType:
        return DataType[_TYPES[self._values[name].elem_type]]

    def get_tensor_profile_shape(self, name: str, profile: int) -> tuple[tuple[int, ...], ...]:
        assert profile == 0
        assert self.most is not None
        rest = self.get_tensor_shape(name)[1:]
        return (1, *rest), (1, *rest), (self.most, *rest)

    def create_execution_context(self) -> Context:
        context = Context(self)
        self.trt.contexts.append(context)
        return context


class Context:
    """Attributes: ``shapes`` holds every input shape that was set, in order."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self._cuda = engine, engine.trt.cuda
        self._session = ort.InferenceSession(engine.model, providers=["CPUExecutionProvider"])
        self._addresses: dict[str, int] = {}
        self.shapes: list[tuple[int, ...]] = []
        self._input_shapes: dict[str, tuple[int, ...]] = {}

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return address in self._cuda.device

    def set_input_shape(self, name: str, shape: Sequence[int]) -> bool:
        most = self._engine.most
        if most is not None and not 1 <= shape[0] <= most:
            return False
        self.shapes.append(tuple(shape))
        self._input_shapes[name] = tuple(shape)
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        batch = next(iter(self._input_shapes.values()))[0]
        return tuple(batch if size < 0 else size for size in self._engine.get_tensor_shape(name))

    def execute_async_v3(self, stream: int) -> bool:
        shapes = dict(self._input_shapes)

        def compute() -> None:
            feed = {}
            for name, shape in shapes.items():
                dtype = _NUMPY[self._engine.get_tensor_dtype(name).name]
                content = self._cuda.device[self._addresses[name]]
                feed[name] = np.frombuffer(bytes(content), dtype, int(np.prod(shape))).reshape(shape)
            names = [output.name for output in self._session.get_outputs()]
            for name, value in zip(names, self._session.run(names, feed), strict=True):
                memory = self._cuda.device[self._addresses[name]]
                assert value.nbytes <= len(memory), "the output's buffer is too small"
                memory[: value.nbytes] = value.tobytes()

        self._cuda.streams[stream].append(compute)
        return True
