"""What cameras and people do to a scene: masks and hands in front of faces, light, blur, noise, compression, letterbox bars."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from facette.data.placing import Scene
from facette_runtime.types import FloatArray

NOISE_SIDE = 512
_MASK_COLORS = np.array([[235, 235, 235], [200, 150, 90], [30, 30, 30], [180, 190, 120], [190, 160, 200]])


def noise_bank(generator: Generator) -> NDArray[np.int16]:
    """Gaussian noise of deviation 256, int16 [512, 512, 3], from which scenes take random windows: drawing it anew is slow."""
    return (generator.standard_normal((NOISE_SIDE, NOISE_SIDE, 3), dtype=np.float32) * 256).astype(np.int16)


def occlude(generator: Generator, scene: Scene, mask_rate: float, block_rate: float) -> None:
    """Covers some faces' lower half with a surgical mask, and some by a block of one colour; labels stay.

    Args:
        generator: decides which faces.
        scene: changed in place.
        mask_rate: probability of a mask, for faces whose landmarks are all known.
        block_rate: probability of a block, which hides at most a third of the face.
    """
    for box, landmarks in zip(scene.boxes_xyxy, scene.landmarks_xy, strict=True):
        chance = generator.random()
        if chance < mask_rate and not np.isnan(landmarks).any():
            _draw_mask(generator, scene, landmarks)
        elif mask_rate <= chance < mask_rate + block_rate:
            _draw_block(generator, scene, box)


def _draw_mask(generator: Generator, scene: Scene, landmarks: FloatArray) -> None:
    right_eye, left_eye, nose, right_mouth, left_mouth = landmarks
    across = left_eye - right_eye
    down = (right_mouth + left_mouth) / 2 - (right_eye + left_eye) / 2
    top = nose - down * generator.uniform(-0.15, 0.35)
    chin = (right_mouth + left_mouth) / 2 + down * generator.uniform(0.5, 0.8)
    width = generator.uniform(0.6, 0.9)
    points = [
        top, top + across * width * 0.6 + down * 0.1, (left_mouth + left_eye) / 2 + across * (width - 0.35),
        left_mouth + across * 0.25 + down * 0.25, chin + across * 0.3, chin - across * 0.3,
        right_mouth - across * 0.25 + down * 0.25, (right_mouth + right_eye) / 2 - across * (width - 0.35),
        top - across * width * 0.6 + down * 0.1,
    ]  # fmt: skip
    color = np.clip(_MASK_COLORS[generator.integers(len(_MASK_COLORS))] + generator.integers(-25, 26, 3), 0, 255)
    polygon = np.round(np.array(points) * 8 - 4).astype(np.int32)
    cv2.fillPoly(scene.image_bgr, [polygon], color.tolist(), lineType=cv2.LINE_AA, shift=3)


def _draw_block(generator: Generator, scene: Scene, box: FloatArray) -> None:
    sides = box[2:] - box[:2]
    size = sides * generator.uniform(0.15, 0.55, 2)
    corner = box[:2] + (sides - size) * generator.uniform(0, 1, 2)
    low = np.maximum(corner.astype(int), 0)
    high = (corner + size).astype(int)
    scene.image_bgr[low[1] : high[1], low[0] : high[0]] = generator.integers(0, 256, 3)


def degrade(generator: Generator, scene: Scene, noise: NDArray[np.int16]) -> None:
    """Light, colour, blur, resolution, noise, JPEG and letterbox bars, each in some scenes; changes the scene in place."""
    image = _light(generator, scene.image_bgr)
    chance = generator.random(5)
    size = image.shape[0]
    if chance[0] < 0.12:
        image = cv2.GaussianBlur(image, (0, 0), generator.uniform(0.5, 1.8))
    elif chance[0] < 0.17:
        image = cv2.blur(image, (int(generator.integers(1, 6)), int(generator.integers(1, 6))))
    elif chance[0] < 0.27:
        sharp = cv2.GaussianBlur(image, (0, 0), 1.0)
        image = cv2.addWeighted(image, 1.7, sharp, -0.7, 0)
    if chance[1] < 0.1:
        small = int(size * generator.uniform(0.5, 0.9))
        image = cv2.resize(
            cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA), (size, size), interpolation=cv2.INTER_LINEAR
        )
    if chance[2] < 0.2:
        top, left = generator.integers(0, NOISE_SIDE - size + 1, 2) if size <= NOISE_SIDE else (0, 0)
        window = noise[top : top + size, left : left + size]
        level = generator.uniform(2, 12)
        image = (
            cv2.add(image, (window * np.float32(level / 256)).astype(np.int16), dtype=cv2.CV_8U)
            if window.shape == image.shape
            else image
        )
    if chance[3] < 0.2:
        _, code = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(generator.integers(25, 90))])
        image = np.asarray(cv2.imdecode(code, cv2.IMREAD_COLOR), np.uint8)
    scene.image_bgr = np.ascontiguousarray(image, np.uint8)
    if chance[4] < 0.12:
        _bar(generator, scene)


def _light(generator: Generator, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Contrast, brightness, gamma and white balance as one table a channel; some scenes lose their colour."""
    levels = np.arange(256, dtype=np.float32)[:, None] / 255
    contrast, shift = generator.uniform(0.6, 1.35), generator.uniform(-0.15, 0.15)
    gains = generator.uniform(0.85, 1.15, 3) if generator.random() < 0.5 else np.ones(3)
    table = (np.clip(levels * gains, 0, 1) ** generator.uniform(0.7, 1.5) - 0.5) * contrast + 0.5 + shift
    image = np.asarray(cv2.LUT(image, np.clip(table * 255, 0, 255).astype(np.uint8)[:, None]), np.uint8)
    if generator.random() < 0.08:
        image = np.asarray(cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR), np.uint8)
    return image


def _bar(generator: Generator, scene: Scene) -> None:
    """Fills the right or lower edge with one colour, as a letterbox does."""
    size = scene.image_bgr.shape[0]
    edge = int(size * generator.uniform(0.7, 0.97))
    color = 128 if generator.random() < 0.7 else 0
    vertical = generator.random() < 0.5
    if vertical:
        scene.image_bgr[:, edge:] = color
    else:
        scene.image_bgr[edge:] = color
    boxes, landmarks, doubtful = scene.boxes_xyxy, scene.landmarks_xy, scene.doubtful_xyxy
    scene.boxes_xyxy, scene.landmarks_xy, scene.doubtful_xyxy = boxes[:0], landmarks[:0], doubtful[:0]
    scene.add(boxes, landmarks, doubtful, (0, 0, edge, size) if vertical else (0, 0, size, edge))
