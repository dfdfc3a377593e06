"""Distils a small face embedder from a large one, or from several: same pictures, same embeddings.

The student is cut out of dlib's network (`facette.train.shrink`), or is any embedder that a recipe can name. No label is needed,
so any faces will do as data, and galleries made with the teacher stay valid; where there are labels, a margin softmax can use them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from facette.data.faces import open_faces
from facette.loading import SearchPath, load_embedder
from facette.model import Model
from facette.nets.dlib_resnet import DlibResNet, DlibResNetConfig
from facette.recipe import EmbedderRecipe as NetworkRecipe
from facette.train.augment import Augmentation, central
from facette.train.consensus import consensus
from facette.train.crops import labelled_crops
from facette.train.distillation import Agreement, EmbeddingTask, LossWeights, agreement
from facette.train.hints import HintGiver, Hints
from facette.train.loop import LoopConfig, channels_last, fit, pick_device
from facette.train.margin import Margin, People
from facette.train.pixels import normalize_pixels
from facette.train.run_folder import claim, round_folder
from facette.train.shrink import shrink
from facette.train.student import dlib_teacher, student_model
from facette.train.teacher import Teacher, embedding_size, torch_network
from facette.train.teachers import Combine, Teachers
from facette.train.views import Views, with_margin
from facette.weights import load_weights, write_weights
from facette_runtime.errors import FacetteError
from facette_runtime.types import Detections, Image


@dataclass(frozen=True, slots=True)
class Round:
    """One training of the student, with a schedule of its own.

    Attributes:
        views: different views of each picture; the teacher is asked once for each, and the answer kept.
        loop, augmentation: see there.
        consensus: alignments of each face that the teacher is asked about beforehand, so that its mean answer is the target of
            every view of the face, not what it says of that view (see `facette.train.consensus`). Of views that show a face that
            nobody has it is what it says of the view and of its mirror image, in the mean. 0: what it says of the view.
    """

    views: int
    loop: LoopConfig
    augmentation: Augmentation = field(default_factory=Augmentation)
    consensus: int = 0


@dataclass(frozen=True, slots=True)
class EmbedderRecipe:
    """Everything that decides the weights, besides the data and the teachers' weights.

    Attributes:
        name: of the network.
        data: file or folder names in the data folder (see `facette.data.faces.open_faces`). What is named twice is shown twice as
            often; not the first, of which pictures are held back.
        validation: pictures of the first data set held back.
        loss: see there.
        rounds: trainings one after another, each from the averaged weights that the last one left: warm restarts of the schedule
            (Loshchilov & Hutter, 2017, section 3).
        network: any embedder, as in a compile recipe; without ``weights`` one that does not come with Facette starts from random
            ones. The first teacher by default.
        student: widths of a network cut out of ``network``, which must then be dlib's or one cut out of that. Needed where
            ``network`` is not given.
        fit_pictures: faces that the closed-form cut is fitted on, and the axes of an ensemble.
        teachers: embedders as in a compile recipe; none means dlib's original.
        combine: how several teachers become one target: "concatenate" or "average".
        hints: features of the first teacher to imitate too; it must then be fed like the student.
        margin: a margin softmax on the data's labels beside the distillation.
    """

    name: str
    data: tuple[str, ...]
    validation: int
    loss: LossWeights
    rounds: tuple[Round, ...]
    student: DlibResNetConfig | None = None
    network: NetworkRecipe | None = None
    fit_pictures: int = 2000
    teachers: tuple[NetworkRecipe, ...] = ()
    combine: Combine = "concatenate"
    hints: Hints | None = None
    margin: Margin | None = None

    def __post_init__(self) -> None:
        if self.student is None and self.network is None:
            raise ValueError("give student (widths of a network cut out of dlib's), network (any embedder), or both")
        if not self.rounds:
            raise ValueError("rounds must hold at least one")
        if self.data[0] in self.data[1:]:
            raise ValueError(f"data names {self.data[0]!r} twice; only later sets may be, for the first one's are held back")

    @property
    def seed(self) -> int:
        """The first round's, which decides on all that comes before training too."""
        return self.rounds[0].loop.seed


def load_teachers(recipe: EmbedderRecipe, search: SearchPath) -> list[Model]:
    """The recipe's teachers.

    Raises:
        FacetteError: a network is unknown, or its weights are missing.
    """
    return [load_embedder(wish, search) for wish in recipe.teachers] or [dlib_teacher()]


