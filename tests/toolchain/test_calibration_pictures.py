"""Quantizers are shown what the device would feed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from facette.data.calibration_pictures import calibration_pictures
from facette.model import Model
from facette_runtime.errors import FacetteError
from facette_runtime.manifest import PointDecoder
from facette_runtime.types import Image

COUNT = 10


SEED = 3
"""Shifts the comb by another photo than 0 does."""


@pytest.fixture
def folder(tmp_path: Path, picture: Image) -> Path:
    """Twenty photos that are ever brighter, all of them strongly red."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for index in range(2 * COUNT):
        photo = cv2.resize(picture, (128, 128)) // 4
        photo[..., 2] = 100 + 7 * index
        cv2.imwrite(str(photos / f"{index:02d}.png"), photo)
    return photos


def test_an_embedder_sees_aligned_crops_in_its_own_order(tiny_models: tuple[Model, Model], folder: Path) -> None:
    detector, embedder = tiny_models
    pictures = calibration_pictures(embedder, folder, COUNT, detector, seed=0)
    assert pictures.shape == (COUNT, 32, 32, 3)
    assert pictures.dtype == np.uint8
    levels = pictures.reshape(COUNT, -1, 3).mean(1)
    assert (levels[:, 0] > levels[:, 2]).all()  # red comes first in an "rgb" network
    # Evenly spread over the photos, the dark ones and the bright.
    assert (np.diff(levels[:, 0]) > 0).all()
    assert levels[-1, 0] > 1.8 * levels[0, 0]
    swapped = calibration_pictures(
        replace(embedder, image=replace(embedder.image, color_order="bgr")), folder, COUNT, detector, seed=0
    )
    assert np.array_equal(swapped, pictures[..., ::-1])


def test_a_detector_sees_scenes(tiny_models: tuple[Model, Model], folder: Path) -> None:
    pictures = calibration_pictures(tiny_models[0], folder, COUNT, None, seed=0)
    assert pictures.shape == (COUNT, 64, 64, 3)
    levels = pictures.reshape(COUNT, -1, 3).mean(1)
    assert (levels[:, 2] > levels[:, 0]).all()
    assert len(np.unique(pictures.reshape(COUNT, -1), axis=0)) == COUNT
    # A camera's frame is wider than this network's input: the letterbox fills the rest, as on the device.
    assert not pictures[:, 48:].any()
    assert pictures[:, :48].any(axis=(1, 2, 3)).all()


@pytest.mark.parametrize("role", [0, 1], ids=["detector", "embedder"])
def test_the_same_seed_gives_the_same_pictures(role: int, tiny_models: tuple[Model, Model], folder: Path) -> None:
    finder = tiny_models[0] if role else None
    first, again, other = (calibration_pictures(tiny_models[role], folder, 5, finder, seed=seed) for seed in (0, 0, SEED))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_photos_without_faces_are_left_out(tiny_models: tuple[Model, Model], folder: Path) -> None:
    detector, embedder = tiny_models
    assert isinstance(detector.decoder, PointDecoder)
    blind = replace(detector, decoder=replace(detector.decoder, score_threshold=0.999))
    with pytest.raises(FacetteError, match="no face found in any of 10 photos"):
        calibration_pictures(embedder, folder, COUNT, blind, seed=0)


def test_more_than_there_are(tiny_models: tuple[Model, Model], folder: Path) -> None:
    assert len(calibration_pictures(tiny_models[1], folder, 3 * COUNT, tiny_models[0], seed=0)) == 3 * COUNT


def test_utkface(data_dir: Path, tiny_models: tuple[Model, Model]) -> None:
    pictures = calibration_pictures(tiny_models[0], data_dir / "utkface-128.zip", 4, None, seed=0)
    assert pictures.shape == (4, 64, 64, 3)
    assert pictures.std() > 20
