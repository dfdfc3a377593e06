"""What a teacher means of a face, rather than what it says of one picture of it.

A teacher's embedding wavers with the alignment and is not quite that of the mirror image. A small student cannot learn where to
waver, and need not: the mean over several alignments, half of them mirrored, is nearer to who it is, and easier to hit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from facette.train.augment import Augmentation, central, realign
from facette.train.teacher import kept_answers
from facette_runtime.types import FloatArray, Image

_AT_ONCE = 32


class Asked(Protocol):
    """A teacher, or several as one.

    Attributes:
        size: length of an answer.
    """

    size: int

    def ask(self, pixels: Tensor) -> Tensor:
        """Answers float32 [n, d] to uint8 [n, size, size, 3] BGR pixels."""
        ...


def consensus(
    teacher: Asked,
    crops: Sequence[np.ndarray],
    size: int,
    alignments: int,
    augmentation: Augmentation,
    seed: int,
    path: Path,
) -> FloatArray | None:
    """The teacher's mean answer for each face, float32 [n, d]; None where it is to be asked about no alignment.

    Args:
        teacher: whom to ask.
        crops: uint8 [n, s, s, 3] arrays, BGR, with a margin; their faces are counted through.
        size: side of what the teacher is shown, in pixels.
        alignments: how many of each face: the first as it is, the second its mirror image, then by turns others disturbed by
            ``augmentation``'s rotation, scale and shift; nothing else of it is used.
        augmentation: see there.
        seed: of the disturbances.
        path: .npy file that keeps the answers. If a kill left some of them, they are not asked for again.

    Raises:
        FacetteError: the file was made for another number of faces.
    """
    if not alignments:
        return None
    starts = np.cumsum([0, *map(len, crops)])
    answers = kept_answers(path, (int(starts[-1]), teacher.size))
    with tqdm(total=len(answers), desc="teacher", unit="face", dynamic_ncols=True, disable=None) as bar:
        for part, first in zip(crops, starts, strict=False):
            for start in range(0, len(part), _AT_ONCE):
                some = part[start : start + _AT_ONCE]
                faces = range(first + start, first + start + len(some))
                means = answers[faces.start : faces.stop]
                if np.isnan(means).any():
                    said = teacher.ask(_shown(some, faces, size, alignments, augmentation, seed))
                    means[:] = said.view(len(some), alignments, -1).mean(1).numpy()
                bar.update(len(some))
    return np.asarray(answers)


def _shown(crops: np.ndarray, faces: Sequence[int], size: int, alignments: int, augmentation: Augmentation, seed: int) -> Tensor:
    """uint8 [n · alignments, size, size, 3], one face's alignments after another's."""
    shown = [
        _aligned(crop, size, number, augmentation, np.random.default_rng((seed, number, face)))
        for crop, face in zip(crops, faces, strict=True)
        for number in range(alignments)
    ]
    return torch.from_numpy(np.stack(shown))


def _aligned(crop: Image, size: int, number: int, augmentation: Augmentation, rng: np.random.Generator) -> Image:
    if number == 0:
        return central(crop, size)
    if number == 1:
        return central(crop, size)[:, ::-1]
    return realign(crop, size, replace(augmentation, flip=float(number % 2)), rng)
