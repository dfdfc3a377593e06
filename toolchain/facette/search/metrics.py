"""What can be asked of a network, and in which units."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Operator = Literal[">=", "<="]


@dataclass(frozen=True, slots=True)
class Metric:
    """One thing that can be asked for.

    Attributes:
        attribute: of `facette.search.choice.Measured`.
        operator: ">=" for what is better the larger it is.
        units: how many of a unit make one of the attribute's, by name; "" where a number may stand alone.
        shown: the unit that people are told in, and its decimals.
        perfect: the best value there is, of a metric with ">=".
        finest: the least difference from ``perfect`` that is told apart.
    """

    attribute: str
    operator: Operator
    units: dict[str, float]
    shown: tuple[str, int]
    perfect: float = math.inf
    finest: float = 0.0

    def tell(self, value: float) -> str:
        """A value with its unit."""
        unit, decimals = self.shown
        return f"{value * self.units[unit]:.{decimals}f} {unit}".rstrip()


METRICS = {
    "lfw": Metric("accuracy", ">=", {"": 100, "%": 100}, ("%", 2), perfect=1.0, finest=1e-3),
    "tar": Metric("tar", ">=", {"": 100, "%": 100}, ("%", 2), perfect=1.0, finest=1e-3),
    "cosine": Metric("cosine", ">=", {"": 1}, ("", 4), perfect=1.0, finest=1e-4),
    "size": Metric("bytes", "<=", {"B": 1, "KB": 1e-3, "MB": 1e-6}, ("MB", 2)),
    "latency": Metric("latency_ms", "<=", {"us": 1e3, "ms": 1, "s": 1e-3}, ("ms", 2)),
    "macs": Metric("macs", "<=", {"M": 1e-6}, ("M", 1)),
    "parameters": Metric("parameters", "<=", {"K": 1e-3, "M": 1e-6}, ("M", 2)),
    "memory": Metric("memory_mb", "<=", {"MB": 1}, ("MB", 1)),
}
"""By the name that a budget uses."""
