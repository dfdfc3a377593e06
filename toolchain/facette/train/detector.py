"""Trains Facette's detector from random initialisation on what a teacher, RetinaFace, sees in photos without labels."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor, nn

from facette.catalogue import CATALOGUE
from facette.data.scenes import PhotoBank
from facette.model import Model
from facette.nets.facette_detect import MEAN, SCALE, FacetteDetect
from facette.train.detect_loss import cell_grid, detection_loss
from facette.train.detector_batches import Batch, batches, load_bank
from facette.train.detector_recipe import DetectorTraining, Round
from facette.train.loop import fit
from facette.train.narrow import narrow
from facette.train.run_folder import claim, round_folder
from facette.weights import write_weights
from facette_runtime.schema import to_dict

SCORING_BATCHES = 16
"""Batches of a round on which channels are judged before it begins."""


class DetectorTask:
    """The student, a `FacetteDetect` of any widths, and its loss, as `facette.train.loop.fit` wants them."""

    def __init__(self, student: FacetteDetect, recipe: DetectorTraining) -> None:
        self.student: nn.Module = student.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._predict: Callable[[Tensor], tuple[Tensor, Tensor, Tensor]] = (
            torch.compile(student.predict) if recipe.compile else student.predict
        )
        self._weights = recipe.weights

    def loss(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        pictures, boxes_xyxy, landmarks_xy, kinds = batch
        # A permuted NHWC tensor is what torch calls channels-last: nothing is copied.
        outputs = self._predict((pictures.permute(0, 3, 1, 2).float() - MEAN) * SCALE)
        cells = cell_grid(pictures.shape[1], pictures.shape[2], pictures.device)
        return detection_loss(outputs, boxes_xyxy, landmarks_xy, kinds, cells, self._weights)


def train_detector(recipe: DetectorTraining, data_dir: Path, teacher_weights: Path, run_dir: Path) -> Path:
    """Runs a recipe, or goes on with one that was cut off.

    Args:
        recipe: what to do.
        data_dir: folder of the recipe's zip files.
        teacher_weights: safetensors of `RetinaFace`.
        run_dir: the run's folder; it also keeps the teacher's labels.

    Returns:
        The weights: ``run_dir/NAME.safetensors``, averaged, float32.

    Raises:
        FacetteError: a file is missing or does not fit, or the run folder holds another run.
    """
    torch.manual_seed(recipe.seed)
    student = FacetteDetect()
    run_dir.mkdir(parents=True, exist_ok=True)
    bank = load_bank(recipe, data_dir, teacher_weights, run_dir)
    claim(run_dir, recipe)
    task = DetectorTask(student, recipe)
    kept: dict[str, int] = {}
    for number, each in enumerate(recipe.rounds, 1):
        if each.keep != kept:  # a recipe's round inherits the wish of the round before, which is fulfilled already
            student, kept = _narrow(student, bank, recipe, each), each.keep
            task = DetectorTask(student, recipe)
        fit(task, partial(batches, bank, recipe, each), each.loop, round_folder(run_dir, number))
    weights = run_dir / f"{recipe.name}.safetensors"
    digest = hashlib.sha256(repr(to_dict(recipe)).encode()).hexdigest()
    write_weights(student.state_dict(), weights, {"network": recipe.name, "recipe_sha256": digest})
    return weights


def _narrow(student: FacetteDetect, bank: PhotoBank, recipe: DetectorTraining, each: Round) -> FacetteDetect:
    """What a round that keeps fewer channels begins with."""
    entry = CATALOGUE["facette-detect"]
    pictures = torch.cat([pictures for pictures, *_ in islice(batches(bank, recipe, each, 0), SCORING_BATCHES)])
    model = Model(recipe.name, student.eval(), entry.image, entry.decoder, entry.letterbox, None, (), "")
    narrower = narrow(model, each.keep, pictures.numpy(), each.loop.seed)
    assert isinstance(narrower, FacetteDetect)
    return narrower
