"""What a build on the host tells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Kernel:
    """One step of a plan.

    Attributes:
        name: TensorRT's; it spells what was fused, e.g. "__myl_CastTranAddMul_myl0_1".
        kind: "correlation" is a convolution from the library, "gemm" a matrix product, "kgen" a generated element-wise kernel.
        output: the type of what it writes, e.g. "Half"; empty where it writes nothing.
        nodes: the ONNX nodes that it computes, or parts of; several where TensorRT fused them.
    """

    name: str
    kind: str
    output: str
    nodes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SmBuild:
    """A plan for one compute capability.

    Attributes:
        sm: times ten: 86 is SM 8.6.
        seconds: that the build took here.
        plan_bytes: of the plan.
        weights_bytes: of the weights in it, in the precisions and layouts that the kernels read.
        source_bytes: of the rest, which is nearly all CUDA source text of the generated kernels: TensorRT for RTX compiles them on
            the device, so each carries some 140 kB of it. A JetPack plan holds machine code instead and is smaller.
        scratch_bytes: GPU memory for activations, for the largest batch.
        layers: steps of the plan.
        generated: distinct generated kernels among them.
        kernels: every step, in order.
    """

    sm: int
    seconds: float
    plan_bytes: int
    weights_bytes: int
    source_bytes: int
    scratch_bytes: int
    layers: int
    generated: int
    kernels: tuple[Kernel, ...]

    @property
    def fusions(self) -> tuple[Kernel, ...]:
        """The steps that compute several ONNX nodes at once."""
        return tuple(kernel for kernel in self.kernels if len(kernel.nodes) > 1)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A node that TensorRT's parser refuses: its name, its ONNX operator and why."""

    node: str
    operator: str
    reason: str


@dataclass(frozen=True, slots=True)
class HostBuild:
    """What TensorRT said to one ONNX file.

    Attributes:
        kind: tells it from `NotChecked` in JSON.
        tensorrt: which one, e.g. "TensorRT for RTX 1.7.1.116".
        sm: the device's compute capability, times ten.
        network_layers: of the graph as parsed, before fusion; 0 where it was refused.
        refusals: every node that the parser refuses, in the graph's order.
        failure: why there is no plan, in one line; None where there is one for each of ``builds``.
        builds: by stand-in.
    """

    kind: Literal["built"]
    tensorrt: str
    sm: int
    network_layers: int
    refusals: tuple[Refusal, ...]
    failure: str | None
    builds: tuple[SmBuild, ...]

    @property
    def summary(self) -> str:
        """One line for people."""
        if self.failure is not None:
            return f"{self.tensorrt} {self.failure}"
        plans = "; ".join(
            f"SM {build.sm // 10}.{build.sm % 10}: {build.layers} layers ({len(build.fusions)} fused of several nodes), "
            f"plan {build.plan_bytes / 1e6:.1f} MB with {build.weights_bytes / 1e6:.1f} MB of weights, "
            f"scratch {build.scratch_bytes / 1e6:.1f} MB, built in {build.seconds:.1f} s"
            for build in self.builds
        )
        return f"{self.tensorrt} builds it: {plans}"


@dataclass(frozen=True, slots=True)
class NotChecked:
    """Nothing was asked of TensorRT.

    Attributes:
        kind: tells it from `HostBuild` in JSON.
        reason: why not, in one line, with the command that mends it where there is one.
    """

    kind: Literal["not checked"]
    reason: str

    @property
    def summary(self) -> str:
        """One line for people."""
        return f"not checked: {self.reason}"
