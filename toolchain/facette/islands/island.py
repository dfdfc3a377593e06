"""An operator that a quantized graph leaves in float."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FloatIsland:
    """One operator that computes in float inside a quantized network, or that only converts between float and integers.

    Attributes:
        operator: its kind in the engine's words, e.g. "PRelu".
        name: of the operator in the graph that the engine really runs.
        engine: which.
        elements: numbers that it puts out for one picture; None where the graph doesn't say.
        share: of the network's run time, 0..1, measured; None where the engine can't be profiled.
    """

    operator: str
    name: str
    engine: str
    elements: int | None
    share: float | None
