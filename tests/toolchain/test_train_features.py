"""What a training recipe can ask for beside plain distillation: ensembles, hints, margins, logs; and a kill that is a real one."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from facette.data.faces import Faces, open_faces
from facette.loading import SearchPath
from facette.model import Model
from facette.recipe import EmbedderRecipe as NetworkRecipe
from facette.train.augment import Augmentation
from facette.train.crops import labelled_crops, mirrored
from facette.train.distillation import Agreement, LossWeights
from facette.train.embedder import EmbedderRecipe, Round, train_embedder
from facette.train.hints import Hints
from facette.train.log import read_log
from facette.train.loop import LoopConfig
from facette.train.margin import UNKNOWN, Margin, MarginHead, classes_of
from facette.train.recipe_file import read_training_recipe
from facette.train.teacher import Teacher
from facette.train.teachers import Teachers
from facette.weights import read_weights
from facette_runtime.align import align
from facette_runtime.errors import FacetteError
from facette_runtime.manifest import Alignment, EmbeddingDecoder
from facette_runtime.types import Detections, Image
from tests.toolchain.faces import SIDE, TEMPLATE, detect_middle, small_model, smooth_pictures, write_photos

ROOT = Path(__file__).parents[2]
STILL = Augmentation(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
LOOP = LoopConfig(
    steps=40,
    batch_size=8,
    learning_rate=5e-3,
    warmup_steps=2,
    ema_decay=0.5,
    checkpoint_every=5,
    log_every=1,
    precision="fp32",
    device="cpu",
)
STUDENT = NetworkRecipe(
    "tests.toolchain.faces:SmallEmbedder",
    image=small_model().image,
    decoder=EmbeddingDecoder("embedding", 6),
    alignment=Alignment((SIDE, SIDE), TEMPLATE),
)


def _recipe(loop: LoopConfig = LOOP, **changes: object) -> EmbedderRecipe:
    recipe = EmbedderRecipe("tiny", ("faces",), 4, LossWeights(), (Round(1, loop, STILL),), network=STUDENT, fit_pictures=12)
    return dataclasses.replace(recipe, **changes)  # type: ignore[arg-type]


def _train(recipe: EmbedderRecipe, data: Path, run: str, *teachers: Model) -> Agreement:
    return train_embedder(recipe, data, data / run, detect_middle, teachers or [small_model(7)], SearchPath(data))


def _curve(data: Path, run: str, column: str) -> list[float]:
    return [float(row[column]) for row in read_log(data / run / "round-1" / "log.csv")]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder ``faces`` with four pictures each of six people."""
    write_photos(tmp_path / "faces", 24, people=6)
    return tmp_path


def test_any_network_learns_from_random_weights(data: Path) -> None:
    _train(_recipe(), data, "run")
    losses = _curve(data, "run", "loss")
    assert np.mean(losses[-5:]) < 0.6 * np.mean(losses[:5])
    assert "stem.weight" in read_weights(data / "run" / "tiny.safetensors")


def test_a_seed_reproduces_and_another_does_not(data: Path) -> None:
    for run, seed in (("one", 3), ("same", 3), ("other", 4)):
        _train(_recipe(loop=dataclasses.replace(LOOP, steps=4, seed=seed)), data, run)
    weights = [(data / run / "tiny.safetensors").read_bytes() for run in ("one", "same", "other")]
    assert weights[0] == weights[1] != weights[2]


@pytest.mark.parametrize("by", ["arcface", "adaface"])
def test_a_margin_softmax_tells_people_apart(data: Path, by: str) -> None:
    margin = Margin(by=by, margin=0.3, scale=16.0, weight=1.0)  # type: ignore[arg-type]
    loss = LossWeights(distance=0, squared=0, cosine=0.1, relation=0)
    _train(_recipe(margin=margin, loss=loss, loop=dataclasses.replace(LOOP, learning_rate=0.02)), data, "run")
    losses = _curve(data, "run", "margin")
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])


def test_hints_fall(data: Path) -> None:
    _train(_recipe(hints=Hints(layers=(("deep", "deep"),), weight=2.0)), data, "run")
    losses = _curve(data, "run", "hint")
    assert losses[-1] < 0.8 * losses[0]


