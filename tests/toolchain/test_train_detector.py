"""Training the detector: scenes, targets, loss, and a recipe from start to end on generated photos."""

from __future__ import annotations

import dataclasses
import zipfile
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from facette.data.backgrounds import empty_regions
from facette.data.face_photos import FacePhoto, is_training_half, merge
from facette.data.geometry import move_faces
from facette.data.placing import Scene
from facette.data.pseudo_labels import View, detect_at_scales, detect_in_views
from facette.data.scene_noise import degrade, noise_bank, occlude
from facette.data.scenes import PhotoBank, SceneConfig, compose
from facette.nets.facette_detect import STRIDES, FacetteDetect, FacetteDetectConfig
from facette.nets.retinaface import RetinaFace
from facette.train.detect_loss import DOUBTFUL, FACE, LossWeights, assign, cell_grid, detection_loss
from facette.train.detect_metrics import agreement, recall_by_size
from facette.train.detector import train_detector
from facette.train.detector_batches import batches, collate, load_teacher
from facette.train.detector_recipe import DetectorTraining, PortraitSource, Round
from facette.train.loop import LoopConfig
from facette_runtime.errors import FacetteError
from facette_runtime.types import Detections, Image

CPU = torch.device("cpu")
POINTS = np.array([[40, 45], [70, 45], [55, 62], [42, 80], [68, 80]], np.float32)


def portrait(seed: int = 0) -> FacePhoto:
    image = np.random.default_rng(seed).integers(0, 256, (128, 110, 3)).astype(np.uint8)
    return FacePhoto(image, np.array([[25, 20, 85, 100]], np.float32), POINTS[None].copy(), np.zeros((0, 4), np.float32))


def bank() -> PhotoBank:
    crowd = FacePhoto(
        np.full((200, 300, 3), 90, np.uint8),
        np.array([[20, 20, 50, 60], [150, 100, 190, 150]], np.float32),
        np.full((2, 5, 2), np.nan, np.float32),
        np.array([[250, 10, 260, 22]], np.float32),
    )
    return PhotoBank([portrait(seed) for seed in range(4)], [crowd], [np.full((90, 120, 3), 30, np.uint8)])


def faces(boxes: list[list[float]], scores: list[float]) -> Detections:
    boxes_xyxy = np.array(boxes, np.float32).reshape(-1, 4)
    return Detections(boxes_xyxy, np.array(scores, np.float32), np.repeat(POINTS[None], len(boxes_xyxy), axis=0))


def test_a_mirror_swaps_left_and_right_landmarks() -> None:
    photo = portrait()
    mirror = np.array([[-1.0, 0.0, 110.0], [0.0, 1.0, 0.0]])
    boxes, landmarks = move_faces(photo.boxes_xyxy, photo.landmarks_xy, mirror, mirror=True)
    np.testing.assert_allclose(boxes, [[25, 20, 85, 100]])
    np.testing.assert_allclose(landmarks[0, 0], [110 - 70, 45])
    np.testing.assert_allclose(landmarks[0, 1], [110 - 40, 45])
    np.testing.assert_allclose(landmarks[0, 2], [110 - 55, 62])
    assert landmarks[0, 3, 0] < landmarks[0, 4, 0], "the subject's right mouth corner stays left in the picture"


def test_a_face_mostly_outside_its_frame_is_doubtful_and_clipped_landmarks_unknown() -> None:
    scene = Scene(np.zeros((128, 128, 3), np.uint8))
    scene.add(
        np.array([[-20, 20, 80, 100], [-90, 20, 10, 100]], np.float32),
        np.repeat(POINTS[None] - [45, 0], 2, axis=0).astype(np.float32),
        np.zeros((0, 4), np.float32),
        (0, 0, 128, 128),
    )
    np.testing.assert_allclose(scene.boxes_xyxy, [[0, 20, 80, 100]])
    np.testing.assert_allclose(scene.doubtful_xyxy, [[0, 20, 10, 100]])
    np.testing.assert_array_equal(np.isnan(scene.landmarks_xy[0, :, 0]), [True, False, False, True, False])


def test_scenes_repeat_with_their_generator_and_keep_labels_inside() -> None:
    config, noise = SceneConfig(size=128, face_sides=(9.0, 90.0)), noise_bank(np.random.default_rng(0))
    counts = []
    for seed in range(40):
        made = []
        for _ in range(2):
            generator = np.random.default_rng(seed)
            scene = compose(generator, bank(), config)
            occlude(generator, scene, 0.3, 0.3)
            degrade(generator, scene, noise)
            made.append(scene)
        np.testing.assert_array_equal(made[0].image_bgr, made[1].image_bgr)
        np.testing.assert_array_equal(made[0].boxes_xyxy, made[1].boxes_xyxy)
        assert made[0].image_bgr.shape == (128, 128, 3)
        assert made[0].image_bgr.dtype == np.uint8
        assert ((made[0].boxes_xyxy >= 0) & (made[0].boxes_xyxy <= 128)).all()
        counts.append(len(made[0].boxes_xyxy))
    assert np.mean(counts) > 1


