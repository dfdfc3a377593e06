"""The portraits that come with installed packages."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from facette.data.photos import golden_photos, portraits
from facette_runtime.errors import FacetteError
from tests.runtime import bundles


def test_portraits() -> None:
    hopper, collins = portraits()

    assert (hopper.name, hopper.image_bgr.shape) == ("Grace Hopper", (600, 512, 3))
    assert (collins.name, collins.image_bgr.shape) == ("Eileen Collins", (512, 512, 3))
    blue, _, red = collins.image_bgr[420, 130]
    assert red > blue + 60, "the suit is orange: the picture must be BGR"
    assert all(portrait.licence.startswith("public domain") for portrait in (hopper, collins))


def test_golden_photos__of_a_user(tmp_path: Path) -> None:
    bundles.write_picture(tmp_path / "b.png", bundles.RED)
    bundles.write_picture(tmp_path / "a.png", bundles.BLUE)
    photos = golden_photos(tmp_path)

    assert [name for name, _ in photos] == ["a.png", "b.png"]
    assert photos[0][1].dtype == np.uint8
    assert [name for name, _ in golden_photos(None)] == ["Grace Hopper", "Eileen Collins"]


def test_golden_photos__empty_folder(tmp_path: Path) -> None:
    with pytest.raises(FacetteError, match="holds no pictures"):
        golden_photos(tmp_path)


def test_missing_package_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    with pytest.raises(FacetteError, match="pip install matplotlib"):
        portraits()
