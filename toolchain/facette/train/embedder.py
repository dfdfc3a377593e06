"""Distils a small face embedder from a large one: same pictures, same embeddings.

The student is cut out of the teacher (`facette.train.shrink`) and trained to give the teacher's embedding of every
view. No label is used, so galleries made with the teacher stay valid and any faces will do as data.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from facette.data.faces import aligned_crops, open_faces
from facette.nets.dlib_resnet import CHIP_SIZE, DlibResNet, DlibResNetConfig, chip_alignment
from facette.train.augment import Augmentation, central
from facette.train.loop import LoopConfig, channels_last, fit
from facette.train.shrink import shrink
from facette.train.teacher import Teacher, embed, normalize_pixels
from facette.train.views import Views
from facette.weights import load_weights, write_weights
from facette_runtime.errors import FacetteError
from facette_runtime.types import Detections, Image

MARGIN_SIZE = 182  # side of the cached crops: CHIP_SIZE and a margin for the augmentation


@dataclass(frozen=True, slots=True)
class LossWeights:
    """Weights of the parts of the loss.

    Attributes:
        distance: mean Euclidean distance of student and teacher embedding.
        squared: mean squared distance; punishes the worst faces more.
        cosine: one minus their cosine.
        relation: mean absolute difference of the two batches' matrices of pairwise distances (Park et al.,
            "Relational knowledge distillation", 2019, section 3.2.1, not normalised, since the scale of the distances
            must be kept).
    """

    distance: float = 1.0
    squared: float = 1.0
    cosine: float = 1.0
    relation: float = 0.5


@dataclass(frozen=True, slots=True)
class EmbedderRecipe:
    """Everything that decides the weights, besides the data and the teacher.

    Attributes:
        name: of the network.
        student: its widths.
        data: file or folder names in the data folder (see `facette.data.faces.open_faces`).
        validation: pictures of the first data set held back.
        fit_pictures: faces that the closed-form cut is fitted on.
        views: different views of each picture; the teacher is asked once for each, and the answer kept.
    """

    name: str
    student: DlibResNetConfig
    data: tuple[str, ...]
    validation: int
    fit_pictures: int
    views: int
    loss: LossWeights
    augmentation: Augmentation
    loop: LoopConfig


@dataclass(frozen=True, slots=True)
class Agreement:
    """How close a student's embeddings are to the teacher's.

    Attributes:
        distance: mean Euclidean distance, un-normalised embeddings.
        cosine: mean cosine.
        pictures: how many faces.
    """

    distance: float
    cosine: float
    pictures: int


def train_embedder(
    recipe: EmbedderRecipe,
    data_dir: Path,
    run_dir: Path,
    detect: Callable[[Image], Detections],
    teacher: DlibResNet,
) -> Agreement:
    """Aligns the faces, cuts the teacher down, trains, and writes ``run_dir/NAME.safetensors``. Run again, it goes on.

    Args:
        recipe: what to do.
        data_dir: where the recipe's data lies.
        run_dir: the run's folder.
        detect: finds faces in a BGR picture, best first, for the alignment.
        teacher: the network to imitate, in eval mode; usually `facette.importers.dlib.read_dlib`'s.

    Returns:
        The trained student's agreement with the teacher on the validation faces.

    Raises:
        FacetteError: data are missing, or the run folder holds another run.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    alignment = chip_alignment(MARGIN_SIZE, (MARGIN_SIZE / CHIP_SIZE * 1.5 - 1) / 2)
    sets = [
        aligned_crops(open_faces(data_dir / name), detect, alignment, run_dir / f"{Path(name).stem}.npy") for name in recipe.data
    ]
    if recipe.validation + recipe.fit_pictures > len(sets[0]):
        raise FacetteError(f"{recipe.data[0]}: {len(sets[0])} faces are too few for {recipe.validation} + {recipe.fit_pictures}")
    # Spread over the data set, whose order often follows its labels.
    held_back = np.linspace(0, len(sets[0]) - 1, recipe.validation).astype(int)
    training = np.setdiff1d(np.arange(sum(map(len, sets))), held_back)
    student = _first_student(recipe, teacher, sets[0], training[training < len(sets[0])], run_dir / "cut.safetensors")
    answers = Teacher(teacher, run_dir / "teacher.npy", sum(map(len, sets)), recipe.views, recipe.loop)
    source = Views(sets, training, answers, recipe.views, recipe.augmentation, recipe.loop)
    network = fit(EmbeddingTask(student, recipe.loss), source.batches, recipe.loop, run_dir)
    write_weights(network.state_dict(), run_dir / f"{recipe.name}.safetensors")
    return agreement(network, teacher.cpu(), central(sets[0][held_back], CHIP_SIZE))


def _first_student(recipe: EmbedderRecipe, teacher: DlibResNet, crops: np.ndarray, rows: np.ndarray, path: Path) -> DlibResNet:
    """The cut network, from ``path`` if an earlier start left it there: a resumed run begins with the same weights."""
    if path.exists():
        student = DlibResNet(recipe.student)
        load_weights(student, path)
        return student
    spread = np.linspace(0, len(rows) - 1, recipe.fit_pictures).astype(int)
    picked = crops[rows[np.random.default_rng(recipe.loop.seed).permutation(spread)]]
    pixels = torch.from_numpy(np.ascontiguousarray(central(picked, CHIP_SIZE)))
    student = shrink(channels_last(teacher), recipe.student, pixels, normalize_pixels, recipe.loop.seed)
    write_weights(student.state_dict(), path)
    return student


class EmbeddingTask:
    """The distillation loss; a batch is uint8 [n, size, size, 3] BGR pixels and the teacher's float32 [n, d]."""

    def __init__(self, student: nn.Module, weights: LossWeights) -> None:
        self.student: nn.Module = channels_last(student)
        self._weights = weights

    def loss(self, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, dict[str, float]]:
        pixels, wanted = batch
        found = self.student(normalize_pixels(pixels)).float()
        squared = (found - wanted).square().sum(1)
        distance = (squared + 1e-8).sqrt().mean()
        cosine = 1 - F.cosine_similarity(found, wanted).mean()
        relation = (_distances(found) - _distances(wanted)).abs().mean()
        weights = self._weights
        total = (
            weights.distance * distance + weights.squared * squared.mean() + weights.cosine * cosine + weights.relation * relation
        )
        return total, {
            "distance": float(distance.detach()),
            "cosine": float(cosine.detach()),
            "relation": float(relation.detach()),
        }


def agreement(student: nn.Module, teacher: nn.Module, crops: Image) -> Agreement:
    """Compares the two networks, both in eval mode on the CPU, on uint8 [n, size, size, 3] BGR crops."""
    pixels = torch.from_numpy(np.ascontiguousarray(crops))
    ours, theirs = (torch.from_numpy(embed(network, pixels, torch.device("cpu"))) for network in (student, teacher))
    return Agreement(float((ours - theirs).norm(dim=1).mean()), float(F.cosine_similarity(ours, theirs).mean()), len(pixels))


def _distances(x: Tensor) -> Tensor:
    # Through the Gram matrix: torch.cdist has no gradient at distance zero, which every face has to itself.
    squares = x.square().sum(1)
    return (squares[:, None] + squares - 2 * x @ x.T).clamp_min(1e-6).sqrt()