def test_a_placed_face_lies_under_its_label() -> None:
    image = np.zeros((100, 100, 3), np.uint8)
    image[30:70, 30:70] = 255
    photo = FacePhoto(
        image, np.array([[30, 30, 70, 70]], np.float32), np.repeat(POINTS[None], 1, axis=0), np.zeros((0, 4), np.float32)
    )
    config = SceneConfig(size=128, face_sides=(30.0, 40.0), mosaic=0.0, paste=1.0, crowd=0.0, max_degrees=0.0)
    black = PhotoBank([photo], [], [np.zeros((128, 128, 3), np.uint8)])
    seen = 0
    for seed in range(20):
        scene = compose(np.random.default_rng(seed), black, config)
        for left, top, right, bottom in scene.boxes_xyxy[-1:]:
            if min(left, top) > 4 and max(right, bottom) < 124:
                assert scene.image_bgr[int(top) + 4 : int(bottom) - 4, int(left) + 4 : int(right) - 4].mean() > 250
                seen += 1
    assert seen > 3


def test_assignment_by_size_place_and_doubt() -> None:
    cells = cell_grid(128, 128, CPU)
    boxes = torch.tensor([[[8.0, 8.0, 24.0, 24.0], [2.0, 2.0, 126.0, 126.0], [100.0, 4.0, 120.0, 20.0], [0.0, 0.0, 0.0, 0.0]]])
    kinds = torch.tensor([[FACE, FACE, DOUBTFUL, 0]], dtype=torch.uint8)
    targets = assign(boxes, kinds, cells)
    small = (targets.weight[0] > 0) & (targets.face[0] == 0)
    large = (targets.weight[0] > 0) & (targets.face[0] == 1)
    assert small.sum() == 4
    assert (cells[small, 2] == STRIDES[0]).all()
    assert set(cells[large, 2].tolist()) == {STRIDES[1], STRIDES[2]}
    assert (targets.weight[0] > 0).sum() == small.sum() + large.sum()
    ignored = cells[targets.ignored[0]]
    assert len(ignored)
    assert ((ignored[:, 0] > 100) & (ignored[:, 0] < 120) & (ignored[:, 1] < 20)).all()
    assert targets.weight[0, large].max() == 1


def test_the_right_answer_costs_next_to_nothing_and_unknown_landmarks_nothing() -> None:
    cells = cell_grid(128, 128, CPU)
    boxes, kinds = torch.tensor([[[40.0, 40.0, 80.0, 80.0]]]), torch.tensor([[FACE]], dtype=torch.uint8)
    landmarks = torch.from_numpy(POINTS.reshape(1, 1, 10).copy())
    targets = assign(boxes, kinds, cells)
    centres, strides = cells[:, :2], cells[:, 2:]
    distances = (torch.cat([centres - boxes[0, :, :2], boxes[0, :, 2:] - centres], dim=1) / strides)[None]
    offsets = ((landmarks[0] - centres.repeat(1, 5)) / strides)[None]
    logits = torch.logit(targets.weight.clamp(1e-6, 1 - 1e-6))
    loss, parts = detection_loss((distances, logits, offsets), boxes, landmarks, kinds, cells, LossWeights())
    assert loss < 1e-4
    wrong, parts = detection_loss((distances, logits, offsets + 1), boxes, landmarks, kinds, cells, LossWeights())
    assert wrong > 0.1
    unknown, parts = detection_loss(
        (distances, logits, offsets + 1), boxes, torch.full_like(landmarks, torch.nan), kinds, cells, LossWeights()
    )
    assert unknown < 1e-4
    assert parts["landmarks"] == 0


def test_people_and_teacher_are_merged() -> None:
    people = np.array([[10, 10, 50, 50], [100, 10, 140, 50]], np.float32)
    teacher = faces([[12, 11, 51, 52], [200, 10, 240, 50], [10, 200, 40, 240]], [0.9, 0.95, 0.3])
    photo = merge(np.zeros((300, 300, 3), np.uint8), people, teacher, sure=0.6)
    np.testing.assert_allclose(photo.boxes_xyxy, [[10, 10, 50, 50], [100, 10, 140, 50], [200, 10, 240, 50]])
    np.testing.assert_array_equal(np.isnan(photo.landmarks_xy[:, 0, 0]), [False, True, False])
    np.testing.assert_allclose(photo.doubtful_xyxy, [[10, 200, 40, 240]])


