"""Only safetensors are read, and they must fit."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from facette.weights import load_weights, read_weights
from facette_runtime.errors import FacetteError


def test_loads_what_was_saved(tmp_path: Path) -> None:
    saved, loaded = nn.Linear(3, 2), nn.Linear(3, 2)
    save_file(saved.state_dict(), tmp_path / "w.safetensors")
    digest = load_weights(loaded, tmp_path / "w.safetensors")
    assert torch.equal(saved.weight, loaded.weight)
    assert re.fullmatch("[0-9a-f]{64}", digest)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip pickle", "legacy pickle"])
def test_a_pickle_is_refused_unopened(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "w.pt"
    torch.save({"weight": torch.zeros(2)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(FacetteError, match="pickle"):
        read_weights(path)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"weight": torch.zeros(2, 3)}, "lacks 'bias'"),
        ({"weight": torch.zeros(2, 3), "bias": torch.zeros(2), "extra": torch.zeros(1)}, "'extra'"),
        ({"weight": torch.zeros(2, 4), "bias": torch.zeros(2)}, r"'weight' has shape \(2, 4\)"),
    ],
)
def test_weights_that_do_not_fit(tmp_path: Path, state: dict[str, torch.Tensor], message: str) -> None:
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(FacetteError, match=message):
        load_weights(nn.Linear(3, 2), tmp_path / "w.safetensors")


def test_rubbish_and_nothing(tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(b"not weights at all")
    with pytest.raises(FacetteError, match="not a safetensors file"):
        read_weights(tmp_path / "w.safetensors")
    with pytest.raises(FacetteError, match="no such file"):
        read_weights(tmp_path / "other.safetensors")
    with pytest.raises(FacetteError, match="is a folder"):
        read_weights(tmp_path)
