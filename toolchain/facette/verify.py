"""Engine against reference, output by output, on real pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from facette_runtime.engines.base import Engine
from facette_runtime.manifest import Parity
from facette_runtime.types import Image


def compare(reference: Mapping[str, np.ndarray], candidate: Mapping[str, np.ndarray]) -> dict[str, Parity]:
    """Largest absolute difference and cosine of each output, over all its numbers.

    Args:
        reference, candidate: arrays of equal shapes by output name.
    """
    parity = {}
    for name, wanted in reference.items():
        a, b = wanted.astype(np.float64).ravel(), candidate[name].astype(np.float64).ravel()
        lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
        cosine = float(a @ b) / lengths if lengths else float(np.array_equal(a, b))
        parity[name] = Parity(float(np.abs(a - b).max()), cosine)
    return parity


def worst(parities: Sequence[Mapping[str, Parity]]) -> dict[str, Parity]:
    """The worst of several pictures, by output."""
    return {name: Parity(max(p[name].max_abs for p in parities), min(p[name].cosine for p in parities)) for name in parities[0]}


def parity_on(engine: Engine, reference: Sequence[Mapping[str, np.ndarray]], pictures: Sequence[Image]) -> dict[str, Parity]:
    """Runs ``engine`` on each picture and compares with what the reference gave.

    Args:
        engine: a candidate; its only input takes uint8 [1, h, w, 3].
        reference: outputs by picture.
        pictures: uint8 [h, w, 3] in the network's channel order.
    """
    name = engine.inputs[0].name
    return worst([compare(wanted, engine.run({name: picture[None]})) for wanted, picture in zip(reference, pictures, strict=True)])


def shortfall(parity: Mapping[str, Parity], min_cosine: float) -> str | None:
    """Why these outputs are refused, or None."""
    for name, value in parity.items():
        if not value.cosine >= min_cosine:  # also refuses NaN
            return f"{name} differs from the reference: cosine {value.cosine:.6f} < {min_cosine}"
    return None
