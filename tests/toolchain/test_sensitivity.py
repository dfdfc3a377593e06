"""What a cut costs, layer by layer, and what follows from it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from facette.model import Model
from facette.passes.prune import Prune, prune
from facette.reference import count_macs
from facette.report.sensitivity_figure import save_sensitivity_figure, sensitivity_figure
from facette.sensitivity import Sensitivity, analyse, propose, to_table
from facette_runtime.errors import FacetteError
from facette_runtime.schema import from_dict, to_dict


class Plain(nn.Module):
    """Three layers, of which the second does next to nothing with most of its channels."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(3, 8, 3, 2, 1)
        self.two = nn.Conv2d(8, 16, 3, 1, 1)
        self.three = nn.Conv2d(16, 8, 3, 1, 1)
        self.embedding = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.embedding(self.three(self.two(self.one(x).relu()).relu()).mean((2, 3)))


@pytest.fixture
def plain(tiny_models: tuple[Model, Model]) -> Model:
    torch.manual_seed(0)
    network = Plain()
    with torch.no_grad():
        network.three.weight[:, 4:] *= 1e-4
    return replace(tiny_models[1], network=network.eval())


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (16, 32, 32, 3), np.uint8)


@pytest.fixture
def found(plain: Model, pictures: np.ndarray) -> Sensitivity:
    return analyse(plain, pictures, (0.5, 0.25), criterion="l2")


def test_the_idle_layer_suffers_least(found: Sensitivity) -> None:
    assert found.ratios == (0.25, 0.5)
    assert found.whole == pytest.approx(1.0)
    drops = {row.layer: row.drops for row in found.layers}
    assert list(drops) == ["one", "two", "three"]
    assert max(drops["two"]) < 0.1 * min(max(drops["one"]), max(drops["three"]))


def test_another_measure(plain: Model, pictures: np.ndarray) -> None:
    measured = analyse(
        plain, pictures, (0.5,), criterion="l1", measure=lambda model: float(count_macs(model)[0] or 0), measure_name="MACs"
    )
    macs = count_macs(plain)[0]
    assert measured.whole == macs
    assert all(row.drops[0] > 0 for row in measured.layers)


def test_the_proposal_starts_where_it_costs_least_and_meets_the_budget(found: Sensitivity, plain: Model) -> None:
    assert propose(found, 0.9) == {"two": 0.25}
    ratios = propose(found, 0.5)
    assert ratios["two"] == 0.5
    cut = prune(plain, Prune(scope="per-layer", layers=ratios, criterion="l2", round_to=1, refit=False))
    before, after = count_macs(plain)[0], count_macs(cut)[0]
    assert before is not None
    assert after is not None
    assert after / before <= 0.5
    with pytest.raises(FacetteError, match=r"needs larger ratios than 0\.5"):
        propose(found, 0.01)


def test_it_survives_json(found: Sensitivity) -> None:
    assert from_dict(Sensitivity, json.loads(json.dumps(to_dict(found))), "file") == found


def test_table_and_figure(found: Sensitivity, tmp_path: Path) -> None:
    proposal = propose(found, 0.5)
    lines = to_table(found, proposal).splitlines()
    assert lines[0].split()[-3:] == ["−25%", "−50%", "proposed"]
    assert len(lines) == 2 + len(found.layers)
    svg = sensitivity_figure(found, proposal)
    assert svg.startswith("<svg")
    assert svg == sensitivity_figure(found, proposal)
    assert svg != sensitivity_figure(found)
    save_sensitivity_figure(found, tmp_path / "figure.png", proposal)
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_what_makes_no_sense_is_refused(plain: Model, pictures: np.ndarray) -> None:
    with pytest.raises(FacetteError, match="no pictures"):
        analyse(plain, pictures[:0])
    with pytest.raises(FacetteError, match="between 0 and 1"):
        analyse(plain, pictures, (0.5, 1.0))
