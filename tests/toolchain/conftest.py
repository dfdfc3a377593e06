"""A recipe of tiny networks, ready to compile."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from safetensors.torch import save_file

from facette.loading import load_models
from facette.model import Model
from facette.recipe import Recipe, load_recipe
from facette_runtime.types import Image
from tests.toolchain import tiny

TINY_RECIPE = """
[detector]
network = "tests.toolchain.tiny:detector"
weights = "detector.safetensors"
image = { size_wh = [64, 64], color_order = "bgr", mean = [127.5, 127.5, 127.5], scale = [0.01, 0.01, 0.01] }
decoder = { kind = "points", strides = [32] }

[embedder]
network = "tests.toolchain.tiny:embedder"
weights = "embedder.safetensors"
match_threshold = 0.4
image = { size_wh = [32, 32], color_order = "rgb", mean = [120.0, 110.0, 100.0], scale = [0.01, 0.02, 0.03] }
decoder = { kind = "embedding", size = 8 }
alignment = { size_wh = [32, 32], template_xy = [[10, 12], [22, 12], [16, 18], [12, 24], [20, 24]] }
"""


@pytest.fixture
def tiny_recipe_path(tmp_path: Path) -> Path:
    """A recipe file with its weights beside it."""
    save_file(tiny.detector().state_dict(), tmp_path / "detector.safetensors")
    save_file(tiny.embedder().state_dict(), tmp_path / "embedder.safetensors")
    path = tmp_path / "tiny.toml"
    path.write_text(TINY_RECIPE)
    return path


@pytest.fixture
def tiny_recipe(tiny_recipe_path: Path) -> Recipe:
    """The recipe."""
    return load_recipe(str(tiny_recipe_path))


@pytest.fixture
def tiny_models(tiny_recipe: Recipe) -> tuple[Model, Model]:
    """Detector and embedder."""
    return load_models(tiny_recipe, None)


@pytest.fixture(scope="session")
def picture() -> Image:
    """uint8 [96, 128, 3], BGR: smooth colours with an edge, different in every channel."""
    rows, columns = np.mgrid[0:96, 0:128].astype(np.float32)
    image = np.stack([columns * 2, rows * 2.5, 255 - columns - rows], axis=-1)
    image[30:60, 40:80] = (20, 200, 90)
    return cv2.GaussianBlur(np.clip(image, 0, 255).astype(np.uint8), (5, 5), 0)


@pytest.fixture
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The benchmarks' folder, whose modules can be imported by their names."""
    folder = Path(__file__).resolve().parents[2] / "benchmarks"
    monkeypatch.syspath_prepend(str(folder))
    return folder
