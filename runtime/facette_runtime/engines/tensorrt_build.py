"""From an ONNX graph to a TensorRT plan. TensorRT's module is an argument: a device's ``tensorrt``, or a workstation's bindings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from facette_runtime.errors import EngineError

OLDEST = (8, 5)
"""The first TensorRT that takes uint8 inputs and names tensors instead of numbering bindings."""

MAX_BATCH = 8
"""Pictures a call for a network whose batch is free: faces in one frame are few, and scratch memory grows with it."""

WORKSPACE_BYTES = 512 << 20
"""What a layer may take while it computes. TensorRT's own default is all of the memory, which on a Jetson is the system's too."""


@dataclass(frozen=True, slots=True)
class LogLine:
    """What TensorRT said: severity ("ERROR", "WARNING", "INFO", "VERBOSE") and text, which may have several lines."""

    severity: str
    text: str


@dataclass(frozen=True, slots=True)
class Problem:
    """A node that TensorRT's parser refuses.

    Attributes:
        node, operator: its name and ONNX operator; empty where the parser does not say.
        reason: the parser's words, one line.
    """

    node: str
    operator: str
    reason: str


class BuildError(EngineError):
    """TensorRT can't build a plan from this graph.

    Attributes:
        problems: the nodes that the parser refuses; empty where it took them all and the builder failed.
        log: all that TensorRT said.
    """

    def __init__(self, message: str, problems: tuple[Problem, ...], log: tuple[LogLine, ...]) -> None:
        super().__init__(message)
        self.problems = problems
        self.log = log


@dataclass(frozen=True, slots=True)
class Built:
    """A plan and what was learned on the way.

    Attributes:
        plan: serialized engine.
        timing_cache: for the next build on the same GPU; empty where this TensorRT keeps none.
        layers: of the network as parsed, before any fusion.
        log: all that TensorRT said.
    """

    plan: bytes
    timing_cache: bytes
    layers: int
    log: tuple[LogLine, ...]


def is_too_old(version: str) -> bool:
    """Whether a TensorRT of this version ("8.4.1.5") lacks what this engine needs."""
    return tuple(int(part) for part in version.split(".")[:2]) < OLDEST


def is_typed(trt: Any) -> bool:
    """Whether this TensorRT takes each tensor's precision from the graph (since 10), not from flags that allow lower ones."""
    return hasattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED")


def make_logger(trt: Any, lines: list[LogLine]) -> Any:
    """A TensorRT logger that keeps what it is told in ``lines`` instead of printing it."""

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            lines.append(LogLine(severity.name, message))

    return Logger()


def build_plan(trt: Any, model: bytes, timing_cache: bytes = b"", adjust: Callable[[Any], None] | None = None) -> Built:
    """Has TensorRT parse and compile a graph.

    Args:
        trt: TensorRT's module, 8.5 or newer.
        model: ONNX; of its inputs only the first size may be free, and is then 1 to `MAX_BATCH`.
        timing_cache: what an earlier build on this GPU gave; one that does not fit is passed over.
        adjust: changes the builder's configuration before it is used.

    Raises:
        BuildError: the parser refuses nodes (`BuildError.problems` has them all), or the builder fails.
    """
    lines: list[LogLine] = []
    logger = make_logger(trt, lines)
    builder = trt.Builder(logger)
    network = builder.create_network(_creation_flags(trt))
    _parse(trt, network, model, logger, lines)
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, WORKSPACE_BYTES)
    if not is_typed(trt):
        _allow_precisions(trt, network, config)
    _add_profile(builder, network, config, lines)
    _set_timing_cache(config, timing_cache)
    if adjust is not None:
        adjust(config)
    layers = network.num_layers
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise BuildError(f"TensorRT {trt.__version__} can't build it: {_last_error(lines)}", (), tuple(lines))
    kept = config.get_timing_cache()
    return Built(bytes(plan), bytes(kept.serialize()) if kept is not None else b"", layers, tuple(lines))


def _creation_flags(trt: Any) -> int:
    flags = trt.NetworkDefinitionCreationFlag
    if is_typed(trt):
        return 1 << int(flags.STRONGLY_TYPED)
    return 1 << int(flags.EXPLICIT_BATCH)


def _parse(trt: Any, network: Any, model: bytes, logger: Any, lines: list[LogLine]) -> None:
    parser = trt.OnnxParser(network, logger)
    if parser.parse(model):
        if network.num_outputs == 0:  # it takes bytes that are no ONNX at all for an empty graph
            raise BuildError(f"TensorRT {trt.__version__} finds no network in it", (), tuple(lines))
        return
    problems = tuple(_problem(parser.get_error(index)) for index in range(parser.num_errors))
    told = "; ".join(f"{problem.operator} {problem.node!r}: {problem.reason}" for problem in problems if problem.node)
    raise BuildError(f"TensorRT {trt.__version__} can't parse it: {told or _last_error(lines)}", problems, tuple(lines))


def _problem(error: Any) -> Problem:
    """A node's name and operator are told since TensorRT 9.1; before, there is only its number."""
    node = error.node_name() if hasattr(error, "node_name") else f"node {error.node()}"
    operator = error.node_operator() if hasattr(error, "node_operator") else ""
    return Problem(node, operator, _reason(error.desc()))


def _reason(text: str) -> str:
    """The line of the parser's words that says something: its own assertions tell no more than "false"."""
    lines = [line.strip() for line in text.splitlines()]
    telling = [line for line in lines if line and not line.startswith("Invalid Node") and "catchCudaError" not in line]
    if not telling or telling[0] == "false":
        return "TensorRT has no such operator"
    return "neither an operator nor a plugin that TensorRT knows" if "Plugin not found" in telling[0] else telling[0]


def _allow_precisions(trt: Any, network: Any, config: Any) -> None:
    """Allows those precisions that the graph itself uses, for a TensorRT that goes by flags."""
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    if any(layer.type == trt.LayerType.QUANTIZE for layer in layers):
        config.set_flag(trt.BuilderFlag.INT8)
    outputs = (layer.get_output(index) for layer in layers for index in range(layer.num_outputs))
    if any(tensor.dtype == trt.DataType.HALF for tensor in outputs):
        config.set_flag(trt.BuilderFlag.FP16)


def _add_profile(builder: Any, network: Any, config: Any, lines: list[LogLine]) -> None:
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    if all(-1 not in tensor.shape for tensor in inputs):
        return
    profile = builder.create_optimization_profile()
    for tensor in inputs:
        first, *others = tensor.shape
        if -1 in others:
            raise BuildError(f"{tensor.name}: only the batch may be free, but its shape is {tuple(tensor.shape)}", (), tuple(lines))
        one, most = (1, MAX_BATCH) if first == -1 else (first, first)
        # One face is the usual frame: what is fastest for it is what to look for.
        profile.set_shape(tensor.name, (one, *others), (one, *others), (most, *others))
    config.add_optimization_profile(profile)


def _set_timing_cache(config: Any, content: bytes) -> None:
    cache = config.create_timing_cache(content)
    if cache is None or not config.set_timing_cache(cache, False):
        config.set_timing_cache(config.create_timing_cache(b""), False)


def _last_error(lines: list[LogLine]) -> str:
    errors = [line.text for line in lines if line.text.strip() and line.severity in ("ERROR", "INTERNAL_ERROR")]
    return errors[-1].strip().splitlines()[0] if errors else "no reason given"
