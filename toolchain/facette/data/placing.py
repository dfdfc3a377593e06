"""Drawing a photo into a picture, turned, mirrored and scaled, while its faces stay with it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from facette.data.face_photos import FacePhoto
from facette.data.geometry import move_faces
from facette_runtime.types import FloatArray, Image

SMALLEST_FACE = 8.0
"""Faces with a smaller side, in pixels of the scene, are doubtful: there is nothing to learn from them."""


@dataclass
class Scene:
    """A picture under construction; pixels and labels change together.

    Attributes:
        image_bgr: uint8 [size, size, 3], BGR.
        boxes_xyxy: float32 [n, 4], pixels.
        landmarks_xy: float32 [n, 5, 2]; NaN where unknown.
        doubtful_xyxy: float32 [m, 4].
    """

    image_bgr: Image
    boxes_xyxy: FloatArray = field(default_factory=lambda: np.zeros((0, 4), np.float32))
    landmarks_xy: FloatArray = field(default_factory=lambda: np.zeros((0, 5, 2), np.float32))
    doubtful_xyxy: FloatArray = field(default_factory=lambda: np.zeros((0, 4), np.float32))

    def add(
        self, boxes_xyxy: FloatArray, landmarks_xy: FloatArray, doubtful_xyxy: FloatArray, frame: tuple[int, int, int, int]
    ) -> None:
        """Takes in faces of which only the part inside ``frame`` (left, top, right, bottom) can be seen.

        A face mostly inside is clipped to the frame and its landmarks outside become unknown; one partly inside is doubtful.
        """
        low, high = np.array(frame[:2], np.float32), np.array(frame[2:], np.float32)
        clipped = np.concatenate([np.clip(boxes_xyxy[:, :2], low, high), np.clip(boxes_xyxy[:, 2:], low, high)], axis=1)
        sides = clipped[:, 2:] - clipped[:, :2]
        seen = np.prod(sides, axis=1) / np.maximum(np.prod(boxes_xyxy[:, 2:] - boxes_xyxy[:, :2], axis=1), 1e-6)
        sure = (seen >= 0.6) & (np.sqrt(np.prod(sides, axis=1)) >= SMALLEST_FACE) & (sides.min(axis=1, initial=np.inf) >= 5)
        partly = ~sure & (seen > 0.05)
        outside = ((landmarks_xy < low) | (landmarks_xy > high)).any(axis=2, keepdims=True)
        landmarks_xy = np.where(outside, np.float32(np.nan), landmarks_xy)
        self.boxes_xyxy = np.concatenate([self.boxes_xyxy, clipped[sure]])
        self.landmarks_xy = np.concatenate([self.landmarks_xy, landmarks_xy[sure]])
        self.doubtful_xyxy = np.concatenate([self.doubtful_xyxy, clipped[partly], _clip(doubtful_xyxy, low, high)])

    def cover(self, frame: tuple[int, int, int, int]) -> None:
        """Something new hides ``frame``: faces that lose more than a quarter of themselves become doubtful or vanish."""
        low = np.maximum(self.boxes_xyxy[:, :2], np.array(frame[:2], np.float32))
        high = np.minimum(self.boxes_xyxy[:, 2:], np.array(frame[2:], np.float32))
        areas = np.prod(self.boxes_xyxy[:, 2:] - self.boxes_xyxy[:, :2], axis=1)
        hidden = np.prod(np.maximum(high - low, 0), axis=1) / np.maximum(areas, 1e-6)
        doubtful = (hidden > 0.25) & (hidden < 0.95)
        self.doubtful_xyxy = np.concatenate([self.doubtful_xyxy, self.boxes_xyxy[doubtful]])
        self.boxes_xyxy, self.landmarks_xy = self.boxes_xyxy[hidden <= 0.25], self.landmarks_xy[hidden <= 0.25]


def place(
    generator: Generator,
    scene: Scene,
    photo: FacePhoto,
    centre_xy: NDArray[np.float64],
    side: float,
    max_degrees: float,
    frame: tuple[int, int, int, int],
    *,
    soft: bool,
    index: int = 0,
) -> None:
    """Draws a photo into a scene, turned, mirrored and scaled, and adds its faces.

    Args:
        generator: decides on rotation (half of the photos stay upright) and mirroring.
        centre_xy, side: where the face ``index`` goes and how large (square root of its box's area), pixels of the scene.
        max_degrees: largest rotation.
        frame: left, top, right and bottom of the part of the scene that may be drawn on.
        soft: whether the photo fades out around the face instead of ending in a straight edge.
        index: which face of the photo.
    """
    box = photo.boxes_xyxy[index].astype(np.float64)
    scale = side / math.sqrt(float(np.prod(box[2:] - box[:2])))
    angle = math.radians(generator.uniform(-max_degrees, max_degrees)) if generator.random() < 0.5 else 0.0
    mirror = bool(generator.random() < 0.5)
    turn = scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    turn = turn @ np.diag([-1.0, 1.0]) if mirror else turn
    matrix = np.column_stack([turn, centre_xy - turn @ ((box[:2] + box[2:]) / 2)])
    visible = _draw(scene.image_bgr, photo.image_bgr, matrix, scale, frame, box if soft else None)
    if visible is None:
        return
    scene.cover(visible)
    boxes, landmarks = move_faces(photo.boxes_xyxy, photo.landmarks_xy, matrix, mirror=mirror)
    doubtful, _ = move_faces(photo.doubtful_xyxy, np.zeros((len(photo.doubtful_xyxy), 5, 2), np.float32), matrix, mirror=mirror)
    # Around a face that fades out, the photo's other faces have faded too.
    if soft:
        others = np.delete(boxes, index, axis=0)
        boxes, landmarks, doubtful = boxes[index : index + 1], landmarks[index : index + 1], np.concatenate([doubtful, others])
    scene.add(boxes, landmarks, doubtful, visible)


def _draw(
    canvas: Image,
    photo: Image,
    matrix: NDArray[np.float64],
    scale: float,
    frame: tuple[int, int, int, int],
    soft_around: NDArray[np.float64] | None,
) -> tuple[int, int, int, int] | None:
    """Warps a photo into the frame; gives the part of the canvas that changed, or None."""
    height, width = photo.shape[:2]
    corners = np.array([[0, 0], [width, 0], [0, height], [width, height]]) @ matrix[:, :2].T + matrix[:, 2]
    left, top = np.maximum(np.floor(corners.min(axis=0)).astype(int), frame[:2])
    right, bottom = np.minimum(np.ceil(corners.max(axis=0)).astype(int), frame[2:])
    if right - left < 2 or bottom - top < 2:
        return None
    if scale < 0.7:
        # Averaged down first: the warp's bilinear samples would skip pixels.
        wanted = (max(1, round(width * scale)), max(1, round(height * scale)))
        photo = cv2.resize(photo, wanted, interpolation=cv2.INTER_AREA)
        matrix = matrix @ np.array([[width / wanted[0], 0, 0], [0, height / wanted[1], 0], [0, 0, 1]])
        soft_around = None if soft_around is None else soft_around * np.tile([wanted[0] / width, wanted[1] / height], 2)
    # cv2 counts from pixel centres; the project's coordinates have them at half-integers.
    shifted = matrix.copy()
    shifted[:, 2] += matrix[:, :2] @ [0.5, 0.5] - 0.5 - np.array([left, top])
    region = canvas[top:bottom, left:right]
    target = np.ascontiguousarray(region)
    cv2.warpAffine(
        photo, shifted, (right - left, bottom - top), dst=target, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_TRANSPARENT
    )
    if soft_around is None:
        region[:] = target
        return int(left), int(top), int(right), int(bottom)
    mask = cv2.warpAffine(_soft_mask(photo.shape[0], photo.shape[1], soft_around), shifted, (right - left, bottom - top))[..., None]
    region[:] = (region + (target.astype(np.int16) - region) * mask).astype(np.uint8)
    return int(left), int(top), int(right), int(bottom)


def _soft_mask(height: int, width: int, box: NDArray[np.float64]) -> NDArray[np.float32]:
    """1 inside an ellipse around the head, falling to 0 a little further out."""
    centre, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2 * 1.35
    x = (np.arange(width, dtype=np.float32) + 0.5 - centre[0]) / half[0]
    y = (np.arange(height, dtype=np.float32) + 0.5 - centre[1]) / half[1]
    distance = np.sqrt(x[None] ** 2 + y[:, None] ** 2)
    return np.clip((1.12 - distance) / 0.24, 0, 1).astype(np.float32)


def _clip(boxes_xyxy: FloatArray, low: FloatArray, high: FloatArray) -> FloatArray:
    clipped = np.concatenate([np.clip(boxes_xyxy[:, :2], low, high), np.clip(boxes_xyxy[:, 2:], low, high)], axis=1)
    return clipped[(clipped[:, 2:] - clipped[:, :2]).min(axis=1, initial=np.inf) > 1]
