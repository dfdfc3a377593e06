"""The protocol around a bundle, with null engines; and, where data and weights are, the reference itself."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from facette.cache import Cache
from facette.catalogue import ARCFACE_112
from facette.compile import Job, compile_bundle
from facette.data.lfw import ALIGNED, Photos
from facette.data.photos import golden_licence, golden_photos
from facette.evaluation.embed_photos import central_face, embed_photos
from facette.evaluation.evaluate import NO_FACE, evaluate, fits_aligned_crop, to_table
from facette.evaluation.golden_faces import compare_with_golden
from facette.recipe import load_recipe
from facette.resample import in_pixels
from facette.target import load_target
from facette_runtime.bundle import Bundle
from facette_runtime.errors import FacetteError
from facette_runtime.manifest import Letterbox
from facette_runtime.schema import to_dict
from facette_runtime.types import Detections
from tests.runtime import bundles
from tests.toolchain import small_lfw


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return bundles.write_bundle(tmp_path / "null.facette")


def test_raw__people_of_one_colour_match(bundle: Path, tmp_path: Path) -> None:
    evaluation = evaluate(bundle, small_lfw.write(tmp_path), protocols=("raw",), progress=False)
    result = evaluation.protocols["raw"]

    assert (result.photos, result.pairs, result.without_face) == (4, 8, 0)
    assert (result.accuracy.mean, result.eer, result.tar.tar) == (1.0, 0.0, 1.0)
    assert result.unseen_accuracy is None  # two folds, and both may choose
    assert json.loads(json.dumps(to_dict(evaluation)))["protocols"]["raw"]["accuracy"]["mean"] == 1.0


def test_raw__a_photo_without_a_face_is_counted_and_never_matches(bundle: Path, tmp_path: Path) -> None:
    data = small_lfw.write(tmp_path, dark="Ann/Ann_0002.jpg")
    result = evaluate(bundle, data, protocols=("raw",), progress=False).protocols["raw"]

    assert result.without_face == 1
    assert result.accuracy.mean == 0.75  # of each fold's two same-person pairs one has the dark photo
    assert NO_FACE == -1


def test_aligned__is_skipped_for_another_crop(bundle: Path, tmp_path: Path) -> None:
    evaluation = evaluate(bundle, small_lfw.write(tmp_path), progress=False)

    assert list(evaluation.protocols) == ["raw"]
    assert "another crop" in evaluation.skipped["aligned"]
    text = to_table(evaluation)
    assert "aligned: not measured" in text
    assert "100.00 ± 0.00" in text


def test_aligned__crops_are_made_smaller_for_an_embedder_that_takes_smaller_ones(tmp_path: Path) -> None:
    smaller = replace(bundles.EMBEDDER, alignment=in_pixels(ARCFACE_112, 16))
    evaluation = evaluate(bundles.write_bundle(tmp_path / "b.facette", embedder=smaller), small_lfw.write(tmp_path), progress=False)

    assert evaluation.skipped == {}
    assert evaluation.protocols["aligned"].accuracy.mean == 1.0


def test_the_same_crop_in_fewer_pixels_is_the_same_crop() -> None:
    assert fits_aligned_crop(in_pixels(ARCFACE_112, 64))
    assert not fits_aligned_crop(in_pixels(ARCFACE_112, 224))
    assert not fits_aligned_crop(replace(ARCFACE_112, size_wh=(64, 64)))
    assert not fits_aligned_crop(replace(ARCFACE_112, size_wh=(112, 96)))


def test_unseen_folds_are_judged_by_the_chosen_threshold(bundle: Path, tmp_path: Path) -> None:
    result = evaluate(bundle, small_lfw.write(tmp_path, folds=7), protocols=("raw",), progress=False).protocols["raw"]

    assert result.chosen.folds == (1, 2, 3, 4, 5)
    assert result.unseen_accuracy == 1.0


@pytest.mark.parametrize(
    ("protocols", "folds", "line"),
    [
        (("cropped",), None, "protocol cropped: choose from aligned, raw"),
        (("raw",), [1], "give at least two"),
        (("raw",), [6, 7], "one of them from 1 to 5"),
        (("raw",), [1, 9], "folds 1 to 7"),
    ],
)
def test_wrong_choice_is_one_line(bundle: Path, tmp_path: Path, protocols: tuple[str, ...], folds: list[int], line: str) -> None:
    data = small_lfw.write(tmp_path, folds=7)

    with pytest.raises(FacetteError, match=line):
        evaluate(bundle, data, protocols, folds, progress=False)


def test_flip__averages_with_the_mirrored_crop(bundle: Path, tmp_path: Path) -> None:
    photos = Photos(small_lfw.write(tmp_path), ALIGNED)
    opened, names = Bundle.open(bundle), ["Ann/Ann_0001.jpg"]
    plain, found = embed_photos(opened, photos, names, aligned=False, flip=False, label=None)
    both, _ = embed_photos(opened, photos, names, aligned=False, flip=True, label=None)

    assert found.all()
    assert np.linalg.norm(both) == pytest.approx(1)
    assert plain.shape == both.shape == (1, 8)


def test_central_face__prefers_large_and_central() -> None:
    photo = np.zeros((250, 250, 3), np.uint8)
    boxes = np.array([[0, 0, 90, 90], [85, 85, 165, 165], [120, 120, 130, 130]], np.float32)
    detections = Detections(boxes, np.array([0.9, 0.8, 0.7], np.float32), np.zeros((3, 5, 2), np.float32))

    assert central_face(detections, photo) == 1


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory, weights_dir: Path) -> Path:
    """RetinaFace at 250×250 without enlarging, and MobileFaceNet, on ONNX Runtime in fp32."""
    folder = tmp_path_factory.mktemp("reference")
    recipe = load_recipe("retinaface-mobilefacenet")
    detector = replace(recipe.detector, input_size=(250, 250), letterbox=Letterbox((104, 117, 123), False))
    embedder = replace(recipe.embedder, match_threshold=0.28)
    choices = replace(recipe.compile, engines=("onnxruntime",), precisions=("fp32",), forms=("relu", "stock"))
    output = folder / "reference.facette"
    compile_bundle(
        Job(
            recipe=replace(recipe, detector=detector, embedder=embedder, compile=choices),
            target=load_target("x86-cpu"),
            output=output,
            photos=golden_photos(None),
            photos_licence=golden_licence(None),
            cache=Cache(folder / "cache"),
            weights_folder=weights_dir,
        )
    )
    return output


def test_reference__golden_faces(reference: Path, data_dir: Path) -> None:
    differences = compare_with_golden(reference, data_dir)

    assert len(differences) == 40
    assert max(difference.box_px for difference in differences) <= 0.5
    assert max(difference.landmark_px for difference in differences) <= 0.5
    assert max(difference.score for difference in differences) <= 1e-3
    assert min(difference.cosine for difference in differences) >= 0.9999


def test_reference__two_folds_of_lfw(reference: Path, data_dir: Path) -> None:
    result = evaluate(reference, data_dir, protocols=("raw",), folds=(1, 2), progress=False).protocols["raw"]

    assert result.without_face == 0
    assert result.chosen.accuracy >= 0.99