def train_embedder(
    recipe: EmbedderRecipe,
    data_dir: Path,
    run_dir: Path,
    detect: Callable[[Image], Detections],
    teachers: Sequence[Model],
    search: SearchPath,
) -> Agreement:
    """Aligns the faces, makes the first student, trains, and writes ``run_dir/NAME.safetensors``. Run again, it goes on.

    Args:
        recipe: what to do.
        data_dir: where the recipe's data lies.
        run_dir: the run's folder.
        detect: finds faces in a BGR picture, best first, for the alignment.
        teachers: the networks to imitate; see `load_teachers`.
        search: where the student's weights are looked for.

    Returns:
        The trained student's agreement with the teachers' target on the validation faces.

    Raises:
        FacetteError: data are missing, networks don't fit together, or the run folder holds another run.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    start = run_dir / "start.safetensors"
    base = teachers[0] if recipe.network is None else student_model(recipe.network, search, recipe.seed, start)
    assert base.alignment is not None
    alignment, size = with_margin(base.alignment), base.image.size_wh[0]
    found = [labelled_crops(open_faces(data_dir / name), detect, alignment, _crops(run_dir, name)) for name in recipe.data]
    sets = [crops for crops, _ in found]
    if recipe.validation + recipe.fit_pictures > len(sets[0]):
        raise FacetteError(f"{recipe.data[0]}: {len(sets[0])} faces are too few for {recipe.validation} + {recipe.fit_pictures}")
    claim(run_dir, recipe)
    # Spread over the data set, whose order often follows its labels.
    held_back = np.linspace(0, len(sets[0]) - 1, recipe.validation).astype(int)
    training = np.setdiff1d(np.arange(sum(map(len, sets))), held_back)
    sample = _sample(recipe, sets[0], training[training < len(sets[0])], size)
    model = _cut(recipe.student, base, sample, recipe.seed, run_dir / "cut.safetensors") if recipe.student else base
    people = _people(recipe, [label for _, labels in found for label in labels], embedding_size(model))
    student = torch_network(model)
    task = EmbeddingTask(student, model.image, recipe.loss, _hints(recipe, teachers[0], model), people)
    for number, each in enumerate(recipe.rounds, 1):
        folder = round_folder(run_dir, number)
        single = _teachers(each, teachers, model, sum(map(len, sets)), folder)
        answers = Teachers(single, embedding_size(model), recipe.combine, sample, run_dir / "axes.safetensors")
        kept = folder / "consensus.npy"
        meant = consensus(answers, sets, size, each.consensus, each.augmentation, each.loop.seed, kept)
        fit(task, Views(sets, training, size, answers, each.views, each.augmentation, each.loop, meant).batches, each.loop, folder)
    write_weights(student.state_dict(), run_dir / f"{recipe.name}.safetensors")
    pixels = torch.from_numpy(np.ascontiguousarray(central(sets[0][held_back], size)))
    wanted = answers.ask(pixels) if meant is None else torch.from_numpy(meant[held_back])
    return agreement(student, pixels, wanted, model.image)


def _crops(run_dir: Path, name: str) -> Path:
    return run_dir / f"{Path(name).stem}.npy"


def _sample(recipe: EmbedderRecipe, crops: np.ndarray, rows: np.ndarray, size: int) -> torch.Tensor:
    """Undisturbed training faces, in random order: uint8 [n, size, size, 3]."""
    spread = np.linspace(0, len(rows) - 1, recipe.fit_pictures).astype(int)
    picked = crops[rows[np.random.default_rng(recipe.seed).permutation(spread)]]
    return torch.from_numpy(np.ascontiguousarray(central(picked, size)))


def _cut(widths: DlibResNetConfig, base: Model, sample: torch.Tensor, seed: int, path: Path) -> Model:
    """The cut network, from ``path`` if an earlier start left it there: a resumed run begins with the same weights."""
    student = DlibResNet(widths).eval()
    if path.exists():
        load_weights(student, path)
        return replace(base, network=student)
    network = torch_network(base)
    if not isinstance(network, DlibResNet):
        raise FacetteError(f"student: only dlib's network can be cut to widths, but this is {base.name}; leave out student")
    student = shrink(channels_last(network), widths, sample, lambda part: normalize_pixels(part, base.image), seed)
    write_weights(student.state_dict(), path)
    return replace(base, network=student)


def _teachers(each: Round, teachers: Sequence[Model], student: Model, faces: int, folder: Path) -> list[Teacher]:
    caches = [folder / (f"teacher-{number}.npy" if number else "teacher.npy") for number in range(len(teachers))]
    return [
        Teacher(model, cache, faces, each.views, each.loop, student.alignment, mirrors=each.consensus > 0)
        for model, cache in zip(teachers, caches, strict=True)
    ]


def _hints(recipe: EmbedderRecipe, teacher: Model, student: Model) -> HintGiver | None:
    if recipe.hints is None:
        return None
    if teacher.image != student.image:
        raise FacetteError(f"hints: {teacher.name} is not fed like {student.name}, so their features can't be compared")
    device = pick_device(recipe.rounds[0].loop.device)
    return HintGiver(recipe.hints, copy.deepcopy(torch_network(teacher)), teacher.image, device)


def _people(recipe: EmbedderRecipe, labels: Sequence[str], size: int) -> People | None:
    return None if recipe.margin is None else People.of(labels, size, recipe.margin, recipe.seed)
