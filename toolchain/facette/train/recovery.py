"""What passes that train have in common: a changed network learns to give the original's embeddings again. That takes no labels;
where there are some, it can be pushed to tell those people apart as well."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from torch import nn

from facette.model import Model
from facette.train.augment import Augmentation
from facette.train.consensus import consensus
from facette.train.distillation import EmbeddingTask, LossWeights
from facette.train.hints import HintGiver, Hints
from facette.train.loop import LoopConfig, OptimizerName, TrainPrecision, contiguous, fit, pick_device
from facette.train.margin import Margin, People
from facette.train.quick import quicken, restore
from facette.train.teacher import Teacher, embedding_size
from facette.train.views import Views, with_margin
from facette_runtime.errors import FacetteError
from facette_runtime.manifest import Alignment

BY_COSINE = LossWeights(normalize=True)
"""Embeddings compared at length one, as the runtime compares them."""

NO_HINTS = Hints()
AS_SEEN = Augmentation()


@dataclass(frozen=True, slots=True)
class Recovery:
    """How a network is trained back to what it was.

    Attributes:
        steps, batch, learning_rate, weight_decay, warmup, ema, clip, optimizer, seed, precision: see `LoopConfig`.
        views: different views of each face; the teacher is asked once for each, and the answer kept.
        loss: weights of the loss's parts.
        hints: features of the teacher to imitate too; none by default.
        margin: pushes the network to tell people apart too, which takes photos with labels; None leaves it out.
        augmentation: how strong the views are disturbed.
        consensus: alignments of each face that the teacher is asked about beforehand, so that its mean answer is the target of
            every view of the face, not what it says of that view (see `facette.train.consensus`). Of views that show a face that
            nobody has it is what it says of the view and of its mirror image, in the mean. 0: what it says of the view.
        repeats: how often an epoch shows the faces of each data set, each time in another view; once by default.
        checkpoint_every: in steps.
    """

    steps: int = 4000
    batch: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    warmup: int = 100
    ema: float = 0.998
    clip: float = 1.0
    optimizer: OptimizerName = "adamw"
    seed: int = 0
    views: int = 3
    loss: LossWeights = BY_COSINE
    hints: Hints = NO_HINTS
    margin: Margin | None = None
    augmentation: Augmentation = AS_SEEN
    consensus: int = 0
    repeats: tuple[int, ...] = ()
    precision: TrainPrecision = "auto"
    checkpoint_every: int = 200

    @property
    def loop(self) -> LoopConfig:
        """What the training loop is told."""
        return LoopConfig(
            steps=self.steps,
            batch_size=self.batch,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            optimizer=self.optimizer,
            warmup_steps=self.warmup,
            ema_decay=self.ema,
            clip_norm=self.clip,
            checkpoint_every=self.checkpoint_every,
            seed=self.seed,
            precision=self.precision,
            freeze_batch_norm=True,
        )


def training_alignment(model: Model) -> Alignment:
    """How faces are cut for training: the model's own scale, with a border for rotation and shift.

    Raises:
        FacetteError: the model is no embedder, or its crop is not square.
    """
    if model.alignment is None:
        raise FacetteError(f"{model.name}: is a detector; only an embedder can be distilled")
    return with_margin(model.alignment)


def check_crops(model: Model, teacher: Model, crops: Sequence[np.ndarray]) -> None:
    """Refuses what training could not use.

    Raises:
        FacetteError: crops of another kind than `training_alignment` gives of the teacher, or a teacher that takes other pictures
            than the same ones in more pixels.
    """
    side = training_alignment(teacher).size_wh[0]
    for part in crops:
        if part.dtype != np.uint8 or part.shape[1:] != (side, side, 3):
            raise FacetteError(f"{model.name}: crops must be uint8 [n, {side}, {side}, 3], but got {part.dtype} {part.shape}")
    if replace(teacher.image, size_wh=model.image.size_wh) != model.image or teacher.image.size_wh < model.image.size_wh:
        raise FacetteError(f"teacher {teacher.name} is not fed like {model.name}: {teacher.image} against {model.image}")


def recover(
    student: nn.Module,
    model: Model,
    teacher: Model,
    original: nn.Module,
    settings: Recovery,
    crops: Sequence[np.ndarray],
    run_dir: Path,
    labels: Sequence[str] = (),
) -> nn.Module:
    """Trains ``student`` in place and returns it, in eval mode on the CPU.

    Args:
        student: what is trained.
        model: says how the student is fed.
        teacher: the original; sees each view in all its pixels, the student perhaps in fewer.
        original: its module, whose features hints come from; may be changed.
        settings: how.
        crops: uint8 [n, s, s, 3] arrays, BGR, cut by the teacher's `training_alignment`.
        run_dir: the run's folder. An unfinished run in it goes on exactly where it was; a finished one is not repeated.
        labels: whose face each crop shows, "" where nobody says; for ``settings.margin`` only.

    Raises:
        FacetteError: there are too few faces, the run folder holds another run, or there is a margin and too few people for it.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    config = settings.loop
    faces = np.arange(sum(map(len, crops)))
    quicken(student)
    hints = HintGiver(settings.hints, original, teacher.image, pick_device(config.device)) if settings.hints.layers else None
    # With hints the teacher is run at every step anyway, and gives its answer along with them.
    answers = meant = None
    size = teacher.image.size_wh[0]
    if settings.consensus or not hints:
        cache, kept = run_dir / "teacher.npy", run_dir / "consensus.npy"
        answers = Teacher(teacher, cache, len(faces), settings.views, config, mirrors=settings.consensus > 0)
        meant = consensus(answers, crops, size, settings.consensus, settings.augmentation, settings.seed, kept)
    people = People.of(labels, embedding_size(model), settings.margin, settings.seed) if settings.margin else None
    task = EmbeddingTask(student, model.image, settings.loss, hints, people)
    source = Views(crops, faces, size, answers, settings.views, settings.augmentation, config, meant)
    fit(task, source.batches, config, run_dir)
    return contiguous(restore(student)).eval()
