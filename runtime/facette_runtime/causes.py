"""Likely causes of a stage that differs: each is undone on the stage's input, and the one that makes the stage right is named."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import numpy as np

from facette_runtime.manifest import ImageInput
from facette_runtime.types import Image

NEARLY = 4.0
"""A cause that makes the error so many times smaller is named, too: cut off at 0 and 255, pixels can't be put right wholly."""

_COARSE, _FINEST = 16, 1
_DARKEST, _BRIGHTEST = -128, 128
_CONTRASTS = (0.5, 2.0)  # pixels in 0..1 taken for -1..1, and the other way round


@dataclass(frozen=True, slots=True)
class Cause:
    """Something that may be wrong on the way into a network.

    Attributes:
        words: what it is, after "right with …: " or "nearly right with …: ".
        undo: what to do to the pixels so that the network sees what it should have seen.
    """

    words: str
    undo: Callable[[Image], Image]


def likely_cause(error: Callable[[Image], float], pixels: Image, entry: ImageInput) -> str | None:
    """Looks for what makes the error of a network's stage vanish.

    Args:
        error: of the stage on some pixels, in units of what is allowed: up to 1 is right.
        pixels: uint8 [h, w, 3], BGR, what the stage was fed when it was wrong.
        entry: what the network says it is fed.

    Returns:
        The cause and what to check; None where nothing helps.
    """
    wrong = error(pixels)
    tried = [(error(cause.undo(pixels)), cause) for cause in (_swapped(), *_contrasts(entry))]
    tried.append(_best_brightness(error, pixels))
    best, cause = min(tried, key=lambda item: item[0])
    if best <= 1:
        return f"right with {cause.words}"
    if best * NEARLY < wrong:
        return f"nearly right with {cause.words}"
    return None


def normalisation(entry: ImageInput) -> str:
    """What a graph should do with its pixels, for the advice where no cause is found."""
    mean, scale = (", ".join(f"{value:.4g}" for value in values) for values in (entry.mean, entry.scale))
    return f"colour order ({entry.color_order}) and normalisation (mean {mean}; scale {scale})"


def _swapped() -> Cause:
    return Cause("red and blue exchanged: the channels are swapped", lambda pixels: np.ascontiguousarray(pixels[..., ::-1]))


def _contrasts(entry: ImageInput) -> Iterable[Cause]:
    # The means are in the network's channel order; pixels here are BGR.
    mean = np.array(entry.mean if entry.color_order == "bgr" else entry.mean[::-1])
    for factor in _CONTRASTS:
        yield Cause(f"{factor:g} times the contrast: check the scale", partial(_with_contrast, mean, factor))


def _best_brightness(error: Callable[[Image], float], pixels: Image) -> tuple[float, Cause]:
    """Coarse to fine: the error has one valley along brightness, and it is wide far from its floor."""
    step, middle = _COARSE, 0
    candidates: Iterable[int] = range(_DARKEST, _BRIGHTEST + 1, step)
    known: dict[int, float] = {}
    while step >= _FINEST:
        for shift in candidates:
            if shift not in known:
                known[shift] = error(_levels(pixels.astype(np.int16) + shift))
        middle = min(known, key=lambda shift: (known[shift], abs(shift)))
        step //= 2
        candidates = (middle - step, middle + step)
    side = "brighter" if middle > 0 else "darker"
    size = "large" if middle > 0 else "small"
    words = f"every pixel {abs(middle)} levels {side}: the mean that the graph subtracts is about {abs(middle)} too {size}"
    return known[middle], Cause(words, lambda image: _levels(image.astype(np.int16) + middle))


def likely_shift(difference: Callable[[float, float], float], allowed: float) -> str | None:
    """Looks for a shift of the crop by half a pixel or a whole one that makes it right.

    Args:
        difference: of the crop when the template is moved by (x, y) pixels, in grey levels.
        allowed: grey levels.

    Returns:
        What to check; None where no shift helps.
    """
    steps = (-1.0, -0.5, 0.0, 0.5, 1.0)
    tried = {(x, y): difference(x, y) for x in steps for y in steps if x or y}
    best = min(tried, key=lambda shift: (tried[shift], abs(shift[0]) + abs(shift[1])))
    if tried[best] > allowed and tried[best] * NEARLY > difference(0.0, 0.0):
        return None
    size = "half a pixel" if {abs(value) for value in best} <= {0.0, 0.5} else "a pixel"
    return f"right when moved by ({best[0]:+g}, {best[1]:+g}): the crop is {size} off, check the half-pixel convention"


def _with_contrast(mean: np.ndarray, factor: float, pixels: Image) -> Image:
    return _levels(mean + (pixels - mean) * factor)


def _levels(values: np.ndarray) -> Image:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
