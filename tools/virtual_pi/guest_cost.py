"""Runs inside: recognises one picture again and again, with a mark for the instruction counter around every stage.

    guest_cost.py BUNDLE PICTURE FRAMES

Mark 2·s is the start of stage number s of `facette_runtime.pipeline.STAGES`, 2·s + 1 its end; 1000 and 1001 are the frame's.
"""

from __future__ import annotations

import os
import sys

import cv2

from facette_runtime.bundle import Bundle
from facette_runtime.meter import Meter, Samples
from facette_runtime.pipeline import STAGES, Pipeline
from facette_runtime.types import Frame

MARK_BASE = 0x0FACE000  # of insn_marks.c


def mark(number: int) -> None:
    """Tells the counter; nobody else notices."""
    try:
        os.getpgid(MARK_BASE + number)
    except ProcessLookupError:
        return
    raise RuntimeError(f"process {MARK_BASE + number} exists: its number cannot serve as a mark")


class MarkedSamples(Samples):
    """A stage's stop-watch that marks instead."""

    __slots__ = ("_stage",)

    def __init__(self, stage: int) -> None:
        super().__init__()
        self._stage = stage

    def __enter__(self) -> None:
        mark(2 * self._stage)

    def __exit__(self, *_: object) -> None:
        mark(2 * self._stage + 1)


class MarkingMeter(Meter):
    """Gives out `MarkedSamples`."""

    def __init__(self) -> None:
        super().__init__()
        self._marked = {name: MarkedSamples(number) for number, name in enumerate(STAGES)}

    def stage(self, name: str) -> Samples:
        """The stop-watch of a stage."""
        return self._marked[name]


def main() -> None:
    """Prints the number of faces."""
    bundle, picture, frames = sys.argv[1], sys.argv[2], int(sys.argv[3])
    image = cv2.imread(picture)
    if image is None:
        raise SystemExit(f"{picture} cannot be read")
    pipeline = Pipeline.load(Bundle.open(bundle), threads=1, meter=MarkingMeter())
    faces = 0
    for index in range(frames):
        mark(1000)
        faces = len(pipeline.process(Frame(index, picture, image)))
        mark(1001)
    print(faces)


main()
