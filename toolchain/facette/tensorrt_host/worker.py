"""The process that holds TensorRT: ``python -m facette.tensorrt_host.worker 87 86 89``, ONNX on standard input, JSON on output.

TensorRT ends the process when it fails badly, and its CUDA stands in the way of others', so it never enters the compiler's own.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from time import perf_counter
from typing import Any

from facette.tensorrt_host.builder_log import read_log
from facette.tensorrt_host.libraries import load
from facette.tensorrt_host.result import HostBuild, Refusal, SmBuild
from facette_runtime.engines.tensorrt_build import BuildError, build_plan
from facette_runtime.errors import FacetteError
from facette_runtime.schema import to_dict


def build(trt: Any, onnx: bytes, sm: int, stand_ins: Sequence[int]) -> HostBuild:
    """Builds a plan for each stand-in, with the code that builds on the device.

    Args:
        trt: TensorRT for RTX.
        onnx: the file that the bundle holds.
        sm: the device's compute capability, times ten.
        stand_ins: capabilities to build for.

    Raises:
        FacetteError: TensorRT for RTX knows no such capability; the message lists those it knows.
    """
    version = f"TensorRT for RTX {trt.__version__}"
    capabilities = {stand_in: _capability(trt, stand_in) for stand_in in stand_ins}
    builds, layers = [], 0
    try:
        for stand_in, capability in capabilities.items():
            layers, made = _build_one(trt, onnx, stand_in, capability)
            builds.append(made)
    except BuildError as error:
        refusals = tuple(Refusal(problem.node, problem.operator, problem.reason) for problem in error.problems)
        failure = str(error).removeprefix(f"TensorRT {trt.__version__} ")
        return HostBuild("built", version, sm, 0, refusals, failure, ())
    return HostBuild("built", version, sm, layers, (), None, tuple(builds))


def _build_one(trt: Any, onnx: bytes, stand_in: int, capability: Any) -> tuple[int, SmBuild]:
    def adjust(config: Any) -> None:
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
        config.num_compute_capabilities = 1
        config.set_compute_capability(capability, 0)

    start = perf_counter()
    built = build_plan(trt, onnx, adjust=adjust)
    seconds = perf_counter() - start
    told = read_log(built.log)
    return built.layers, SmBuild(
        sm=stand_in,
        seconds=round(seconds, 3),
        plan_bytes=len(built.plan),
        weights_bytes=told.weights_bytes,
        source_bytes=len(built.plan) - told.weights_bytes,
        scratch_bytes=told.scratch_bytes,
        layers=len(told.kernels),
        generated=told.generated,
        kernels=told.kernels,
    )


def _capability(trt: Any, stand_in: int) -> Any:
    known = {name[2:]: value for name, value in vars(trt.ComputeCapability).items() if name.startswith("SM")}
    if str(stand_in) not in known:
        raise FacetteError(f"TensorRT for RTX can't build for SM {stand_in}; known: {', '.join(sorted(known, key=int))}")
    return known[str(stand_in)]


def main() -> int:
    """Reads, builds, and prints a `HostBuild`; status 2 and one line on standard error where it can't be asked."""
    sm, *stand_ins = map(int, sys.argv[1:])
    answer = os.dup(1)
    os.dup2(2, 1)  # TensorRT prints where it likes: standard output is for the answer alone
    try:
        result = build(load(), sys.stdin.buffer.read(), sm, stand_ins)
    except FacetteError as error:
        print(error, file=sys.stderr)
        return 2
    with os.fdopen(answer, "w", encoding="utf-8") as stream:
        json.dump(to_dict(result), stream)
    return 0


if __name__ == "__main__":
    sys.exit(main())
