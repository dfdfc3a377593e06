"""A camera that pans, zooms, tilts, flickers and blurs over two portraits on a wall: moving pictures without any download."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from facette.data.photos import Portrait
from facette_runtime.types import Image

_MARGIN = 220
_GAP = 150
_MAT = 26
_FRAME = 14


@dataclass(frozen=True, slots=True)
class Shot:
    """One frame, and where everybody really is.

    Attributes:
        image_bgr: uint8 [h, w, 3], BGR.
        faces_xy: by person, the face's middle in pixels of the frame, also where that is outside of it.
    """

    image_bgr: Image
    faces_xy: dict[str, tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Scene:
    """A wall with framed portraits.

    Attributes:
        image_bgr: uint8 [h, w, 3], BGR.
        faces_xy: by person, the face's middle in the scene's pixels.
    """

    image_bgr: Image
    faces_xy: dict[str, tuple[float, float]]


def build_scene(portraits: Sequence[Portrait], seed: int = 0) -> Scene:
    """Hangs the portraits side by side on a lit wall."""
    heights, widths = zip(*(portrait.image_bgr.shape[:2] for portrait in portraits), strict=True)
    size_wh = (2 * _MARGIN + sum(widths) + _GAP * (len(portraits) - 1), 2 * _MARGIN + max(heights))
    wall = _wall(size_wh, np.random.default_rng(seed))
    faces, left = {}, _MARGIN
    for portrait in portraits:
        height, width = portrait.image_bgr.shape[:2]
        top = (size_wh[1] - height) // 2
        _hang(wall, portrait.image_bgr, left, top)
        faces[portrait.name] = (left + portrait.face_xy[0], top + portrait.face_xy[1])
        left += width + _GAP
    return Scene(wall, faces)


def film(scene: Scene, frames: int, size_wh: tuple[int, int] = (640, 480), seed: int = 0) -> Iterator[Shot]:
    """Moves the camera over the scene; the same seed gives the same frames.

    Args:
        scene: what there is to see.
        frames: how many.
        size_wh: of a frame.
        seed: of the path's phases and the sensor's noise.
    """
    generator = np.random.default_rng(seed)
    phases = generator.uniform(0, 2 * np.pi, 4)
    previous: NDArray[np.float64] | None = None
    for index in range(frames):
        turn = 2 * np.pi * index / frames
        matrix = _view(scene, turn, phases, size_wh)
        image = cv2.warpAffine(scene.image_bgr, matrix, size_wh, flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REFLECT_101)
        middle = np.array([scene.image_bgr.shape[1] / 2, scene.image_bgr.shape[0] / 2, 1.0])
        motion = np.zeros(2) if previous is None else (matrix - previous) @ middle
        previous = matrix
        faces = {name: matrix @ np.array([*xy, 1.0]) for name, xy in scene.faces_xy.items()}
        gain = 0.85 + 0.25 * np.sin(3 * turn + phases[3])
        picture = _expose(_blur(np.asarray(image, np.uint8), motion), gain, generator)
        yield Shot(picture, {name: (float(x), float(y)) for name, (x, y) in faces.items()})


def _view(scene: Scene, turn: float, phases: NDArray[np.float64], size_wh: tuple[int, int]) -> NDArray[np.float64]:
    """float64 [2, 3], scene to frame: looks from one end of the wall to the other and back, now near, now far."""
    height, width = scene.image_bgr.shape[:2]
    faces = np.array(list(scene.faces_xy.values()))
    middle, reach = faces.mean(axis=0), np.ptp(faces[:, 0]) / 2
    near = 0.5 - 0.5 * np.cos(2 * turn)  # near at the ends of the wall, far in its middle
    zoom = 0.52 + (0.43 + 0.1 * np.sin(3 * turn + phases[0])) * near
    centre = (
        middle[0] - reach * np.sin(turn) + 30 * np.sin(5 * turn + phases[1]),
        middle[1] + 60 * (1 - near) + 25 * np.sin(7 * turn + phases[2]),
    )
    tilt = 14 * np.sin(2 * turn + phases[1])
    matrix = cv2.getRotationMatrix2D((float(np.clip(centre[0], 0, width)), float(np.clip(centre[1], 0, height))), tilt, zoom)
    matrix[:, 2] += np.array(size_wh) / 2 - np.clip(centre, 0, (width, height))
    return np.asarray(matrix, np.float64)


def _blur(image: Image, motion_px: NDArray[np.float64]) -> Image:
    """Smears along the way that the picture moved while the shutter, open half of the time, took it in."""
    length = round(float(np.linalg.norm(motion_px)) / 2)
    if length < 2:
        return image
    kernel = np.zeros((2 * length + 1, 2 * length + 1), np.float32)
    step = motion_px / np.linalg.norm(motion_px) * length / 2
    ends = [(round(length + sign * float(step[0])), round(length + sign * float(step[1]))) for sign in (-1, 1)]
    cv2.line(kernel, ends[0], ends[1], 1.0)
    return np.asarray(cv2.filter2D(image, -1, kernel / kernel.sum()), np.uint8)


def _expose(image: Image, gain: float, generator: np.random.Generator) -> Image:
    noise = generator.normal(0, 3, (image.shape[0] // 2, image.shape[1] // 2, 1)).astype(np.float32)
    grain = cv2.resize(noise, image.shape[1::-1], interpolation=cv2.INTER_LINEAR)[..., None]
    return np.clip(image * np.float32(gain) + grain, 0, 255).astype(np.uint8)


def _wall(size_wh: tuple[int, int], generator: np.random.Generator) -> Image:
    width, height = size_wh
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    light = np.exp(-(((columns - width / 2) / (0.6 * width)) ** 2 + ((rows - 0.25 * height) / (0.8 * height)) ** 2))
    plaster = cv2.GaussianBlur(generator.normal(0, 1, (height, width)).astype(np.float32), (0, 0), 2) * 14
    colour = np.array([118, 132, 126], np.float32)  # grey-green paint, BGR
    return np.clip(colour * (0.55 + 0.6 * light[..., None]) + plaster[..., None], 0, 255).astype(np.uint8)


def _hang(wall: Image, picture_bgr: Image, left: int, top: int) -> None:
    """A soft shadow, a dark frame, a white mat and the picture."""
    height, width = picture_bgr.shape[:2]
    border = _MAT + _FRAME
    shadow = np.zeros(wall.shape[:2], np.float32)
    shadow[top - border + 16 : top + height + border + 16, left - border + 10 : left + width + border + 10] = 0.5
    shadow = cv2.GaussianBlur(shadow, (0, 0), 14)
    wall[:] = (wall * (1 - shadow[..., None])).astype(np.uint8)
    wall[top - border : top + height + border, left - border : left + width + border] = (38, 46, 58)
    wall[top - _MAT : top + height + _MAT, left - _MAT : left + width + _MAT] = (232, 238, 240)
    wall[top : top + height, left : left + width] = picture_bgr
