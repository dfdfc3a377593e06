"""What the report is made from."""

from __future__ import annotations

from dataclasses import dataclass

from facette_runtime.report import Report
from facette_runtime.types import Image


@dataclass(frozen=True, slots=True)
class Run:
    """One benchmark and what to call it."""

    label: str
    report: Report


@dataclass(frozen=True, slots=True)
class Sighting:
    """One face in one frame.

    Attributes:
        frame: its number.
        truth: who it really is; None where that isn't known.
        name: what the gallery said; None for unknown.
        similarity: cosine of the gallery's best template.
    """

    frame: int
    truth: str | None
    name: str | None
    similarity: float


@dataclass(frozen=True, slots=True)
class Recognition:
    """Who was seen in one pass over a source.

    Attributes:
        title: what was special about the pass.
        frames: of the source.
        threshold: cosine of a match.
        sightings: every face.
    """

    title: str
    frames: int
    threshold: float
    sightings: tuple[Sighting, ...]


@dataclass(frozen=True, slots=True)
class Picture:
    """A marked frame: uint8 [h, w, 3], BGR."""

    caption: str
    image_bgr: Image
