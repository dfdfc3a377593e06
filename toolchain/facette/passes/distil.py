"""Recovery by distillation: the changed network learns to give the original's embeddings again."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import nn

from facette.model import Model
from facette.pruning.masks import hold_zeros
from facette.train.augment import central
from facette.train.fold import fold_in_place
from facette.train.pixels import normalize_pixels
from facette.train.recovery import Recovery, check_crops, recover, training_alignment
from facette.train.refit import refit
from facette.train.teacher import torch_network
from facette.weights import load_weights, write_weights

__all__ = ["Distil", "distil", "training_alignment"]


@dataclass(frozen=True, slots=True)
class Distil(Recovery):
    """Settings of `distil`.

    Attributes:
        refit: faces on which each layer is first solved in closed form, where both networks have the same layers (after a swap of
            activations) on pictures of one size; 0 leaves it out.
        fold: fold batch norms first. Otherwise their statistics stay as they are, and only scale and shift are trained.
    """

    kind: Literal["distil"] = "distil"
    refit: int = 1000
    fold: bool = True


def distil(
    model: Model, teacher: Model, settings: Distil, crops: Sequence[np.ndarray], run_dir: Path, labels: Sequence[str] = ()
) -> Model:
    """Trains ``model`` to give the embeddings of ``teacher`` (Hinton et al., 2015, with an embedding in place of logits).

    Args:
        model: an embedder in torch, as pruning or another change left it.
        teacher: usually the original; shown the same crops.
        settings: how.
        crops: uint8 [n, s, s, 3] arrays, BGR, cut by the teacher's `training_alignment`.
        run_dir: the run's folder. An unfinished run in it goes on exactly where it was; a finished one is not repeated.
        labels: whose face each crop shows, "" where nobody says; for ``settings.margin`` only.

    Returns:
        The model with trained weights, in eval mode; the old one is left as it was. Weights that were zero still are.

    Raises:
        FacetteError: there are too few faces, the run folder holds another run, or there is a margin and too few people for it.
    """
    check_crops(model, teacher, crops)
    run_dir.mkdir(parents=True, exist_ok=True)
    student, original = copy.deepcopy(torch_network(model)), copy.deepcopy(torch_network(teacher))
    if settings.fold and fold_in_place(student):
        fold_in_place(original)
    # A refit would fill the zeros of a sparse network, and compares layers place by place.
    if not hold_zeros(student) and settings.refit and model.image == teacher.image:
        _refit(student, original, model, settings, crops[0], run_dir / "start.safetensors")
    network = recover(student, model, teacher, original, settings, crops, run_dir, labels)
    return replace(model, network=network, statistics=None)


def _refit(student: nn.Module, original: nn.Module, model: Model, settings: Distil, crops: np.ndarray, path: Path) -> None:
    """The refitted network, from ``path`` if an earlier start left it there: a resumed run begins with the same weights."""
    if path.exists():
        load_weights(student, path)
        return
    rows = np.sort(np.random.default_rng(settings.seed).permutation(len(crops))[: settings.refit])
    # The first layers see the first pictures only, so the order must not follow the data set's.
    order = np.random.default_rng(settings.seed).permutation(len(rows))
    pixels = torch.from_numpy(np.ascontiguousarray(central(crops[rows], model.image.size_wh[0])[order]))
    if refit(student, original, pixels, lambda part: normalize_pixels(part, model.image), settings.seed):
        write_weights(student.state_dict(), path)
