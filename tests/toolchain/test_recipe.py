"""Recipes say what to compile, and mistakes in them are named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from facette.loading import load_models
from facette.passes.distil import Distil
from facette.passes.prune import Prune
from facette.passes.qat import Qat
from facette.recipe import load_recipe, recipe_names
from facette_runtime.errors import FacetteError
from tests.toolchain.conftest import TINY_RECIPE


@pytest.mark.parametrize("name", recipe_names())
def test_recipes_that_come_along_are_readable(name: str) -> None:
    assert load_recipe(name).name == name


def test_unknown_recipe_lists_the_known_ones() -> None:
    with pytest.raises(FacetteError, match=r"unknown recipe 'lunch'.*default"):
        load_recipe("lunch")


def test_a_recipe_goes_on_from_another(tmp_path: Path) -> None:
    base, own = tmp_path / "base.toml", tmp_path / "own.toml"
    base.write_text(
        TINY_RECIPE + '\n[[embedder.passes]]\nkind = "swap-activation"\n\n[floor]\nmin_accuracy = 99\nmax_tar_drop = 3\n'
    )
    own.write_text('extends = "base.toml"\n\n[floor]\nmax_tar_drop = 5\n\n[[embedder.passes]]\nkind = "prune"\nmacs = 0.5\n')
    first, second = load_recipe(str(base)), load_recipe(str(own))
    assert (second.name, second.extends) == ("own", "base.toml")
    assert [settings.kind for settings in second.embedder.passes] == ["swap-activation", "prune"]
    assert (second.floor.min_accuracy, second.floor.max_tar_drop) == (99, 5)
    assert second.detector == first.detector
    assert [settings.kind for settings in first.embedder.passes] == ["swap-activation"]


def test_a_pass_that_trains_goes_on_from_the_last_of_its_kind(tmp_path: Path) -> None:
    base, own = tmp_path / "base.toml", tmp_path / "own.toml"
    base.write_text(
        TINY_RECIPE
        + '\n[[embedder.passes]]\nkind = "prune"\nratio = 0.5\n'
        + '\n[[embedder.passes]]\nkind = "distil"\nsteps = 70\nviews = 8\naugmentation = { blur = 0.0, noise = 0.0 }\n'
    )
    own.write_text(
        'extends = "base.toml"\n\n[[embedder.passes]]\nkind = "prune"\nmacs = 0.5\n'
        + '\n[[embedder.passes]]\nkind = "qat"\n'
        + '\n[[embedder.passes]]\nkind = "distil"\nsteps = 90\naugmentation = { noise = 0.5 }\n'
    )
    _, first, prune, qat, second = load_recipe(str(own)).embedder.passes
    assert isinstance(first, Distil)
    assert (first.steps, first.views, first.augmentation.blur) == (70, 8, 0.0)
    assert second == replace(first, steps=90, augmentation=replace(first.augmentation, noise=0.5))
    assert (prune, qat) == (Prune(macs=0.5), Qat())


def test_a_recipe_may_extend_one_that_comes_along(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('extends = "default"\n\n[detector]\nscore_threshold = 0.7\n')
    mine, default = load_recipe(str(path)), load_recipe("default")
    assert mine.detector == replace(default.detector, score_threshold=0.7)
    assert mine.embedder == default.embedder


@pytest.mark.parametrize(
    ("value", "message"),
    [("'lunch'", "unknown recipe 'lunch'"), ("'r.toml'", "extends itself"), ("3", "extends: expected str, got int")],
)
def test_what_cannot_be_extended_is_named(tmp_path: Path, value: str, message: str) -> None:
    path = tmp_path / "r.toml"
    path.write_text(f"extends = {value}\n" + TINY_RECIPE)
    with pytest.raises(FacetteError, match=message):
        load_recipe(str(path))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("match_threshold", "match_treshold", r"embedder: unknown key 'match_treshold'; known keys: .*match_threshold"),
        ("[32]", "['a']", r"detector.decoder.strides\[0\]: expected int, got str"),
        ('"points"', '"dots"', r"detector.decoder.kind: 'dots' is not one of anchors, points"),
        ("size_wh = [64, 64]", "size_wh = [64]", r"detector.image.size_wh: expected 2 values, got 1"),
        ('"rgb"', '"hsv"', r"color_order: 'hsv' is not one of rgb, bgr"),
        ("[detector]", "[detector", "not TOML"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "r.toml"
    path.write_text(TINY_RECIPE.replace(old, new))
    with pytest.raises(FacetteError, match=message):
        load_recipe(str(path))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("tests.toolchain.tiny:detector", "yolo", "unknown network 'yolo'; known detectors: facette-detect"),
        ("tests.toolchain.tiny:detector", "nowhere:net", "'nowhere:net' can't be imported"),
        ("tests.toolchain.tiny:detector", "tests.toolchain.tiny:nets", "can't be imported"),
        ("tests.toolchain.tiny:detector", "tests.toolchain.tiny:not_a_network", "gave int, not an nn.Module"),
        ("tests.toolchain.tiny:detector", "mobilefacenet-y1", "'mobilefacenet-y1' is no detector; known detectors"),
        ('weights = "detector.safetensors"', "", "detector.weights: missing"),
        ("detector.safetensors", "other.safetensors", "'other.safetensors' not found .*--weights"),
        ("alignment = { size_wh = [32, 32]", "alignment = { size_wh = [48, 48]", "don't fit the network's input"),
    ],
)
def test_what_cannot_be_loaded_is_named(tiny_recipe_path: Path, old: str, new: str, message: str) -> None:
    tiny_recipe_path.write_text(TINY_RECIPE.replace(old, new))
    with pytest.raises(FacetteError, match=message):
        load_models(load_recipe(str(tiny_recipe_path)), None)


def test_weights_are_found_in_the_users_folder(tiny_recipe_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    weights = tmp_path_factory.mktemp("weights")
    for file in tiny_recipe_path.parent.glob("*.safetensors"):
        file.rename(weights / file.name)
    detector, embedder = load_models(load_recipe(str(tiny_recipe_path)), weights)
    assert (detector.name, embedder.match_threshold) == ("tests.toolchain.tiny", (0.4, "the recipe"))
