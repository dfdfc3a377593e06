"""Distillation from end to end on a tiny data set; the loop's promise that a killed run repeats its curve."""

from __future__ import annotations

import dataclasses
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from facette.catalogue import DLIB_IMAGE
from facette.data.faces import aligned_crops, open_faces
from facette.loading import SearchPath
from facette.model import Model
from facette.nets.dlib_resnet import CHIP_SIZE, DlibResNet, DlibResNetConfig, chip_alignment
from facette.train.augment import Augmentation, augment, central
from facette.train.distillation import Agreement, EmbeddingTask, LossWeights, agreement
from facette.train.embedder import EmbedderRecipe, Round, train_embedder
from facette.train.log import read_log
from facette.train.loop import LoopConfig, OptimizerName, fit, learning_rate, pick_precision
from facette.train.recipe_file import read_training_recipe
from facette.train.teacher import embed, torch_network
from facette.weights import read_weights
from facette.zoo import load_card
from facette_runtime.align import align
from facette_runtime.errors import FacetteError
from facette_runtime.manifest import EmbeddingDecoder
from facette_runtime.schema import to_dict
from facette_runtime.types import Detections, Image

RECIPES = Path(__file__).parents[2] / "toolchain" / "facette" / "train" / "recipes"
TEACHER = DlibResNetConfig((6, 8, 8, 8, 8), (2, 1, 1, 1, 1), (4, 4, 6, 6, 6, 6), 16)
STUDENT = DlibResNetConfig((4, 6, 6, 6, 6), (1, 1, 1, 1, 1), (4, 4, 4, 4, 4), 16)
LOOP = LoopConfig(
    steps=6,
    batch_size=4,
    learning_rate=1e-3,
    warmup_steps=2,
    checkpoint_every=2,
    log_every=1,
    precision="fp32",
    device="cpu",
)


def _recipe(*rounds: Round, student: DlibResNetConfig = STUDENT) -> EmbedderRecipe:
    return EmbedderRecipe("tiny", ("faces",), 4, LossWeights(), rounds or (Round(2, LOOP),), student, fit_pictures=8)


def _teacher() -> Model:
    torch.manual_seed(1)
    decoder = EmbeddingDecoder("embedding", TEACHER.size)
    return Model("teacher", DlibResNet(TEACHER).eval(), DLIB_IMAGE, decoder, None, chip_alignment(), (), "")


def _detect(image: Image) -> Detections:
    """A stand-in that always sees a face at the same place."""
    landmarks = np.array([[[20, 25], [44, 25], [32, 38], [22, 48], [42, 48]]], np.float32)
    return Detections(np.array([[10, 10, 54, 60]], np.float32), np.ones(1, np.float32), landmarks)