def test_an_ensemble_of_other_widths_is_matched(data: Path) -> None:
    _train(_recipe(), data, "run", small_model(7, size=5), small_model(8, size=4))
    losses = _curve(data, "run", "loss")
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])
    assert read_weights(data / "run" / "axes.safetensors")["axes"].shape == (9, 6)


def _teachers(tmp_path: Path, size: int, *models: Model, combine: str = "concatenate") -> tuple[Teachers, torch.Tensor]:
    pixels = torch.from_numpy(smooth_pictures(32, SIDE))
    single = [Teacher(model, tmp_path / f"{n}.npy", 32, 1, LOOP) for n, model in enumerate(models)]
    return Teachers(single, size, combine, pixels, tmp_path / "axes.safetensors"), pixels  # type: ignore[arg-type]


def _cosines(x: torch.Tensor) -> torch.Tensor:
    return F.normalize(x) @ F.normalize(x).T


def test_a_single_teacher_is_passed_on(tmp_path: Path) -> None:
    model = small_model()
    teachers, pixels = _teachers(tmp_path, 6, model)
    assert torch.equal(teachers(pixels, 0, np.arange(32)), Teacher(model, tmp_path / "x.npy", 32, 1, LOOP).ask(pixels))


def test_concatenation_means_the_cosines(tmp_path: Path) -> None:
    models = small_model(1), small_model(2, size=4)
    teachers, pixels = _teachers(tmp_path, 10, *models)
    alone = [_cosines(Teacher(model, tmp_path / "x.npy", 32, 1, LOOP).ask(pixels)) for model in models[:1]]
    alone.append(_cosines(Teacher(models[1], tmp_path / "y.npy", 32, 1, LOOP).ask(pixels)))
    assert torch.allclose(_cosines(teachers.ask(pixels)), (alone[0] + alone[1]) / 2, atol=1e-5)


