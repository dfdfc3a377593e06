"""Quantization-aware training: rounding stands where engines round, and what comes back is a float network."""

from __future__ import annotations

import copy
import dataclasses
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from facette.calibration import Calibration
from facette.export import export
from facette.fake_quantize import is_coarse, is_on_grid, round_activation, round_weight
from facette.forms import graph_forms
from facette.model import Model
from facette.passes.distil import training_alignment
from facette.passes.fold import fold_batch_norm
from facette.passes.qat import Qat, QatEngine, qat, with_rounding
from facette.passes.swap_activation import SwapActivation, swap_activation
from facette.passes.trace import trace
from facette.train.fake_int8 import RoundedActivation, RoundedWeight
from facette.train.fold import fold_in_place
from facette.train.log import read_log
from facette.train.pixels import normalize_pixels
from facette_runtime.engines import open_engine
from facette_runtime.errors import FacetteError
from tests.toolchain.faces import SIDE, small_model, smooth_pictures

SETTINGS = Qat(steps=40, batch=8, learning_rate=3e-3, warmup=2, ema=0.5, views=2, precision="fp32", checkpoint_every=10)


def _rounded(engine: QatEngine) -> list[str]:
    """What is rounded in a ReLU network, by the name of the node before the rounding."""
    network = swap_activation(small_model(), SwapActivation()).network
    assert isinstance(network, nn.Module)
    fold_in_place(network)
    graph = with_rounding(network, engine, 0.1)
    return [node.args[0].name for node in graph.graph.nodes if str(node.target).startswith("rounding_")]


def test_onnxruntime_rounds_behind_fused_activations_and_round_sums() -> None:
    # Neither stem nor depthwise nor deep on their own: the ReLU behind them runs within.
    assert _rounded("onnxruntime") == ["x", "act", "act2", "point", "add", "relu", "mean"]


def test_litert_rounds_the_output_too() -> None:
    assert _rounded("litert") == ["x", "act", "act2", "point", "add", "relu", "mean", "embedding"]


def test_what_an_engine_does_not_fuse_is_rounded_on_both_sides() -> None:
    network = small_model().network
    assert isinstance(network, nn.Module)
    fold_in_place(network)
    graph = with_rounding(network, "onnxruntime", 0.1)
    named = [node.args[0].name for node in graph.graph.nodes if str(node.target).startswith("rounding_")]
    assert named[:5] == ["x", "stem", "act", "depthwise", "act2"]


def test_rounding_is_the_exporters() -> None:
    torch.manual_seed(0)
    weight = torch.randn(4, 3, 2, 2)
    assert torch.allclose(RoundedWeight()(weight), round_weight(weight), atol=1e-6)
    rounding = RoundedActivation(0.5)
    x = torch.randn(64)
    rounding(x)
    low, high = float(rounding.low), float(rounding.high)
    assert (low, high) == (float(x.min()), float(x.max()))
    assert torch.allclose(rounding.eval()(x), round_activation(x, low, high), atol=1e-5)


def test_ranges_follow_in_training_only() -> None:
    rounding = RoundedActivation(0.25)
    rounding(torch.tensor([-1.0, 1.0]))
    rounding(torch.tensor([-1.0, 5.0]))
    assert float(rounding.high) == 2.0
    rounding.eval()(torch.tensor([-9.0, 9.0]))
    assert (float(rounding.low), float(rounding.high)) == (-1.0, 2.0)


def test_gradients_pass_straight_through_but_not_beyond_the_range() -> None:
    rounding = RoundedActivation(1.0)
    rounding(torch.tensor([0.0, 1.0]))
    x = torch.tensor([0.3, 5.0], requires_grad=True)
    rounding.eval()(x).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [1.0, 0.0]


def test_the_rounding_is_onnxruntimes_own() -> None:
    model = swap_activation(small_model(), SwapActivation())
    traced = trace(model)
    assert traced is not None
    pictures = smooth_pictures(64, SIDE, seed=3)
    rgb = np.ascontiguousarray(pictures[..., ::-1])
    content = export(fold_batch_norm(traced), "onnxruntime", "int8", Calibration(rgb, "64 pictures", "min-max")).model
    engine = open_engine("onnxruntime", content, 1).run({"image": rgb})["embedding"]
    network = copy.deepcopy(model.network)
    assert isinstance(network, nn.Module)
    assert isinstance(model.network, nn.Module)
    fold_in_place(network)
    graph = with_rounding(network, "onnxruntime", 1.0).train()
    x = normalize_pixels(torch.from_numpy(pictures), model.image)
    with torch.no_grad():
        graph(x)
        rounded, exact = graph.eval()(x).numpy(), model.network(x).numpy()
    # Not bit for bit: requantization rounds in fixed point, and the ranges are float32 here and there.
    assert np.linalg.norm(engine - rounded) < 0.6 * np.linalg.norm(engine - exact)


