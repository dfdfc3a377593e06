"""One candidate of a search, and what is measured of it."""

from __future__ import annotations

from dataclasses import dataclass

from facette.calibration import RangeMethod
from facette_runtime.manifest import Precision


@dataclass(frozen=True, slots=True)
class Choice:
    """One candidate.

    Attributes:
        engine, precision, form: as in `facette.target.TargetEngine`.
        threads: intra-op threads.
        keep: share of the multiply-accumulates that structured pruning keeps; 1 prunes nothing.
        range_method: of int8's activations; None for every other precision.
        equalize: cross-layer equalization before rounding; False for every other precision than int8.
        float_share: share of the multiply-accumulates whose layers stay in float, the most sensitive first; 0 for every other
            precision than int8.
    """

    engine: str
    precision: Precision
    form: str
    threads: int
    keep: float = 1.0
    range_method: RangeMethod | None = None
    equalize: bool = False
    float_share: float = 0.0

    @property
    def label(self) -> str:
        """A short name for tables and progress lines."""
        parts = [f"{self.engine} {self.precision} {self.form}"]
        if self.keep < 1:
            parts.append(f"keep {self.keep:.2f}")
        if self.range_method is not None:
            parts.append(self.range_method)
        if self.equalize:
            parts.append("equalized")
        if self.float_share:
            parts.append(f"{self.float_share:.0%} float")
        parts.append(f"{self.threads} thread{'s' if self.threads > 1 else ''}")
        return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class Measured:
    """What is known of a candidate so far; None for what was not measured.

    Attributes:
        accuracy, tar: on LFW, and TAR at a FAR of 1e-3 there; 0..1.
        cosine: mean with the uncompiled network's embeddings.
        bytes: of the network's file, packed as the bundle packs it.
        latency_ms: median of one picture.
        macs, parameters: multiply-accumulates for one picture, and weights.
        memory_mb: peak resident memory, MB of 10^6 bytes.
    """

    accuracy: float | None = None
    tar: float | None = None
    cosine: float | None = None
    bytes: int | None = None
    latency_ms: float | None = None
    macs: int | None = None
    parameters: int | None = None
    memory_mb: float | None = None

    @property
    def quality(self) -> float:
        """Accuracy or, without labelled pictures, the cosine: the larger the better.

        Raises:
            ValueError: neither was measured.
        """
        value = self.cosine if self.accuracy is None else self.accuracy
        if value is None:
            raise ValueError("neither accuracy nor cosine was measured")
        return value

    @property
    def cost(self) -> float:
        """Latency in ms or, where the host can't stand in for the target, millions of multiply-accumulates: the less the better.

        Raises:
            ValueError: neither was measured.
        """
        if self.latency_ms is not None:
            return self.latency_ms
        if self.macs is None:
            raise ValueError("neither latency_ms nor macs was measured")
        return self.macs / 1e6
