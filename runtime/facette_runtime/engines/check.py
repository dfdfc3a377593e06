"""The check that every engine makes before it runs, so that all of them refuse the same mistakes in the same words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from facette_runtime.engines.base import TensorSpec
from facette_runtime.errors import EngineError


def check_tensors(engine: str, specs: Sequence[TensorSpec], tensors: Mapping[str, np.ndarray]) -> None:
    """Raises EngineError unless ``tensors`` has exactly the names, dtypes and shapes of ``specs``.

    Args:
        engine: the engine's name, for the message.
        specs: what the network takes.
        tensors: what it is about to be given.
    """
    known = [spec.name for spec in specs]
    for name in tensors:
        if name not in known:
            raise EngineError(f"{engine}: unknown input {name!r}; inputs: {', '.join(known)}")
    for spec in specs:
        tensor = tensors.get(spec.name)
        if tensor is None:
            raise EngineError(f"{engine}: missing input {spec.name!r}; inputs: {', '.join(known)}")
        if tensor.dtype.name != spec.dtype:
            raise EngineError(f"{engine}: input {spec.name!r} must be {spec.dtype}, but got {tensor.dtype.name}")
        if tensor.ndim != len(spec.shape) or any(want is not None and want != have for want, have in zip(spec.shape, tensor.shape)):
            wanted = "(" + ", ".join("_" if size is None else str(size) for size in spec.shape) + ")"
            raise EngineError(f"{engine}: input {spec.name!r} must have shape {wanted}, but got {tensor.shape}")