def test_empty_regions_touch_no_face() -> None:
    image = np.zeros((200, 200, 3), np.uint8)
    image[:, :100] = 255
    photo = FacePhoto(
        image, np.array([[0, 0, 100, 200]], np.float32), np.zeros((1, 5, 2), np.float32), np.zeros((0, 4), np.float32)
    )
    regions = empty_regions(np.random.default_rng(0), [photo], tries=200)
    assert regions
    assert all(not region.any() for region in regions)


def test_the_split_halves_the_pictures() -> None:
    halves = [is_training_half(f"images/maksssksksss{index}.jpg") for index in range(853)]
    assert 400 < sum(halves) < 453
    assert is_training_half("images/a.jpg") == is_training_half("annotations/a.xml")


def test_collate_pads_and_demotes_the_smallest() -> None:
    scene = Scene(
        np.zeros((64, 64, 3), np.uint8), np.array([[0, 0, 10, 10], [0, 0, 30, 30]], np.float32), np.zeros((2, 5, 2), np.float32)
    )
    pictures, boxes, landmarks, kinds = collate([scene, Scene(np.zeros((64, 64, 3), np.uint8))], max_faces=1)
    assert pictures.shape == (2, 64, 64, 3)
    assert landmarks.shape == (2, 2, 10)
    assert kinds.tolist() == [[FACE, DOUBTFUL], [0, 0]]
    np.testing.assert_allclose(boxes[0, 0], [0, 0, 30, 30])


def test_metrics() -> None:
    found = faces([[10, 10, 50, 50]], [0.9])
    truth = np.array([[10, 10, 50, 50], [100, 100, 110, 110]], np.float32)
    small, large = recall_by_size([(found, truth)], (0, 20, 60))
    assert (small.faces, small.found, large.faces, large.found) == (1, 0, 1, 1)
    assert small.recall == 0
    assert large.recall == 1
    moved = Detections(found.boxes_xyxy, found.scores, found.landmarks_xy + np.array([3, 0], np.float32))
    result = agreement([(moved, found, (60, 60)), (faces([], []), found, (60, 60))])
    assert (result.pictures, result.found) == (2, 1)
    assert result.landmark_error == pytest.approx(3 / 30)


