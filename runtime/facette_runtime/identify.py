"""What to say of a frame: a line for people, a JSON line for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from facette_runtime.types import Face, Frame


def describe(frame: Frame, faces: Sequence[Face]) -> str:
    """One line: the frame's name and who is in it, best score first."""
    if not faces:
        return f"{frame.name}: no face found"
    return f"{frame.name}: " + ", ".join(f"{face.match.name or 'unknown'} ({face.match.similarity:.3f})" for face in faces)


def to_json(frame: Frame, faces: Sequence[Face]) -> str:
    """One JSON object on one line: index, name, and for each face box, landmarks, score, name (null if unknown), similarity."""
    return json.dumps({"index": frame.index, "name": frame.name, "faces": [_face_json(face) for face in faces]})


def _face_json(face: Face) -> dict[str, Any]:
    return {
        "name": face.match.name,
        "similarity": round(face.match.similarity, 6),
        "score": round(face.score, 6),
        "box_xyxy": [round(float(value), 2) for value in face.box_xyxy],
        "landmarks_xy": [[round(float(value), 2) for value in point] for point in face.landmarks_xy],
    }
