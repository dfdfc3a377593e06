"""Views of an aligned face: what cameras, detectors and compression do to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from facette.train.strangers import blend, chimera, reshape
from facette_runtime.types import Image

_RESHAPED = 0.025
"""How far features move, as a part of the side: a few pixels, as they differ between people."""


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How strong each disturbance is, and how often it happens (probabilities 0..1).

    Attributes:
        rotation_degrees, scale, shift: standard deviations of the alignment's error; scale as a factor's logarithm,
            shift as a part of the crop's side.
        flip: probability of a mirror image.
        color: standard deviation of brightness, contrast, saturation and gamma, as factors' logarithms.
        grey, blur, noise, jpeg, low_resolution, occlusion: probabilities.
        mix, chimera, reshape: probabilities that the view shows a face that nobody has: a second one blended in, parts of a second
            one, the face's own features moved (see `facette.train.strangers`).
    """

    rotation_degrees: float = 2.0
    scale: float = 0.03
    shift: float = 0.012
    flip: float = 0.5
    color: float = 0.15
    grey: float = 0.03
    blur: float = 0.1
    noise: float = 0.1
    jpeg: float = 0.15
    low_resolution: float = 0.1
    occlusion: float = 0.08
    mix: float = 0.08
    chimera: float = 0.0
    reshape: float = 0.0


class View(NamedTuple):
    """One random view.

    Attributes:
        pixels: uint8 [size, size, 3], BGR.
        stranger: whether it shows a face that nobody has, rather than the photo's.
    """

    pixels: Image
    stranger: bool


def augment(face: Image, partner: Image, size: int, settings: Augmentation, rng: np.random.Generator) -> View:
    """A view of a face, disturbed at random.

    Args:
        face: uint8 [s, s, 3], an aligned crop with a margin round the final one, so that rotation and shift find
            pixels.
        partner: another such crop, for mixing.
        size: side of the view: the central part of the crop, in the same scale.
        settings: how strong.
        rng: all randomness.
    """
    view = realign(face, size, settings, rng)
    view, stranger = _estrange(view, partner, settings, rng)
    view = _recolor(view, settings, rng)
    if rng.random() < settings.low_resolution:
        small = max(8, round(size * rng.uniform(0.2, 0.6)))
        view = cv2.resize(
            cv2.resize(view, (small, small), interpolation=cv2.INTER_AREA), (size, size), interpolation=cv2.INTER_LINEAR
        )
    if rng.random() < settings.blur:
        view = cv2.GaussianBlur(view, (0, 0), rng.uniform(0.5, 2.0))
    if rng.random() < settings.noise:
        noise = rng.normal(0, rng.uniform(2, 12), view.shape).astype(np.float32)
        view = np.clip(view + noise, 0, 255).astype(np.uint8)
    if rng.random() < settings.jpeg:
        view = _compress(view, int(rng.integers(25, 90)))
    if rng.random() < settings.occlusion:
        view = _occlude(view, rng)
    return View(np.ascontiguousarray(view, np.uint8), stranger)


def realign(face: Image, size: int, settings: Augmentation, rng: np.random.Generator) -> Image:
    """The face as an alignment with the settings' error shows it, or its mirror image: uint8 [size, size, 3]; see `augment`."""
    angle, log_scale = rng.normal(0, settings.rotation_degrees), rng.normal(0, settings.scale)
    shift = rng.normal(0, settings.shift * size, 2)
    middle = (face.shape[0] - 1) / 2
    transform = cv2.getRotationMatrix2D((middle, middle), angle, float(np.exp(log_scale)))
    transform[:, 2] += shift + (size - 1) / 2 - middle
    if rng.random() < settings.flip:
        transform[0] = -transform[0]
        transform[0, 2] += size - 1
    return cv2.warpAffine(face, transform, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def central(face: Image, size: int) -> Image:
    """The undisturbed view: the central ``size`` × ``size`` pixels of [..., s, s, 3]."""
    margin = (face.shape[-2] - size) // 2
    return face[..., margin : margin + size, margin : margin + size, :]


def _estrange(view: Image, partner: Image, settings: Augmentation, rng: np.random.Generator) -> tuple[Image, bool]:
    # What a recipe doesn't name draws no number: its views stay what they were before there was such a thing.
    mixed = rng.random() < settings.mix
    if mixed:
        view = blend(view, realign(partner, len(view), settings, rng), rng)
    joined = settings.chimera > 0 and rng.random() < settings.chimera
    if joined:
        view = chimera(view, realign(partner, len(view), settings, rng), rng)
    reshaped = settings.reshape > 0 and rng.random() < settings.reshape
    if reshaped:
        view = reshape(view, _RESHAPED, rng)
    return view, mixed or joined or reshaped


def _recolor(view: Image, settings: Augmentation, rng: np.random.Generator) -> Image:
    if rng.random() < settings.grey:
        view = cv2.cvtColor(cv2.cvtColor(view, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    brightness, contrast, gamma = np.exp(rng.normal(0, settings.color, 3))
    tint = np.exp(rng.normal(0, settings.color / 4, 3))
    # One table a channel does brightness, contrast, gamma and tint at once.
    levels = (np.arange(256, dtype=np.float32) / 255) ** gamma
    table = np.clip(((levels[:, None] - 0.5) * contrast + 0.5) * brightness * tint * 255, 0, 255).astype(np.uint8)
    view = cv2.LUT(view, table.reshape(1, 256, 3))
    saturation = float(np.exp(rng.normal(0, settings.color)))
    grey = cv2.cvtColor(cv2.cvtColor(view, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    return cv2.addWeighted(view, saturation, grey, 1 - saturation, 0)


def _compress(view: Image, quality: int) -> Image:
    decoded = cv2.imdecode(cv2.imencode(".jpg", view, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)
    assert decoded is not None
    return decoded


def _occlude(view: Image, rng: np.random.Generator) -> Image:
    """A rectangle of one colour or of noise: a hand, a mask, sunglasses, the picture's edge."""
    size = view.shape[0]
    width, height = (rng.uniform(0.15, 0.5, 2) * size).astype(int)
    left, top = int(rng.integers(0, size - width)), int(rng.integers(0, size - height))
    view = view.copy()
    patch = rng.integers(0, 256, (height, width, 3)) if rng.random() < 0.3 else rng.integers(0, 256, 3)
    view[top : top + height, left : left + width] = patch
    return view
