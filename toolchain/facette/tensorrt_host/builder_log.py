"""Reads what TensorRT's builder logs: the plan's steps and its memory.

The engine inspector tells the same as JSON, but only for a plan that was loaded, and loading needs a GPU.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from facette.tensorrt_host.result import Kernel
from facette_runtime.engines.tensorrt_build import LogLine

_STEP = re.compile(r"^Name: (?P<name>.*?), LayerType: (?P<kind>\w+), (?P<rest>.*)$", re.MULTILINE)
_OUTPUTS = re.compile(r"Outputs: \[(?P<outputs>.*?)\], TacticName: (?P<tactic>[^,]*)")
_TYPE = re.compile(r"Datatype: (\w+)")
_NODE = re.compile(r"^\[ONNX Layer: (.*)\]$")
_BETWEEN_NODES = "\x1f"
_MEMORY = re.compile(r"^Total (Activation|Weights) Memory: (\d+) bytes")


@dataclass(frozen=True, slots=True)
class Told:
    """What the log of one build tells.

    Attributes:
        kernels: the plan's steps in order.
        generated: distinct generated kernels among them.
        scratch_bytes, weights_bytes: of the plan.
    """

    kernels: tuple[Kernel, ...]
    generated: int
    scratch_bytes: int
    weights_bytes: int


def read_log(lines: Sequence[LogLine]) -> Told:
    """The facts in a verbose log of a build with detailed profiling; zeros and nothing where TensorRT did not say."""
    memory = {"Activation": 0, "Weights": 0}
    kernels: list[Kernel] = []
    tactics: set[str] = set()
    for line in lines:
        if match := _MEMORY.match(line.text):
            memory[match[1]] += int(match[2])
        if "LayerType:" in line.text:
            for step in _STEP.finditer(line.text):
                outputs = _OUTPUTS.search(step["rest"])
                kernels.append(_kernel(step["name"], step["kind"], outputs["outputs"] if outputs else "", step["rest"]))
                if step["kind"] == "kgen" and outputs:
                    tactics.add(outputs["tactic"])
    return Told(tuple(kernels), len(tactics), memory["Activation"], memory["Weights"])


def _kernel(name: str, kind: str, outputs: str, rest: str) -> Kernel:
    types = _TYPE.findall(outputs)
    metadata = rest.rpartition("Metadata: ")[2].split(_BETWEEN_NODES)
    nodes = [match[1] for match in map(_NODE.match, metadata) if match]
    return Kernel(name, kind, types[0] if types else "", tuple(dict.fromkeys(nodes)))
