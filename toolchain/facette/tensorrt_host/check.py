"""Asks TensorRT on this machine, in a process of its own, whether and how it compiles a graph."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import facette
import facette_runtime
from facette.tensorrt_host.libraries import missing
from facette.tensorrt_host.result import HostBuild, NotChecked
from facette_runtime.errors import FacetteError
from facette_runtime.schema import from_dict

TIMEOUT_S = 600
"""A build takes seconds; one that takes minutes hangs."""


def check_on_host(onnx: bytes, sm: int, stand_ins: Sequence[int]) -> HostBuild | NotChecked:
    """What TensorRT makes of a network, or why it wasn't asked.

    Args:
        onnx: the file that the bundle holds.
        sm: the device's compute capability, times ten.
        stand_ins: capabilities that TensorRT for RTX can build for in its place; none where nothing comes near.
    """
    if not stand_ins:
        return NotChecked("not checked", f"TensorRT for RTX builds for nothing that comes near SM {sm // 10}.{sm % 10}")
    reason = missing()
    if reason is not None:
        return NotChecked("not checked", reason)
    try:
        return build_on_host(onnx, sm, stand_ins)
    except FacetteError as error:
        return NotChecked("not checked", str(error))


def build_on_host(onnx: bytes, sm: int, stand_ins: Sequence[int]) -> HostBuild:
    """As `check_on_host`, for those who need an answer.

    Raises:
        FacetteError: TensorRT for RTX is missing or does not load, knows no such capability, crashes or hangs.
    """
    command = [sys.executable, "-m", "facette.tensorrt_host.worker", str(sm), *map(str, stand_ins)]
    sources = [str(Path(module.__file__).parents[1]) for module in (facette, facette_runtime) if module.__file__]
    paths = os.pathsep.join([*sources, os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    try:
        done = subprocess.run(
            command, input=onnx, capture_output=True, timeout=TIMEOUT_S, check=False, env={**os.environ, "PYTHONPATH": paths}
        )
    except subprocess.TimeoutExpired:
        raise FacetteError(f"TensorRT for RTX did not answer within {TIMEOUT_S} s") from None
    told = done.stderr.decode(errors="replace").strip().splitlines() or ["it said nothing"]
    if done.returncode == 2:
        raise FacetteError(told[-1])
    if done.returncode != 0:
        raise FacetteError(f"TensorRT for RTX ended with status {done.returncode}: {told[-1]}")
    return from_dict(HostBuild, json.loads(done.stdout), "TensorRT's worker")
