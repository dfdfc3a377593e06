"""One teacher or several, as one: what they say of a view becomes one target of the student's width."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from facette.train.teacher import Teacher
from facette.weights import read_weights, write_weights
from facette_runtime.errors import FacetteError

Combine = Literal["average", "concatenate"]


class Teachers:
    """Targets of views.

    A single teacher of the student's width is passed on as it is. Several are each brought to length one first; "average" is for
    teachers that share a space (copies of one network trained on), since the axes of others have nothing to do with each other;
    "concatenate" is for any: the cosine of two targets is the mean of the teachers' cosines. A target that is wider than the
    student is turned onto the principal axes of real faces, which keeps cosines best (Eckart & Young, 1936); a narrower one is
    filled up with zeros, which keeps them exactly.

    Args:
        teachers: at least one.
        size: the student's width.
        combine: how several become one.
        sample: uint8 [n, h, w, 3] BGR, undisturbed faces, for the axes; as many as the student is wide, or more.
        axes: safetensors file that keeps the axes, so that a resumed run has the same.

    Raises:
        FacetteError: teachers to average differ in width.
    """

    def __init__(self, teachers: Sequence[Teacher], size: int, combine: Combine, sample: Tensor, axes: Path) -> None:
        widths = [teacher.size for teacher in teachers]
        if combine == "average" and len(set(widths)) > 1:
            raise FacetteError(f'teachers of widths {widths} can\'t be averaged; valid: combine = "concatenate"')
        self.size = size
        self._teachers, self._combine = teachers, combine
        self._axes: Tensor | None = None
        if self._width(widths) > size:
            self._axes = _axes(axes, lambda: self._joined([teacher.ask(sample) for teacher in teachers]), size)

    def __call__(self, pixels: Tensor, view: int, faces: np.ndarray) -> Tensor:
        """Targets float32 [n, size]; arguments as `Teacher.__call__`."""
        return self._matched([teacher(pixels, view, faces) for teacher in self._teachers])

    def ask(self, pixels: Tensor) -> Tensor:
        """Targets float32 [n, size] of uint8 [n, h, w, 3] BGR pixels; nothing is kept."""
        return self._matched([teacher.ask(pixels) for teacher in self._teachers])

    def _matched(self, answers: Sequence[Tensor]) -> Tensor:
        joined = self._joined(answers)
        if self._axes is not None:
            return joined @ self._axes
        return F.pad(joined, (0, self.size - joined.shape[1]))

    def _width(self, widths: Sequence[int]) -> int:
        return sum(widths) if self._combine == "concatenate" else widths[0]

    def _joined(self, answers: Sequence[Tensor]) -> Tensor:
        if len(answers) == 1:
            return answers[0]
        unit = [F.normalize(answer) for answer in answers]
        if self._combine == "average":
            return F.normalize(torch.stack(unit).mean(0))
        return torch.cat(unit, dim=1) / len(unit) ** 0.5


def _axes(path: Path, answers: Callable[[], Tensor], size: int) -> Tensor:
    if path.exists():
        return read_weights(path)["axes"]
    directions = torch.linalg.svd(answers(), full_matrices=False).Vh
    if len(directions) < size:
        raise FacetteError(f"{len(directions)} faces are too few for the {size} principal axes of the teachers' answers")
    axes = directions[:size].T.contiguous()
    write_weights({"axes": axes}, path)
    return axes
