"""Who was recognised in the demo's film: the runtime's answers against who is really there."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2

from facette.demo.virtual_camera import Shot
from facette.report.data import Picture, Recognition, Sighting
from facette_runtime.errors import FacetteError
from facette_runtime.types import Image

_EDGE_PX = 12  # a face nearer to the frame's edge than this counts as out of the picture


@dataclass(frozen=True, slots=True)
class Outcome:
    """How often one person was named, over the frames that show their face.

    Attributes:
        shown: frames that show it.
        found: of those, frames in which the detector found it.
        as_self, as_other, unknown: what the gallery said of the faces found.
    """

    shown: int
    found: int
    as_self: int
    as_other: int
    unknown: int


def read_recognition(title: str, path: Path, shots: Sequence[Shot], threshold: float) -> Recognition:
    """The runtime's answers, each face assigned to the person who is really there.

    Args:
        title: of the pass.
        path: what ``facette-run identify --json`` wrote.
        shots: of the film.
        threshold: of a match.
    """
    sightings = []
    for line in path.read_text(encoding="utf-8").splitlines():
        frame = json.loads(line)
        for face in frame["faces"]:
            truth = _who_is_there(shots[frame["index"]], face["box_xyxy"])
            sightings.append(Sighting(frame["index"], truth, face["name"], face["similarity"]))
    return Recognition(title, len(shots), threshold, tuple(sightings))


def _who_is_there(shot: Shot, box_xyxy: Sequence[float]) -> str | None:
    left, top, right, bottom = box_xyxy
    return next((name for name, (x, y) in shot.faces_xy.items() if left <= x <= right and top <= y <= bottom), None)


def outcome_of(name: str, recognition: Recognition, shots: Sequence[Shot]) -> Outcome:
    """How often one person was named, over the shots that show them."""
    shown = {index for index, shot in enumerate(shots) if shows(shot, name)}
    said = {
        sighting.frame: sighting.name for sighting in recognition.sightings if sighting.truth == name and sighting.frame in shown
    }
    answers = Counter("as_self" if answer == name else "unknown" if answer is None else "as_other" for answer in said.values())
    return Outcome(len(shown), len(said), answers["as_self"], answers["as_other"], answers["unknown"])


def false_alarms(recognition: Recognition) -> tuple[int, int]:
    """Detections where nobody's face is, and how many of them were given a name."""
    alarms = [sighting for sighting in recognition.sightings if sighting.truth is None]
    return len(alarms), sum(sighting.name is not None for sighting in alarms)


def shows(shot: Shot, name: str) -> bool:
    """Whether the middle of a person's face is well inside the frame."""
    return _room(shot, name) >= _EDGE_PX


def _room(shot: Shot, name: str) -> float:
    height, width = shot.image_bgr.shape[:2]
    x, y = shot.faces_xy[name]
    return min(x, y, width - x, height - y)


def stills(video: Path, shots: Sequence[Shot]) -> list[Picture]:
    """Four marked frames of the film; the first has everybody in it, as far from its edges as they ever get together.

    Raises:
        FacetteError: the video can't be read back.
    """
    first = max(range(len(shots)), key=lambda index: min(_room(shots[index], name) for name in shots[index].faces_xy))
    chosen = [first, *(len(shots) * part // 8 for part in (1, 3, 6))]
    capture = cv2.VideoCapture(str(video))
    images: dict[int, Image] = {}
    for index in range(len(shots)):
        read, image = capture.read()
        if read and index in chosen:
            images[index] = image
    capture.release()
    if first not in images:
        raise FacetteError(f"{video}: cannot be read back")
    return [Picture(f"frame {index}, as marked by facette-run", images[index]) for index in chosen if index in images]