def _train(recipe: EmbedderRecipe, data: Path, run: Path) -> Agreement:
    return train_embedder(recipe, data, run, _detect, [_teacher()], SearchPath(data))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder ``faces`` of 16 smooth random pictures."""
    rng = np.random.default_rng(0)
    (tmp_path / "faces").mkdir()
    for index in range(16):
        picture = cv2.resize(rng.integers(0, 256, (6, 6, 3), np.uint8), (64, 64), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(tmp_path / "faces" / f"{index:02}.png"), picture)
    return tmp_path


def test_the_recipe_runs_from_pictures_to_weights(data: Path) -> None:
    result = _train(_recipe(), data, data / "run")
    assert result.pictures == 4
    assert np.isfinite(result.distance)
    assert (data / "run" / "tiny.safetensors").stat().st_size > 1000
    assert [row["step"] for row in read_log(data / "run" / "round-1" / "log.csv")] == ["1", "2", "3", "4", "5", "6"]


def test_training_brings_the_student_closer(data: Path) -> None:
    loop = dataclasses.replace(LOOP, steps=30, ema_decay=0.5)
    still = Augmentation(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    _train(_recipe(Round(2, loop, still)), data, data / "run")
    distances = [float(row["distance"]) for row in read_log(data / "run" / "round-1" / "log.csv")]
    assert np.mean(distances[-5:]) < 0.8 * np.mean(distances[:5])


@pytest.mark.parametrize("optimizer", get_args(OptimizerName))
def test_a_killed_run_repeats_the_curve(data: Path, monkeypatch: pytest.MonkeyPatch, optimizer: OptimizerName) -> None:
    recipe = _recipe(Round(2, dataclasses.replace(LOOP, optimizer=optimizer)))
    _train(recipe, data, data / "whole")
    loss = EmbeddingTask.loss
    calls = 0

    def dies(self: EmbeddingTask, batch: tuple[Tensor, ...]) -> tuple[Tensor, dict[str, float]]:
        nonlocal calls
        calls += 1
        if calls == 4:  # the checkpoint is two steps old then
            raise KeyboardInterrupt
        return loss(self, batch)

    monkeypatch.setattr(EmbeddingTask, "loss", dies)
    with pytest.raises(KeyboardInterrupt):
        _train(recipe, data, data / "killed")
    assert len(read_log(data / "killed" / "round-1" / "log.csv")) == 3
    monkeypatch.setattr(EmbeddingTask, "loss", loss)
    _train(recipe, data, data / "killed")
    curves = [[(row["step"], row["loss"]) for row in read_log(data / run / "round-1" / "log.csv")] for run in ("whole", "killed")]
    assert curves[0] == curves[1]
    assert (data / "whole" / "tiny.safetensors").read_bytes() == (data / "killed" / "tiny.safetensors").read_bytes()


def test_a_second_round_goes_on_from_the_first(data: Path) -> None:
    first, second = Round(2, LOOP), Round(1, dataclasses.replace(LOOP, steps=4, learning_rate=1e-12, ema_decay=0))
    _train(_recipe(first), data, data / "one")
    _train(_recipe(first, second), data, data / "two")
    one, two = (read_weights(data / run / "tiny.safetensors") for run in ("one", "two"))
    # A round that learns nothing leaves the first round's averaged weights as they were.
    assert all(torch.allclose(one[name], two[name], atol=1e-6) for name in one)
    assert len(read_log(data / "two" / "round-2" / "log.csv")) == 4


def test_a_round_can_aim_at_what_the_teacher_means(data: Path) -> None:
    still = Augmentation(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    said, meant = (Round(2, LOOP, still, consensus) for consensus in (0, 2))
    apart = [_train(_recipe(each), data, data / f"run-{each.consensus}").distance for each in (said, meant)]
    assert apart[0] != apart[1]
    target = np.load(data / "run-2" / "round-1" / "consensus.npy")
    assert target.shape == (16, 16)
    assert np.isfinite(target).all()
    assert not (data / "run-2" / "round-1" / "teacher.npy").exists()
    assert (data / "run-0" / "round-1" / "teacher.npy").exists()


def test_a_data_set_named_twice_is_shown_twice_as_often(data: Path) -> None:
    shutil.copytree(data / "faces", data / "more")
    _train(dataclasses.replace(_recipe(Round(1, LOOP)), data=("faces", "more", "more")), data, data / "run")
    assert len(np.load(data / "run" / "round-1" / "teacher.npy")[0]) == 3 * 16
    with pytest.raises(ValueError, match="data names 'faces' twice"):
        dataclasses.replace(_recipe(), data=("faces", "more", "faces"))


def test_a_recipe_without_rounds_is_refused() -> None:
    with pytest.raises(ValueError, match="rounds"):
        EmbedderRecipe("tiny", ("faces",), 4, LossWeights(), (), STUDENT)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (_recipe(Round(2, dataclasses.replace(LOOP, learning_rate=0.1))), "made with learning_rate"),
        (_recipe(Round(2, LOOP, Augmentation(mix=1.0))), "round-1/round.json: made with augmentation"),
        (_recipe(Round(2, LOOP, consensus=3)), "made with consensus = 0, not 3"),
        (_recipe(student=dataclasses.replace(STUDENT, streams=(5, 6, 6, 6, 6))), "recipe.json: made with student"),
        (dataclasses.replace(_recipe(), loss=LossWeights(relation=2.0)), "made with loss"),
    ],
)
def test_another_recipe_does_not_continue_a_run(data: Path, changed: EmbedderRecipe, message: str) -> None:
    _train(_recipe(), data, data / "run")
    weights = (data / "run" / "tiny.safetensors").read_bytes()
    with pytest.raises(FacetteError, match=message):
        _train(changed, data, data / "run")
    assert (data / "run" / "tiny.safetensors").read_bytes() == weights


def test_another_network_does_not_continue_a_run(data: Path) -> None:
    _train(_recipe(), data, data / "run")
    (data / "run" / "recipe.json").unlink()
    with pytest.raises(FacetteError, match="DlibResNet has"):
        _train(_recipe(student=dataclasses.replace(STUDENT, streams=(5, 6, 6, 6, 6))), data, data / "run")


def test_a_finished_run_takes_a_round_more(data: Path) -> None:
    _train(_recipe(Round(2, LOOP)), data, data / "run")
    _train(_recipe(Round(2, LOOP), Round(2, LOOP)), data, data / "run")
    _train(_recipe(Round(2, LOOP), Round(2, LOOP)), data, data / "at-once")
    assert (data / "run" / "tiny.safetensors").read_bytes() == (data / "at-once" / "tiny.safetensors").read_bytes()


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    class Task:
        student: nn.Module = nn.Linear(2, 1)

        def loss(self, batch: Tensor) -> tuple[Tensor, dict[str, float]]:
            return self.student(batch).sum() * float("nan"), {}

    def batches(_first: int) -> Iterator[Tensor]:
        while True:
            yield torch.ones(4, 2)

    with pytest.raises(FacetteError, match="nan"):
        fit(Task(), batches, LOOP, tmp_path)


def test_the_schedule_warms_up_and_ends_near_zero() -> None:
    config = dataclasses.replace(LOOP, steps=100, warmup_steps=10, learning_rate=1.0)
    assert learning_rate(0, config) == pytest.approx(0.1)
    assert learning_rate(9, config) == learning_rate(10, config) == 1.0
    assert learning_rate(55, config) == pytest.approx(0.5)
    assert learning_rate(99, config) < 1e-3


def test_fp16_is_refused_on_a_cpu() -> None:
    with pytest.raises(FacetteError, match="bf16"):
        pick_precision("fp16", torch.device("cpu"))


def test_a_view_depends_on_its_seed_alone() -> None:
    face = np.random.default_rng(0).integers(0, 256, (182, 182, 3), np.uint8)
    strong = Augmentation(grey=0.5, blur=0.5, noise=0.5, jpeg=0.5, low_resolution=0.5, occlusion=0.5, mix=0.5)
    views = [augment(face, face[::-1], CHIP_SIZE, strong, np.random.default_rng(seed)).pixels for seed in (3, 3, 4)]
    assert views[0].shape == (CHIP_SIZE, CHIP_SIZE, 3)
    assert np.array_equal(views[0], views[1])
    assert not np.array_equal(views[0], views[2])


def test_without_disturbance_a_view_is_the_centre() -> None:
    face = np.random.default_rng(0).integers(0, 256, (182, 182, 3), np.uint8)
    still = Augmentation(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    view = augment(face, face, CHIP_SIZE, still, np.random.default_rng(0)).pixels
    assert np.abs(view.astype(int) - central(face, CHIP_SIZE)).max() <= 2


def test_agreement_of_a_network_with_itself_is_perfect() -> None:
    crops = np.random.default_rng(0).integers(0, 256, (3, CHIP_SIZE, CHIP_SIZE, 3), np.uint8)
    network, pixels = torch_network(_teacher()), torch.from_numpy(crops)
    same = agreement(network, pixels, torch.from_numpy(embed(network, pixels, DLIB_IMAGE, torch.device("cpu"))), DLIB_IMAGE)
    assert same.distance == pytest.approx(0, abs=1e-6)
    assert same.cosine == pytest.approx(1)


@pytest.mark.parametrize("kind", ["folder", "zip", "csv"])
def test_faces_come_from_folders_zips_and_csv(data: Path, kind: str) -> None:
    folder = data / "faces"
    if kind == "zip":
        path = data / "faces.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for file in sorted(folder.iterdir()):
                archive.write(file, f"faces/{file.name}")
    elif kind == "csv":
        path = data / "faces.csv"
        path.write_text("path,label\n" + "".join(f"faces/{index:02}.png,person{index}\n" for index in range(16)))
    else:
        path = folder
    faces = open_faces(path)
    assert len(faces) == 16
    assert np.array_equal(faces.picture(3), np.asarray(cv2.imread(str(folder / "03.png"))))
    assert faces.labels[3] == {"folder": "", "zip": "faces", "csv": "person3"}[kind]


def test_pictures_without_a_face_are_left_out_and_crops_are_kept(data: Path) -> None:
    faces = open_faces(data / "faces")
    nobody = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros((0, 5, 2), np.float32))
    seen: list[int] = []

    def every_other(image: Image) -> Detections:
        seen.append(len(seen))
        return _detect(image) if len(seen) % 2 else nobody

    crops = aligned_crops(faces, every_other, chip_alignment(), data / "crops.npy")
    assert crops.shape == (8, CHIP_SIZE, CHIP_SIZE, 3)
    assert np.array_equal(crops[1], align(faces.picture(2), _detect(faces.picture(2)).landmarks_xy[0], chip_alignment()))
    aligned_crops(faces, every_other, chip_alignment(), data / "crops.npy")
    assert len(seen) == 16
    with pytest.raises(FacetteError, match="no face"):
        aligned_crops(faces, lambda _image: nobody, chip_alignment(), data / "none.npy")


def test_what_is_no_data_set_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "bad.csv").write_text("file,who\na.png,b\n")
    for name, message in [
        ("empty", "no pictures"),
        ("notes.txt", "valid: a folder"),
        ("bad.csv", "path,label"),
        ("gone", "no such"),
    ]:
        with pytest.raises(FacetteError, match=message):
            open_faces(tmp_path / name)


@pytest.mark.parametrize("name", ["facette-embed", "facette-embed-xs"])
def test_the_shipped_recipes_make_what_the_cards_tell(name: str) -> None:
    student = read_training_recipe(EmbedderRecipe, RECIPES / f"{name}.toml").student
    assert student is not None
    assert to_dict(student).items() >= {key: list(widths) for key, widths in load_card(name).widths.items()}.items()
