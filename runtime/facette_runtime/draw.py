"""Boxes, landmarks and names on a picture."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

import cv2

from facette_runtime.types import Face, Image

Colour = tuple[int, int, int]

KNOWN_BGR: Colour = (80, 175, 76)
UNKNOWN_BGR: Colour = (60, 76, 231)
_TEXT_BGR: Colour = (255, 255, 255)
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def draw_faces(image_bgr: Image, faces: Sequence[Face]) -> Image:
    """A copy of the picture with every face marked: green and the name where it is known, red and "unknown" where not.

    Lines and letters grow with the picture, so that a label stays readable on a large photo.

    Args:
        image_bgr: uint8 [h, w, 3], BGR.
        faces: in pixels of that picture.

    Returns:
        uint8 [h, w, 3], BGR.
    """
    canvas = image_bgr.copy()
    size = max(canvas.shape[:2]) / 1000
    thickness = max(1, round(2 * size))
    for face in faces:
        colour = UNKNOWN_BGR if face.match.name is None else KNOWN_BGR
        left, top, right, bottom = (round(float(value)) for value in face.box_xyxy)
        cv2.rectangle(canvas, (left, top), (right, bottom), colour, thickness, cv2.LINE_AA)
        for x, y in face.landmarks_xy:
            cv2.circle(canvas, (round(float(x)), round(float(y))), thickness + 1, colour, cv2.FILLED, cv2.LINE_AA)
        _draw_label(canvas, label(face), (left, top), colour, max(0.4, 0.8 * size))
    return canvas


def label(face: Face) -> str:
    """What a person wants to read beside a face, e.g. "Grace 0.83" or "unknown 0.12"."""
    name = "unknown" if face.match.name is None else face.match.name
    return f"{name} {face.match.similarity:.2f}"


def _draw_label(canvas: Image, text: str, corner_xy: tuple[int, int], colour: Colour, scale: float) -> None:
    # OpenCV 4's built-in letters are ASCII only.
    text = unicodedata.normalize("NFKD", text).encode("ascii", "replace").decode().replace("?", "")
    thickness = max(1, round(1.5 * scale))
    (width, height), baseline = cv2.getTextSize(text, _FONT, scale, thickness)
    pad = round(4 * scale) + 1
    box_height = height + baseline + 2 * pad
    left = min(max(corner_xy[0], 0), max(canvas.shape[1] - width - 2 * pad, 0))
    top = corner_xy[1] - box_height if corner_xy[1] >= box_height else max(corner_xy[1], 0)
    cv2.rectangle(canvas, (left, top), (left + width + 2 * pad, top + box_height), colour, cv2.FILLED)
    cv2.putText(canvas, text, (left + pad, top + pad + height), _FONT, scale, _TEXT_BGR, thickness, cv2.LINE_AA)
