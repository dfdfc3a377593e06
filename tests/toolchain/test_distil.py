"""Recovery by distillation, on a network small enough for a test."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from facette.model import Model
from facette.passes.distil import Distil, distil, training_alignment
from facette.passes.qat import Qat, qat
from facette.passes.sparsify import Sparsify, sparsify
from facette.passes.swap_activation import SwapActivation, swap_activation
from facette.pruning.masks import density
from facette.train.fold import fold_in_place
from facette.train.hints import Hints
from facette.train.log import read_log
from facette.train.loop import OptimizerName
from facette.train.margin import Margin
from facette.train.pixels import normalize_pixels
from facette.train.quick import QuickPReLU, StridedDepthwise, quicken, restore
from facette.train.refit import refit
from facette_runtime.errors import FacetteError
from tests.toolchain.faces import SIDE, small_model, smooth_pictures

SETTINGS = Distil(steps=40, batch=8, learning_rate=3e-3, warmup=2, ema=0.5, views=2, precision="fp32", refit=0, checkpoint_every=10)


def _crops(model: Model, count: int = 32) -> list[np.ndarray]:
    return [smooth_pictures(count, training_alignment(model).size_wh[0])]


def _network(model: Model) -> nn.Module:
    assert isinstance(model.network, nn.Module)
    return model.network


def _agreement(model: Model, teacher: Model) -> float:
    x = normalize_pixels(torch.from_numpy(smooth_pictures(32, SIDE, seed=9)), model.image)
    with torch.no_grad():
        return float(F.cosine_similarity(_network(model)(x), _network(teacher)(x)).mean())


def test_a_swapped_network_learns_to_agree_again(tmp_path: Path) -> None:
    teacher = small_model()
    swapped = swap_activation(teacher, SwapActivation())
    trained = distil(swapped, teacher, SETTINGS, _crops(teacher), tmp_path)
    assert 1 - _agreement(trained, teacher) < 0.5 * (1 - _agreement(swapped, teacher))
    assert not _network(trained).training


@pytest.mark.parametrize("hints", [Hints(), Hints(layers=(("stem", "stem"),), of="features", weight=0.1)])
def test_a_pass_can_aim_at_what_the_teacher_means(hints: Hints, tmp_path: Path) -> None:
    teacher = small_model()
    swapped = swap_activation(teacher, SwapActivation())
    trained = distil(swapped, teacher, dataclasses.replace(SETTINGS, consensus=2, hints=hints), _crops(teacher), tmp_path)
    assert np.isfinite(np.load(tmp_path / "consensus.npy")).all()
    assert 1 - _agreement(trained, teacher) < 0.7 * (1 - _agreement(swapped, teacher))


@pytest.mark.parametrize("optimizer", get_args(OptimizerName))
@pytest.mark.parametrize("trained_by", ["distil", "qat"])
def test_zeros_stay_zeros_and_the_rest_learns(trained_by: str, optimizer: OptimizerName, tmp_path: Path) -> None:
    teacher = small_model()
    sparse = sparsify(teacher, Sparsify(sparsity=0.5))
    if trained_by == "distil":
        settings = dataclasses.replace(SETTINGS, refit=16, optimizer=optimizer, learning_rate=0.1 if optimizer == "sgd" else 3e-3)
        trained = distil(sparse, teacher, settings, _crops(teacher), tmp_path)
        assert 1 - _agreement(trained, teacher) < 0.7 * (1 - _agreement(sparse, teacher))
    else:
        given = Qat(steps=20, batch=8, learning_rate=3e-3, warmup=2, ema=0.5, views=2, precision="fp32", optimizer=optimizer)
        trained = qat(sparse, teacher, given, _crops(teacher), tmp_path)
    assert density(_network(trained)) == pytest.approx(density(_network(sparse)), abs=1e-3)


def test_a_refit_alone_brings_it_close() -> None:
    teacher = small_model()
    swapped = swap_activation(teacher, SwapActivation())
    before = _agreement(swapped, teacher)
    pictures = torch.from_numpy(smooth_pictures(64, SIDE))
    assert refit(_network(swapped), _network(teacher), pictures, lambda part: normalize_pixels(part, teacher.image), 0)
    assert 1 - _agreement(swapped, teacher) < 0.5 * (1 - before)


def test_a_network_refitted_to_itself_stays_as_it_is() -> None:
    teacher, same = small_model(), small_model()
    pictures = torch.from_numpy(smooth_pictures(64, SIDE))
    assert refit(_network(same), _network(teacher), pictures, lambda part: normalize_pixels(part, teacher.image), 0)
    assert _agreement(same, teacher) > 0.999


def test_networks_of_other_widths_are_not_refitted() -> None:
    narrow, teacher = small_model(width=4), small_model()
    before = {name: value.clone() for name, value in _network(narrow).state_dict().items()}
    assert not refit(_network(narrow), _network(teacher), torch.zeros(0), lambda part: part, 0)
    assert all(torch.equal(value, before[name]) for name, value in _network(narrow).state_dict().items())


@pytest.mark.parametrize("of", ["features", "attention"])
@pytest.mark.parametrize("width", [8, 4])
def test_hints_fall_and_leave_nothing_behind(tmp_path: Path, of: str, width: int) -> None:
    teacher, student = small_model(), small_model(seed=1, width=width)
    hints = Hints(layers=(("depthwise", "depthwise"), ("deep", "deep")), of=of)  # type: ignore[arg-type]
    trained = distil(student, teacher, dataclasses.replace(SETTINGS, hints=hints, steps=60), _crops(teacher), tmp_path)
    losses = [float(row["hint"]) for row in read_log(tmp_path / "log.csv")]
    assert losses[-1] < 0.8 * losses[0]
    assert {type(part) for part in _network(trained).modules()} <= {type(part) for part in _network(student).modules()} | {
        nn.Identity
    }


def test_an_unknown_layer_is_refused_with_those_there_are(tmp_path: Path) -> None:
    teacher = small_model()
    settings = dataclasses.replace(SETTINGS, hints=Hints(layers=(("level4", "deep"),)))
    with pytest.raises(FacetteError, match="no layer 'level4' in SmallEmbedder; it has stem, norm"):
        distil(small_model(), teacher, settings, _crops(teacher), tmp_path)


def test_labels_teach_to_tell_people_apart(tmp_path: Path) -> None:
    teacher = small_model()
    shades = np.repeat(np.array([[20, 30, 200], [200, 30, 20], [30, 200, 30], [120, 120, 120]], np.uint8), 8, 0)
    crops = _crops(teacher)[0] // 4 + shades[:, None, None] // 2
    labels = [f"person {index // 8}" for index in range(len(crops))]
    settings = dataclasses.replace(SETTINGS, margin=Margin(margin=0.1, scale=8.0, weight=1.0), steps=60, learning_rate=0.02)
    distil(small_model(1), teacher, settings, [crops], tmp_path, labels)
    losses = [float(row["margin"]) for row in read_log(tmp_path / "log.csv")]
    assert losses[-1] < 0.7 * losses[0]


def test_a_margin_needs_people(tmp_path: Path) -> None:
    settings = dataclasses.replace(SETTINGS, margin=Margin())
    with pytest.raises(FacetteError, match="labels name 0 people"):
        distil(small_model(1), small_model(), settings, _crops(small_model()), tmp_path, [""] * 32)


def test_a_finished_run_returns_at_once(tmp_path: Path) -> None:
    teacher = small_model()
    first = distil(small_model(1), teacher, SETTINGS, _crops(teacher), tmp_path)
    stamp = (tmp_path / "checkpoint.pt").stat().st_mtime_ns
    again = distil(small_model(1), teacher, SETTINGS, _crops(teacher), tmp_path)
    assert (tmp_path / "checkpoint.pt").stat().st_mtime_ns == stamp
    assert all(torch.equal(value, _network(again).state_dict()[name]) for name, value in _network(first).state_dict().items())


def test_without_folding_statistics_stay_as_they_are(tmp_path: Path) -> None:
    teacher, student = small_model(), small_model(1)
    trained = distil(student, teacher, dataclasses.replace(SETTINGS, fold=False), _crops(teacher), tmp_path)
    before, after = _network(student).state_dict(), _network(trained).state_dict()
    assert torch.equal(before["norm.running_mean"], after["norm.running_mean"])
    assert not torch.equal(before["norm.weight"], after["norm.weight"])


def test_folding_keeps_the_function_and_the_modules() -> None:
    network = _network(small_model())
    x = torch.randn(3, 3, SIDE, SIDE)
    before = network(x)
    assert fold_in_place(network)
    assert isinstance(network.get_submodule("norm"), nn.Identity)
    assert network.get_submodule("stem").bias.requires_grad
    assert torch.allclose(network(x), before, atol=1e-5)


@pytest.mark.parametrize("stride", [2, 3])
def test_quick_depthwise_gradients_are_torchs_own(stride: int) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(4, 4, 3, stride, 1, groups=4)
    network = nn.Sequential(nn.Conv2d(3, 4, 1), layer)
    x = torch.randn(2, 3, 13, 11)
    names = list(network.state_dict())

    def gradients() -> list[Tensor]:
        network.zero_grad()
        network(x).square().sum().backward()
        return [parameter.grad.clone() for parameter in network.parameters() if parameter.grad is not None]

    expected = gradients()
    quicken(network)
    assert isinstance(network[1], StridedDepthwise)
    assert list(network.state_dict()) == names
    found = gradients()
    assert len(found) == len(expected) == 4
    assert all(torch.allclose(one, two, atol=1e-5) for one, two in zip(found, expected, strict=True))
    assert restore(network)[1] is layer  # type: ignore[index]


@pytest.mark.parametrize("slopes", [1, 4])
@pytest.mark.parametrize("shape", [(3, 4, 5, 6), (7, 4)])
def test_quick_prelu_gradients_are_torchs_own(slopes: int, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    layer = nn.PReLU(slopes)
    network = nn.Sequential(layer)
    torch.nn.init.uniform_(layer.weight, -0.5, 1.5)
    x = torch.randn(shape, requires_grad=True)
    weight = torch.randn(shape)
    expected = torch.autograd.grad((network(x) * weight).sum(), (x, layer.weight))
    quicken(network)
    assert isinstance(network[0], QuickPReLU)
    assert torch.equal(network(x), layer(x))
    found = torch.autograd.grad((network(x) * weight).sum(), (x, layer.weight))
    assert all(torch.allclose(one, two, atol=1e-5) for one, two in zip(found, expected, strict=True))
    assert restore(network)[0] is layer  # type: ignore[index]


def test_crops_without_the_margin_are_refused(tmp_path: Path) -> None:
    teacher = small_model()
    with pytest.raises(FacetteError, match=r"crops must be uint8 \[n, 38, 38, 3\]"):
        distil(teacher, teacher, SETTINGS, [smooth_pictures(8, SIDE)], tmp_path)
