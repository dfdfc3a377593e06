"""What an engine is: tensors in, tensors out, nothing about faces."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A graph's input or output.

    Attributes:
        name: as in the exported graph.
        shape: None where a size is free.
        dtype: numpy's name, e.g. "uint8".
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str


class Engine(Protocol):
    """One loaded network. Calls are not thread-safe: use one engine a thread."""

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def run(self, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Runs the network once.

        Args:
            tensors: an array for each of ``inputs``, of its dtype and shape.

        Returns:
            An array for each of ``outputs``; the caller may keep it.

        Raises:
            facette_runtime.errors.EngineError: a tensor is missing, unknown, or of the wrong shape or dtype.
        """
        ...