def _rounded_loss(model: Model, teacher: Model, engine: QatEngine) -> float:
    """How far the network is from its teacher when everything is rounded."""
    network = copy.deepcopy(model.network)
    assert isinstance(network, nn.Module)
    assert isinstance(teacher.network, nn.Module)
    fold_in_place(network)
    graph = with_rounding(network, engine, 1.0).train()
    x = normalize_pixels(torch.from_numpy(smooth_pictures(64, SIDE, seed=5)), model.image)
    with torch.no_grad():
        graph(x)
        found: Tensor = graph.eval()(x)
        return float(1 - F.cosine_similarity(found, teacher.network(x)).mean())


@pytest.mark.parametrize("engine", ["onnxruntime", "litert"])
def test_a_network_whose_scales_are_spoilt_learns_to_agree_again(tmp_path: Path, engine: QatEngine) -> None:
    teacher = small_model()
    hurt = small_model()
    assert isinstance(hurt.network, nn.Module)
    with torch.no_grad():  # one huge weight leaves a channel's others a few codes only
        for layer in (hurt.network.point, hurt.network.deep):
            layer.weight[:, 0] += 4 * layer.weight.abs().max()  # type: ignore[index, operator, union-attr]
    crops = [smooth_pictures(32, training_alignment(teacher).size_wh[0])]
    settings = dataclasses.replace(SETTINGS, engine=engine, steps=100)
    trained = qat(hurt, teacher, settings, crops, tmp_path)
    assert _rounded_loss(trained, teacher, engine) < 0.5 * _rounded_loss(hurt, teacher, engine)
    assert isinstance(trained.network, nn.Module)
    assert not any(parametrize.is_parametrized(part) for part in trained.network.modules())
    assert not any(isinstance(part, RoundedActivation) for part in trained.network.modules())
    losses = [float(row["loss"]) for row in read_log(tmp_path / "log.csv")]
    again = qat(hurt, teacher, settings, crops, tmp_path)
    assert losses == [float(row["loss"]) for row in read_log(tmp_path / "log.csv")]
    assert isinstance(again.network, nn.Module)
    pairs = zip(again.network.state_dict().values(), trained.network.state_dict().values(), strict=True)
    assert all(torch.equal(one, two) for one, two in pairs)


@pytest.mark.parametrize("activations", [True, False])
def test_weights_of_few_bits_come_back_rounded_and_stay_so_in_int8(tmp_path: Path, activations: bool) -> None:
    model = swap_activation(small_model(width=16), SwapActivation())
    crops = [smooth_pictures(32, training_alignment(model).size_wh[0])]
    settings = dataclasses.replace(SETTINGS, weight_bits=3, activations=activations)
    trained = qat(model, small_model(width=16), settings, crops, tmp_path)
    layers = {name: layer for name, layer in trained.network.named_modules() if isinstance(layer, (nn.Conv2d, nn.Linear))}  # type: ignore[union-attr]
    bits = json.loads((tmp_path / "weight_bits.json").read_text())
    assert list(bits) == ["point", "deep", "embedding"]
    assert all(is_on_grid(layers[name].weight, count) for name, count in bits.items())
    weights = {name: layers[name].weight.numel() for name in bits}
    assert sum(count * weights[name] for name, count in bits.items()) <= 3 * sum(weights.values())
    assert not any(is_on_grid(layer.weight, 7) for name, layer in layers.items() if name not in bits)
    assert is_coarse(trained.network)  # type: ignore[arg-type]
    (form,) = graph_forms(trained)
    calibration = Calibration(np.ascontiguousarray(smooth_pictures(8, SIDE)[..., ::-1]), "8 pictures", "min-max")
    content = export(form, "onnxruntime", "int8", calibration).model
    codes = {item.name: numpy_helper.to_array(item) for item in onnx.load_from_string(content).graph.initializer}
    square = [item for item in codes.values() if item.dtype == np.int8 and item.size == 16 * 16]
    assert len(square) == 2
    most = sorted(2 ** bits[name] - 1 for name in ("point", "deep"))
    assert all(len(np.unique(item)) <= most[-1] for item in square)
    assert min(len(np.unique(item)) for item in square) <= most[0]


@pytest.mark.parametrize("bits", [1, 9])
def test_bits_that_no_weights_have_are_refused(bits: int) -> None:
    with pytest.raises(ValueError, match=f"weight_bits must lie in 2..8, but got {bits}"):
        Qat(weight_bits=bits)


def test_what_cannot_be_traced_is_refused(tmp_path: Path) -> None:
    class Branching(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mean((2, 3)) if x.sum() > 0 else -x.mean((2, 3))

    model = dataclasses.replace(small_model(), network=Branching())
    crops = [np.zeros((8, 38, 38, 3), np.uint8)]
    with pytest.raises(FacetteError, match="can't trace"):
        qat(model, small_model(), SETTINGS, crops, tmp_path)
