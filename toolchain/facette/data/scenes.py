"""Training scenes for a detector: many faces of known place at many sizes, made up from a few photos.

Three kinds, mixed: mosaics of photos (Bochkovskiy et al., 2020, section 3.3), faces cut out with soft edges and pasted onto
pictures without faces (Dwibedi et al., 2017), and crops of crowd photos at random scale. A scene depends on the generator that it
is given and on nothing else.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
from numpy.random import Generator

from facette.data.face_photos import FacePhoto
from facette.data.placing import Scene, place
from facette_runtime.types import Image

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SceneConfig:
    """What scenes look like.

    Attributes:
        size: width and height in pixels, a multiple of 32.
        face_sides: smallest and largest side of a placed face, pixels; sides are uniform in their logarithm.
        mosaic, paste, crowd: relative frequency of the three kinds.
        max_degrees: largest rotation of a placed photo.
        max_faces: faces beyond this many, the smallest first, become doubtful.
    """

    size: int = 256
    face_sides: tuple[float, float] = (9.0, 230.0)
    mosaic: float = 0.35
    paste: float = 0.3
    crowd: float = 0.35
    max_degrees: float = 25.0
    max_faces: int = 64

    def __post_init__(self) -> None:
        if self.size % 32:
            raise ValueError(f"size must be a multiple of 32, but got {self.size}")
        if not 0 < self.face_sides[0] < self.face_sides[1]:
            raise ValueError(f"face_sides must be positive and increase, but got {self.face_sides}")


@dataclass(frozen=True, slots=True)
class PhotoBank:
    """What scenes are made of.

    Attributes:
        portraits: photos with one face, or few, each.
        crowds: photos with many; may be empty, then scenes of that kind are pastes.
        backgrounds: pictures without faces, uint8 [h, w, 3], BGR; may be empty.
    """

    portraits: Sequence[FacePhoto]
    crowds: Sequence[FacePhoto]
    backgrounds: Sequence[Image]


def compose(generator: Generator, bank: PhotoBank, config: SceneConfig) -> Scene:
    """A new scene, before its light and noise: see `facette.data.scene_noise`."""
    kinds = np.array([config.mosaic, config.paste, config.crowd if bank.crowds else 0.0])
    kind = generator.choice(3, p=kinds / kinds.sum())
    scene = Scene(background(generator, bank, config.size))
    if kind == 0:
        _mosaic(generator, bank, config, scene)
    elif kind == 1:
        _paste(generator, bank, config, scene, int(generator.integers(0, 14)))
    else:
        _crowd(generator, bank, config, scene)
    return scene


def background(generator: Generator, bank: PhotoBank, size: int) -> Image:
    """A picture without a face: a crop of a background, a shuffled photo, a gradient or one colour."""
    kind = generator.random()
    if kind < 0.55 and bank.backgrounds:
        source = _any(generator, bank.backgrounds)
        return _random_crop(generator, source, size)
    if kind < 0.8:
        return _shuffled(generator, _any(generator, bank.portraits).image_bgr, size)
    corners = generator.integers(0, 256, (2, 2, 3)).astype(np.uint8)
    if kind < 0.9:
        corners[:] = 128 if generator.random() < 0.5 else corners[0, 0]
    return np.asarray(cv2.resize(corners, (size, size), interpolation=cv2.INTER_LINEAR), np.uint8)


def _random_crop(generator: Generator, source: Image, size: int) -> Image:
    side = int(min(source.shape[:2]) * generator.uniform(0.3, 1.0))
    top, left = (int(generator.integers(0, length - side + 1)) for length in source.shape[:2])
    crop = source[top : top + side, left : left + side]
    crop = crop[:, ::-1] if generator.random() < 0.5 else crop
    return np.asarray(cv2.resize(np.ascontiguousarray(crop), (size, size), interpolation=cv2.INTER_LINEAR), np.uint8)


def _shuffled(generator: Generator, source: Image, size: int) -> Image:
    """A photo cut into squares and put together in another order: skin, hair and eyes, but no face."""
    count = int(generator.integers(5, 11))
    cell = -(-size // count)
    scaled = cv2.resize(source, (cell * count, cell * count), interpolation=cv2.INTER_LINEAR)
    cells = scaled.reshape(count, cell, count, cell, 3).swapaxes(1, 2).reshape(count * count, cell, cell, 3)
    cells = cells[generator.permutation(count * count)]
    whole = cells.reshape(count, count, cell, cell, 3).swapaxes(1, 2).reshape(cell * count, cell * count, 3)
    return np.ascontiguousarray(whole[:size, :size])


def _mosaic(generator: Generator, bank: PhotoBank, config: SceneConfig, scene: Scene) -> None:
    count = int(generator.choice(4, p=[0.3, 0.4, 0.2, 0.1])) + 1
    inner = (np.arange(1, count) + generator.uniform(-0.3, 0.3, (2, count - 1))) / count
    xs, ys = (np.concatenate([[0], np.sort(line) * config.size, [config.size]]).astype(int) for line in inner)
    for top, bottom in itertools.pairwise(ys):
        for left, right in itertools.pairwise(xs):
            if generator.random() < 0.2:
                continue
            photo = _any(generator, bank.portraits)
            short = min(right - left, bottom - top)
            side = _log_uniform(
                generator,
                max(config.face_sides[0], short * 0.35),
                max(config.face_sides[0] * 1.1, min(config.face_sides[1], short * 0.9)),
            )
            centre = np.array(
                [generator.uniform(left + side * 0.4, right - side * 0.4), generator.uniform(top + side * 0.4, bottom - side * 0.4)]
            )
            place(
                generator,
                scene,
                photo,
                centre,
                side,
                config.max_degrees,
                (int(left), int(top), int(right), int(bottom)),
                soft=False,
            )


def _paste(generator: Generator, bank: PhotoBank, config: SceneConfig, scene: Scene, count: int) -> None:
    frame = (0, 0, config.size, config.size)
    largest = config.face_sides[1] if count < 4 else config.face_sides[1] / 3
    for _ in range(count):
        photo = _any(generator, bank.portraits)
        side = _log_uniform(generator, config.face_sides[0], largest)
        centre = generator.uniform(0.2 * side, config.size - 0.2 * side, 2)
        place(generator, scene, photo, centre, side, config.max_degrees, frame, soft=bool(generator.random() < 0.6))


def _crowd(generator: Generator, bank: PhotoBank, config: SceneConfig, scene: Scene) -> None:
    photo = _any(generator, bank.crowds)
    if not len(photo.boxes_xyxy):
        scene.image_bgr = _random_crop(generator, photo.image_bgr, config.size)
        scene.doubtful_xyxy = (
            np.array([[0, 0, config.size, config.size]], np.float32) if len(photo.doubtful_xyxy) else scene.doubtful_xyxy
        )
        return
    frame = (0, 0, config.size, config.size)
    side = _log_uniform(generator, config.face_sides[0], config.face_sides[1] / 2)
    index = int(generator.integers(len(photo.boxes_xyxy)))
    own = math.sqrt(float(np.prod(photo.boxes_xyxy[index, 2:] - photo.boxes_xyxy[index, :2])))
    # Enlarged pixels teach little, and a photo that shrinks to a stamp leaves the scene empty.
    side = own * float(np.clip(side / own, 0.8 * config.size / max(photo.image_bgr.shape[:2]), 3.0))
    centre = generator.uniform(0.1, 0.9, 2) * config.size
    place(generator, scene, photo, centre, side, config.max_degrees / 2, frame, soft=False, index=index)
    if generator.random() < 0.2:
        _paste(generator, bank, config, scene, int(generator.integers(1, 4)))


def _any(generator: Generator, items: Sequence[T]) -> T:
    return items[int(generator.integers(len(items)))]


def _log_uniform(generator: Generator, low: float, high: float) -> float:
    return float(math.exp(generator.uniform(math.log(low), math.log(max(high, low * 1.01)))))
