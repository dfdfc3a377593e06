"""An engine without a network, for tests: its "network" is a few lines of JSON that say what comes out.

    {"inputs": [{"name": "image", "shape": [1, 64, 64, 3], "dtype": "uint8"}],
     "outputs": [{"kind": "brightness", "name": "scores", "shape": [1, 4], "values": [1, 0, 0, 0]}]}

Outputs are float32; where a shape's first size is null, it follows the first input's.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from facette_runtime.engines.base import Engine, TensorSpec
from facette_runtime.engines.check import check_tensors
from facette_runtime.errors import EngineError, SchemaError
from facette_runtime.schema import from_dict

Shape = tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class NullInput:
    name: str
    shape: Shape
    dtype: str


@dataclass(frozen=True, slots=True)
class Constant:
    """Gives ``values`` (row by row, without the batch), whatever goes in."""

    kind: Literal["constant"]
    name: str
    shape: Shape
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Brightness:
    """Gives ``values`` times the mean level of the first input, 0 for black to 1 for white."""

    kind: Literal["brightness"]
    name: str
    shape: Shape
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Colour:
    """Gives a random linear map, drawn from ``seed``, of the channels' mean levels less a half: it tells pictures apart."""

    kind: Literal["colour"]
    name: str
    shape: Shape
    seed: int


@dataclass(frozen=True, slots=True)
class NullNetwork:
    inputs: tuple[NullInput, ...]
    outputs: tuple[Constant | Brightness | Colour, ...]


class NullEngine:
    """One declared network; see `facette_runtime.engines.base.Engine`."""

    name = "null"

    def __init__(self, network: NullNetwork) -> None:
        self.inputs = tuple(TensorSpec(item.name, item.shape, item.dtype) for item in network.inputs)
        self.outputs = tuple(TensorSpec(item.name, item.shape, "float32") for item in network.outputs)
        self._outputs = network.outputs
        for output in network.outputs:
            if not isinstance(output, Colour) and len(output.values) != _row_size(output.shape):
                raise EngineError(
                    f"null: output {output.name!r} needs {_row_size(output.shape)} values, but has {len(output.values)}"
                )

    def run(self, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Makes the declared outputs; see `Engine.run`."""
        check_tensors(self.name, self.inputs, tensors)
        first = tensors[self.inputs[0].name]
        return {output.name: _compute(output, first) for output in self._outputs}


def load(model: bytes, threads: int) -> Engine:
    """Reads a declared network; ``threads`` makes no difference.

    Raises:
        EngineError: not the JSON that this module's docstring shows.
    """
    try:
        return NullEngine(from_dict(NullNetwork, json.loads(model), "network"))
    except (ValueError, SchemaError) as error:
        raise EngineError(f"null: refuses this network: {error}") from error


def _row_size(shape: Shape) -> int:
    return math.prod(size or 1 for size in shape[1:])


def _compute(output: Constant | Brightness | Colour, first: np.ndarray) -> np.ndarray:
    batch = output.shape[0] or len(first)
    if isinstance(output, Constant):
        rows = np.tile(output.values, (batch, 1))
    elif isinstance(output, Brightness):
        level = first.reshape(len(first), -1).mean(axis=1) / 255
        rows = level[:, None] * np.array(output.values)
    else:
        levels = first.reshape(len(first), -1, 3).mean(axis=1) / 255 - 0.5
        rows = levels @ np.random.default_rng(output.seed).standard_normal((3, _row_size(output.shape)))
    return rows.reshape(batch, *(size or 1 for size in output.shape[1:])).astype(np.float32)
