"""A recipe's passes: their order, their measurement, and what a recipe may say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from facette.cache import Cache
from facette.catalogue import DLIB_IMAGE
from facette.compress import Supplies, compress, in_rounds, words
from facette.model import Model
from facette.passes.distil import Distil
from facette.passes.low_rank import LowRank
from facette.passes.prune import Prune
from facette.passes.sparsify import Sparsify
from facette.passes.swap_activation import SwapActivation
from facette.recipe import Recipe, load_recipe
from facette.train.augment import Augmentation
from facette.train.hints import Hints
from facette.train.log import read_log
from facette.train.margin import Margin
from facette_runtime.errors import FacetteError
from facette_runtime.manifest import EmbeddingDecoder
from facette_runtime.schema import from_dict
from tests.toolchain import tiny
from tests.toolchain.faces import detect_middle, small_model, write_photos


def model(network: nn.Module) -> Model:
    return Model("tiny", network, DLIB_IMAGE, EmbeddingDecoder("embedding", 8), None, None, (), "")


def supplies(folder: Path, said: list[str]) -> Supplies:
    return Supplies((), model(nn.Identity()), Cache(folder), said.append)


def test_passes_run_in_the_recipes_order_and_leave_the_original_alone(tmp_path: Path) -> None:
    said: list[str] = []
    original = model(tiny.embedder())
    models = compress(original, [SwapActivation(), Sparsify(sparsity=0.5)], supplies(tmp_path, said))
    assert len(models) == 3
    assert models[0] is original
    assert any(isinstance(part, nn.PReLU) for part in tiny.embedder().modules())
    assert not any(isinstance(part, nn.PReLU) for part in models[1].network.modules())  # type: ignore[union-attr]
    assert ["swap-activation" in said[0], "sparsify" in said[1]] == [True, True]
    zeros = torch.cat([p.flatten() for n, p in models[2].network.named_parameters() if n.endswith("weight")]) == 0  # type: ignore[union-attr]
    assert 0.3 < float(zeros.float().mean()) < 0.6


def test_what_does_not_train_runs_on_one_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def spy(given: Model, _settings: Sparsify) -> Model:
        seen.append(torch.get_num_threads())
        return given

    monkeypatch.setattr("facette.compress.sparsify", spy)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        compress(model(tiny.embedder()), [Sparsify(sparsity=0.5)], supplies(tmp_path, []))
        seen.append(torch.get_num_threads())
    finally:
        torch.set_num_threads(before)
    assert seen == [1, 2]


def test_what_learns_needs_faces(tmp_path: Path) -> None:
    with pytest.raises(FacetteError, match="trains embedders"):
        compress(model(tiny.embedder()), [Distil(steps=1)], supplies(tmp_path, []))


def test_labels_of_folders_reach_the_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("facette.compress.find_with", lambda _: detect_middle)
    faces = tmp_path / "faces"
    write_photos(faces, 12, people=3)
    given = Supplies((faces,), small_model(), Cache(tmp_path / "cache"), print)
    settings = Distil(steps=2, batch=6, views=1, refit=0, precision="fp32", margin=Margin())
    compress(small_model(), [settings], given)
    (run,) = (tmp_path / "cache" / "runs").iterdir()
    assert float(read_log(run / "log.csv")[-1]["margin"]) > 0


def test_a_pass_may_be_shown_a_data_set_several_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("facette.compress.find_with", lambda _: detect_middle)
    folders = tmp_path / "one", tmp_path / "two"
    write_photos(folders[0], 4, people=2)
    write_photos(folders[1], 6, people=3)
    given = Supplies(folders, small_model(), Cache(tmp_path / "cache"), print)
    (one, two), labels = given.crops(small_model(), "distil")
    shown, whose = given.crops(small_model(), "distil", (1, 2))
    assert [len(part) for part in shown] == [4, 6, 6]
    assert all(np.array_equal(part, wanted) for part, wanted in zip(shown, (one, two, two), strict=True))
    assert whose == [*labels, *labels[4:]]
    for wrong in ((2,), (1, 0)):
        with pytest.raises(FacetteError, match="repeats must be 2 whole numbers from 1 on"):
            given.crops(small_model(), "distil", wrong)


def test_pruning_in_rounds_recovers_after_each() -> None:
    spread = in_rounds([Prune(macs=0.25, steps=2), Distil(steps=100), SwapActivation()])
    assert [settings.kind for settings in spread] == ["prune", "distil", "prune", "distil", "swap-activation"]
    first, second = (settings for settings in spread if isinstance(settings, Prune))
    assert np.isclose((first.macs or 0) * (second.macs or 0), 0.25)
    assert sum(settings.steps for settings in spread if isinstance(settings, Distil)) == 100


def test_settings_are_told_where_they_differ_from_the_usual() -> None:
    assert words(SwapActivation()) == ""
    assert words(SwapActivation(to="relu6")) == "to relu6"
    assert words(Prune(macs=0.5)) == "macs 0.5"
    assert words(Prune(scope="per-layer", layers={"a": 0.5, "b": 0.25})) == "scope per-layer, layers 2"
    assert words(Distil(hints=Hints((("a", "a"), ("b", "b"))), augmentation=Augmentation(mix=0.0))) == "hints 2, augmentation own"


def test_a_recipe_names_its_passes() -> None:
    relu, small = load_recipe("mobilefacenet-relu"), load_recipe("mobilefacenet-small")
    assert [settings.kind for settings in relu.embedder.passes] == ["swap-activation", *["distil"] * 3]
    assert small.embedder.passes[:4] == relu.embedder.passes
    assert [settings.kind for settings in small.embedder.passes[4:]] == ["prune", *["distil"] * 4, "qat"]
    assert small.floor.max_accuracy_drop == 1.5


def test_an_unknown_pass_lists_the_known_ones() -> None:
    data = {
        "name": "x",
        "detector": {"network": "facette-detect"},
        "embedder": {"network": "facette-embed", "passes": [{"kind": "shrink"}]},
    }
    with pytest.raises(FacetteError, match=r"'shrink' is not one of .*low-rank.*prune"):
        from_dict(Recipe, data, "mine.toml")
    assert LowRank.__dataclass_fields__["kind"].default == "low-rank"
