"""What a post-training quantizer is shown, so that it knows how far each tensor's numbers reach."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from facette_runtime.types import Image

RangeMethod = Literal["min-max", "percentile", "entropy", "mse"]
"""How a tensor's range follows from the values seen: the extremes; all but the outermost 0.01 %; the clipping whose histogram
keeps most information (Kullback–Leibler); the clipping with the least mean squared rounding error."""

Repair = Literal["none", "correct-bias", "round-adaptively"]
"""What is done to the float weights first, so that rounding them harms less: see the passes of these names."""

Ranges = Mapping[str, tuple[float, float]]
"""Smallest and largest value by tensor name, of one engine's float graph in one form."""


@dataclass(frozen=True, slots=True)
class Quantization:
    """One way to int8.

    Attributes:
        method: how ranges are found.
        repair: of the weights, first.
        float_share: share of the multiply-accumulates, 0..1, whose layers stay in float: those that suffer most for their cost.
    """

    method: RangeMethod
    repair: Repair = "none"
    float_share: float = 0.0

    @property
    def label(self) -> str:
        """For tables."""
        parts: list[str] = [self.method]
        if self.repair != "none":
            parts.append(self.repair)
        if self.float_share:
            parts.append(f"{self.float_share:.0%} float")
        return ", ".join(parts)


@dataclass(frozen=True)
class Calibration:
    """Pictures, or ranges that were taken from pictures earlier.

    Attributes:
        pictures: uint8 [n, h, w, 3] as the device feeds them: letterboxed or aligned, in the network's channel order; None
            where only ranges are known.
        source: what they are, for reports, e.g. "128 faces of utkface-128.zip".
        method: how ranges follow from what is seen.
        ranges: used in place of ``pictures`` where they are given.
        keep_float: convolutions and linear layers that stay in float, by their names in the torch network.
    """

    pictures: Image | None
    source: str
    method: RangeMethod = "min-max"
    ranges: Ranges | None = None
    keep_float: frozenset[str] = frozenset()