def test_a_narrower_target_is_filled_up_and_a_wider_one_keeps_most(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    model = small_model(1, size=6)
    wide, pixels = _teachers(tmp_path / "a", 9, model)
    narrow, _ = _teachers(tmp_path / "b", 5, model)
    exact = _cosines(Teacher(model, tmp_path / "x.npy", 32, 1, LOOP).ask(pixels))
    assert wide.ask(pixels).shape == (32, 9)
    assert torch.allclose(_cosines(wide.ask(pixels)), exact, atol=1e-6)
    assert narrow.ask(pixels).shape == (32, 5)
    assert (_cosines(narrow.ask(pixels)) - exact).abs().mean() < 0.05


def test_teachers_of_other_widths_are_not_averaged(tmp_path: Path) -> None:
    with pytest.raises(FacetteError, match="concatenate"):
        _teachers(tmp_path, 6, small_model(1), small_model(2, size=4), combine="average")


def test_a_teacher_with_another_alignment_sees_the_same_view(tmp_path: Path) -> None:
    model = small_model()
    shifted = Alignment((SIDE, SIDE), tuple((x + 3, y) for x, y in TEMPLATE))
    pixels = torch.from_numpy(smooth_pictures(4, SIDE))
    moved = torch.roll(pixels, 3, dims=2)  # where the shifted alignment would have put the faces
    asked = Teacher(model, tmp_path / "a.npy", 4, 1, LOOP, shifted).ask(moved)
    exact = Teacher(model, tmp_path / "b.npy", 4, 1, LOOP).ask(pixels)
    wrong = Teacher(model, tmp_path / "c.npy", 4, 1, LOOP).ask(moved)
    assert (asked - exact).norm() < 0.5 * (wrong - exact).norm()


def test_classes_leave_out_who_is_seen_once() -> None:
    classes, count = classes_of(["b", "a", "", "b", "c", "a"], smallest=2)
    assert classes.tolist() == [1, 0, UNKNOWN, 1, UNKNOWN, 0]
    assert count == 2
    with pytest.raises(FacetteError, match="sub-folder for each person"):
        classes_of(["", ""], smallest=1)


def test_a_margin_makes_the_own_class_harder() -> None:
    torch.manual_seed(0)
    embeddings, classes = torch.randn(8, 6) * 20, torch.arange(8) % 3
    losses = []
    for margin in (0.0, 0.3):
        torch.manual_seed(1)
        losses.append(float(MarginHead(3, 6, Margin(margin=margin, scale=8.0))(embeddings, classes).detach()))
    assert losses[1] > losses[0]
    unknown = MarginHead(3, 6, Margin())(embeddings, torch.full((8,), UNKNOWN))
    assert float(unknown.detach()) == 0


def test_tensorboard_holds_the_same_numbers(data: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]

    _train(_recipe(loop=dataclasses.replace(LOOP, steps=6, log=("csv", "tensorboard"))), data, "run")
    events = EventAccumulator(str(data / "run" / "round-1" / "tensorboard")).Reload()
    assert [event.value for event in events.Scalars("loss")] == pytest.approx(_curve(data, "run", "loss"), rel=1e-4)


def test_a_missing_tensorboard_is_named(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(FacetteError, match="pip install tensorboard"):
        _train(_recipe(loop=dataclasses.replace(LOOP, log=("tensorboard",))), data, "run")


def _process(data: Path, run: str) -> subprocess.Popen[bytes]:
    script = (
        "import sys; from pathlib import Path; import torch; torch.set_num_threads(1);"
        "from tests.toolchain import test_train_features as t; data = Path(sys.argv[1]); t._train(t._recipe(), data, sys.argv[2])"
    )
    paths = os.pathsep.join(str(ROOT / part) for part in (".", "toolchain", "runtime"))
    environment = {**os.environ, "PYTHONPATH": paths}
    return subprocess.Popen([sys.executable, "-c", script, str(data), run], env=environment, stderr=subprocess.DEVNULL)


def test_a_run_that_was_really_killed_repeats_the_curve(data: Path) -> None:
    assert _process(data, "whole").wait(120) == 0
    process = _process(data, "killed")
    log = data / "killed" / "round-1" / "log.csv"
    deadline = time.monotonic() + 120
    while not (log.exists() and len(log.read_text().splitlines()) > 12):
        assert process.poll() is None, "the run was over before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    assert process.wait(60) == -signal.SIGKILL
    assert not (data / "killed" / "tiny.safetensors").exists()
    assert _process(data, "killed").wait(120) == 0
    assert _curve(data, "killed", "loss") == _curve(data, "whole", "loss")
    assert (data / "killed" / "tiny.safetensors").read_bytes() == (data / "whole" / "tiny.safetensors").read_bytes()


def test_a_recipe_names_a_student() -> None:
    with pytest.raises(ValueError, match="give student"):
        _recipe(network=None)


FULL_RECIPE = """
name = "mine"
data = ["people"]
validation = 10
combine = "concatenate"
loss = { distance = 0.5, squared = 0.0, cosine = 1.0, relation = 1.0, normalize = true }
hints = { layers = [["stage4", "stage4"]], of = "attention", weight = 0.5 }
margin = { by = "adaface", margin = 0.4, scale = 32.0, weight = 0.1 }

[[rounds]]
views = 2
augmentation = { rotation_degrees = 5.0 }
loop = { steps = 10, batch_size = 4, learning_rate = 1e-3, log = ["csv", "tensorboard"] }

[[rounds]]
views = 3
loop = { seed = 1, steps = 5, batch_size = 4, learning_rate = 1e-4 }

[network]
network = "mobilefacenet-y1"

[[teachers]]
network = "mobilefacenet-y1"
weights = "mobilefacenet-y1.safetensors"

[[teachers]]
network = "facette-embed"
"""


def test_every_key_of_a_recipe_is_read(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(FULL_RECIPE)
    recipe = read_training_recipe(EmbedderRecipe, path)
    assert recipe.network == NetworkRecipe("mobilefacenet-y1")
    assert [teacher.network for teacher in recipe.teachers] == ["mobilefacenet-y1", "facette-embed"]
    assert [each.views for each in recipe.rounds] == [2, 3]
    assert recipe.margin == Margin("adaface", 0.4, 32.0, 0.1)
    assert recipe.hints == Hints((("stage4", "stage4"),), "attention", 0.5)
    path.write_text(FULL_RECIPE.replace("combine =", "combined ="))
    with pytest.raises(FacetteError, match="known keys: name, data"):
        read_training_recipe(EmbedderRecipe, path)


def test_a_round_takes_what_it_leaves_out_from_the_round_before(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(FULL_RECIPE + "\n[[rounds]]\nloop.seed = 7\n")
    first, second, third = read_training_recipe(EmbedderRecipe, path).rounds
    assert first.augmentation == second.augmentation == Augmentation(rotation_degrees=5.0)
    assert second.loop == dataclasses.replace(first.loop, seed=1, steps=5, learning_rate=1e-4)
    assert third == dataclasses.replace(second, loop=dataclasses.replace(second.loop, seed=7))


@pytest.mark.parametrize(
    ("rounds", "message"),
    [
        ("rounds = 2", "rounds"),
        ("rounds = [{ views = 2 }, 3]", "rounds"),
        ("[[rounds]]\nview = 2", "known keys: views, loop"),
        ("[[rounds]]\nviews = 2", "loop"),
    ],
)
def test_rounds_that_are_none_are_refused(tmp_path: Path, rounds: str, message: str) -> None:
    path = tmp_path / "mine.toml"
    head = FULL_RECIPE[: FULL_RECIPE.index("[[rounds]]")]
    path.write_text(f"{head}\n{rounds}\n")
    with pytest.raises(FacetteError, match=message):
        read_training_recipe(EmbedderRecipe, path)


def test_labels_follow_the_faces_that_were_found(data: Path) -> None:
    faces = open_faces(data / "faces")
    nobody = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros((0, 5, 2), np.float32))
    seen: list[int] = []

    def every_other(image: Image) -> Detections:
        seen.append(0)
        return detect_middle(image) if len(seen) % 2 else nobody

    alignment = small_model().alignment
    assert alignment is not None
    for _ in range(2):  # the second time from the file
        crops, labels = labelled_crops(faces, every_other, alignment, data / "crops.npy")
        assert len(crops) == len(labels) == 12
        assert labels == faces.labels[::2]


def test_training_crops_have_no_black_borders(tmp_path: Path) -> None:
    (tmp_path / "faces").mkdir()
    bright = np.random.default_rng(0).integers(100, 256, (48, 48, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "faces" / "a.png"), bright)
    landmarks = np.array([[[6, 17], [18, 15], [12, 23], [7, 30], [18, 31]]], np.float32)  # near the left edge
    tight = Detections(np.array([[0, 8, 26, 40]], np.float32), np.ones(1, np.float32), landmarks)
    alignment = small_model().alignment
    assert alignment is not None
    crops, _ = labelled_crops(open_faces(tmp_path / "faces"), lambda _image: tight, alignment, tmp_path / "crops.npy")
    assert align(bright, landmarks[0], alignment).min() == 0
    assert crops.min() >= 100


@pytest.mark.parametrize("shape", [(64, 64), (61, 50), (40, 63)])
def test_pictures_are_mirrored_beyond_their_edges_and_faces_stay_where_they_are(data: Path, shape: tuple[int, int]) -> None:
    original = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    code = cv2.imencode(".png", original)[1].tobytes()
    seen: list[Image] = []

    def detect(image: Image) -> Detections:
        seen.append(image)
        return detect_middle(image)

    faces, within = mirrored(Faces(("a.png",), ("",), lambda _name: code), detect)
    picture = faces.picture(0)
    top, left = shape[0] // 2, shape[1] // 2
    assert picture.shape == (shape[0] + 2 * top, shape[1] + 2 * left, 3)
    assert np.array_equal(picture[top - 1, left:-left], original[1])
    found = within(picture)
    assert np.array_equal(seen[0], original)
    assert np.array_equal(found.landmarks_xy, detect_middle(original).landmarks_xy + np.array([left, top], np.float32))
    assert np.array_equal(found.boxes_xyxy[0, :2], detect_middle(original).boxes_xyxy[0, :2] + np.array([left, top], np.float32))