@pytest.fixture(autouse=True)
def small_crowd_views(monkeypatch: pytest.MonkeyPatch) -> None:
    """A teacher of random weights sees a face at every anchor: fewer pixels, fewer boxes to suppress."""
    monkeypatch.setattr("facette.data.face_photos.FACEMASK_SIDES", (64,))


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A data folder of noise portraits and crowds, and a teacher of random weights that sees faces in all of them."""
    folder = tmp_path_factory.mktemp("data")
    generator = np.random.default_rng(0)
    annotation = (
        "<annotation><object><bndbox><xmin>20</xmin><ymin>20</ymin><xmax>60</xmax><ymax>70</ymax></bndbox></object></annotation>"
    )
    with zipfile.ZipFile(folder / "portraits.zip", "w") as portraits, zipfile.ZipFile(folder / "crowds.zip", "w") as crowds:
        for index in range(8):
            for archive, name, size in ((portraits, f"{index}.jpg", (64, 64, 3)), (crowds, f"images/{index}.jpg", (120, 160, 3))):
                archive.writestr(name, cv2.imencode(".jpg", generator.integers(0, 256, size).astype(np.uint8))[1].tobytes())
            crowds.writestr(f"annotations/{index}.xml", annotation)
    torch.manual_seed(0)
    weights = folder / "teacher.safetensors"
    save_file(RetinaFace().state_dict(), weights)
    return folder, weights


def recipe(*more: Round) -> DetectorTraining:
    loop = LoopConfig(
        3, batch_size=2, learning_rate=1e-3, warmup_steps=1, checkpoint_every=2, log_every=1, precision="fp32", device="cpu"
    )
    scenes = SceneConfig(size=64, face_sides=(9.0, 60.0))
    return DetectorTraining(
        "tiny",
        (Round(loop, scenes), *more),
        (PortraitSource("portraits.zip", (View(1.0, 64),)),),
        crowds="crowds.zip",
        portraits_sure=0.3,
    )


def test_a_recipe_runs_from_start_to_end_and_repeats(generated: tuple[Path, Path], tmp_path: Path) -> None:
    folder, weights = generated
    files = [train_detector(recipe(), folder, weights, tmp_path / name) for name in ("one", "two")]
    states = [load_file(file) for file in files]
    network = FacetteDetect()
    network.load_state_dict(states[0])
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert (tmp_path / "one" / "round-1" / "log.csv").read_text().count("\n") == 4


def test_a_second_round_goes_on_from_the_first(generated: tuple[Path, Path], tmp_path: Path) -> None:
    folder, weights = generated
    first = recipe().rounds[0]
    still = dataclasses.replace(first.loop, steps=1, learning_rate=1e-12, weight_decay=0.0, ema_decay=0.0)
    one, two = (
        load_file(train_detector(wish, folder, weights, tmp_path / f"{index}"))
        for index, wish in enumerate((recipe(), recipe(dataclasses.replace(first, loop=still))))
    )
    learnt = [name for name in one if "running" not in name and "num_batches" not in name]
    assert all(torch.allclose(one[name], two[name], atol=1e-6) for name in learnt)
    assert (tmp_path / "1" / "round-2" / "log.csv").read_text().count("\n") == 2


def test_a_narrower_round_goes_on_from_the_wider(generated: tuple[Path, Path], tmp_path: Path) -> None:
    folder, weights = generated
    first = recipe().rounds[0]
    still = dataclasses.replace(first.loop, steps=2, learning_rate=1e-12, weight_decay=0.0, ema_decay=0.0)
    wish = recipe(dataclasses.replace(first, loop=still, keep={"backbone.stem.0": 8}))
    wide = load_file(train_detector(recipe(), folder, weights, tmp_path / "wide"))["backbone.stem.0.weight"]
    state = load_file(train_detector(wish, folder, weights, tmp_path / "narrow"))
    FacetteDetect(FacetteDetectConfig((8, 32, 64, 96, 128))).load_state_dict(state)
    for filters in state["backbone.stem.0.weight"]:
        assert torch.isclose(filters, wide, atol=1e-6).flatten(1).all(1).any()
    again = load_file(train_detector(wish, folder, weights, tmp_path / "narrow"))  # a finished run is taken up where it ended
    assert all(torch.equal(again[name], value) for name, value in state.items())


def test_a_batch_depends_on_its_step_alone() -> None:
    whole = list(batches(bank(), recipe(), recipe().rounds[0], 0))
    later = list(batches(bank(), recipe(), recipe().rounds[0], 2))
    assert len(whole) == 3
    assert len(later) == 1
    assert all(torch.equal(one.nan_to_num(-1), other.nan_to_num(-1)) for one, other in zip(whole[2], later[0], strict=True))


def test_views_give_pixels_of_the_photo(generated: tuple[Path, Path]) -> None:
    teacher, _ = load_teacher(generated[1])
    image = np.random.default_rng(1).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    direct = detect_at_scales(teacher, image, (64,))
    assert len(direct)
    shown = detect_in_views(teacher, [image, image], [View(1.0, 64)])
    np.testing.assert_allclose(shown[1].boxes_xyxy, direct.boxes_xyxy, atol=1e-3)
    with pytest.raises(FacetteError, match="does not fit into 32x32"):
        detect_in_views(teacher, [image], [View(1.0, 32)])


def test_landmarks_are_the_mean_over_views_and_mirrors(monkeypatch: pytest.MonkeyPatch) -> None:
    """A teacher that leans to the right by two pixels, in whatever it is shown, and is blind to what is small."""
    points = np.array([[-8, -6], [8, -6], [0, 2], [-6, 8], [6, 8]], np.float32)

    def leaning(_teacher: torch.nn.Module, images: Sequence[Image]) -> list[Detections]:
        found = []
        for image in images:
            rows, columns = np.nonzero(image[..., 0] > 200)
            centre, half = np.array([columns.mean() + 0.5, rows.mean() + 0.5]), len(rows) ** 0.5
            shift = np.array([2, 0])
            sure = np.array([0.9 if half > 5 else 0.3], np.float32)
            box = np.concatenate([centre - half, centre + half]) + np.tile(shift, 2)
            found.append(Detections(box[None].astype(np.float32), sure, (points + centre + shift)[None].astype(np.float32)))
        return found

    monkeypatch.setattr("facette.data.pseudo_labels.detect_batch", leaning)
    image = np.zeros((64, 64, 3), np.uint8)
    image[30:40, 20:30] = 255
    [once] = detect_in_views(torch.nn.Identity(), [image], [View(1.0, 64)])
    np.testing.assert_allclose(once.landmarks_xy[0], points + [25, 35], atol=1e-4)
    np.testing.assert_allclose(once.boxes_xyxy, [[17, 25, 37, 45]], atol=1e-4)
    [small] = detect_in_views(torch.nn.Identity(), [image], [View(1.0, 64), View(0.25, 64)])
    np.testing.assert_allclose(small.landmarks_xy, once.landmarks_xy, atol=1e-4)


def test_what_is_missing_or_wrong_is_named(generated: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(FacetteError, match="no such file"):
        load_teacher(tmp_path / "none.safetensors")
    other = tmp_path / "other.safetensors"
    save_file({"x": torch.zeros(1)}, other)
    with pytest.raises(FacetteError, match="of RetinaFace"):
        load_teacher(other)
    with pytest.raises(FacetteError, match=r"portraits\.zip: no such file"):
        train_detector(recipe(), tmp_path, generated[1], tmp_path / "run")
