"""What is equal is found again; what differs in anything that matters is not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from facette.cache import Cache, fingerprint, tool_versions
from facette.loading import load_models
from facette.model import Model
from facette.recipe import load_recipe
from facette_runtime.engines import installed_engines


def test_made_once(tmp_path: Path) -> None:
    cache, calls = Cache(tmp_path / "cache"), []

    def make() -> bytes:
        calls.append(1)
        return b"value"

    assert [cache.bytes("ab12", make), cache.bytes("ab12", make)] == [b"value", b"value"]
    assert Cache(tmp_path / "cache").json("ff00", lambda: {"a": [1]}) == {"a": [1]}
    assert (len(calls), cache.hits, cache.misses) == (1, 1, 1)


def test_a_failed_attempt_leaves_nothing(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")
    with pytest.raises(RuntimeError):
        cache.bytes("ab12", lambda: (_ for _ in ()).throw(RuntimeError("no")))
    assert cache.bytes("ab12", lambda: b"later") == b"later"


def test_loading_twice_gives_the_same_fingerprint(tiny_models: tuple[Model, Model], tiny_recipe_path: Path) -> None:
    again = load_models(load_recipe(str(tiny_recipe_path)), None)
    assert [fingerprint(model) for model in again] == [fingerprint(model) for model in tiny_models]


@pytest.mark.parametrize("part", ["weight", "image", "architecture"])
def test_a_change_changes_the_fingerprint(part: str, tiny_models: tuple[Model, Model]) -> None:
    model = tiny_models[1]
    before = fingerprint(model)
    assert isinstance(model.network, torch.nn.Module)
    if part == "weight":
        next(model.network.parameters()).data.view(-1)[0] += 1e-6
    elif part == "image":
        model = replace(model, image=replace(model.image, mean=(1.0, 2.0, 3.0)))
    else:
        model.network.conv2.stride = (1, 1)
    assert fingerprint(model) != before


@pytest.mark.parametrize(
    ("engine", "packages"),
    [
        ("onnxruntime", {"onnx", "onnxruntime"}),
        ("litert", {"litert-torch", "ai-edge-litert", "ai-edge-quantizer"}),
        ("openvino", {"openvino", "nncf"}),
    ],
)
def test_versions_of_what_makes_an_engines_files_are_known(engine: str, packages: set[str]) -> None:
    if engine not in installed_engines():
        pytest.skip(f"{engine} is not installed")
    assert packages <= tool_versions().keys()
