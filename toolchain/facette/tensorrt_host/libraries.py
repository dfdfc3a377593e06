"""Finds and loads TensorRT for RTX, which comes in two packages: Python bindings here, libraries there."""

from __future__ import annotations

import ctypes
import importlib
import importlib.util
from pathlib import Path
from typing import Any

from facette_runtime.errors import FacetteError

BINDINGS = "tensorrt_rtx_bindings"
LIBRARIES = "onnxruntime_ep_nv_tensorrt_rtx"
INSTALL = "pip install --no-deps tensorrt-rtx-cu13-bindings onnxruntime-ep-nv-tensorrt-rtx-cu13"

_SHARED_OBJECTS = ("libcudart", "libtensorrt_rtx", "libtensorrt_onnxparser_rtx")
"""In the order in which they need each other."""


def missing() -> str | None:
    """Why TensorRT for RTX can't be loaded, with the command that mends it; None where it can. Loads nothing."""
    absent = [name for name in (BINDINGS, LIBRARIES) if importlib.util.find_spec(name) is None]
    return f"TensorRT for RTX is not installed ({INSTALL})" if absent else None


def load() -> Any:
    """The bindings' module, which has the API of ``tensorrt``.

    Its libraries stay loaded and visible to all that is loaded later, so call this in a process of its own.

    Raises:
        FacetteError: a package is missing, or a library doesn't load.
    """
    reason = missing()
    if reason is not None:
        raise FacetteError(reason)
    spec = importlib.util.find_spec(LIBRARIES)
    assert spec is not None
    assert spec.submodule_search_locations is not None
    folder = Path(next(iter(spec.submodule_search_locations)))
    try:
        for name in _SHARED_OBJECTS:
            # The bindings name none of them: they expect them in the process.
            ctypes.CDLL(str(_newest(folder, name)), ctypes.RTLD_GLOBAL)
        return importlib.import_module(BINDINGS)
    except (OSError, ImportError) as error:
        raise FacetteError(f"TensorRT for RTX doesn't load: {str(error).splitlines()[0]} ({INSTALL})") from error


def _newest(folder: Path, name: str) -> Path:
    found = sorted(folder.glob(f"{name}.so*"))
    if not found:
        raise OSError(f"{folder} holds no {name}.so")
    return found[-1]
