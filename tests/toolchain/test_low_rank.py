"""Splitting layers is exact at full rank, gets cheaper, and never dearer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from facette.factorize import Inputs, cp, split_cp, split_pointwise, split_projected, split_tucker
from facette.model import Model
from facette.passes.low_rank import LowRank, low_rank
from facette.pruning.feed import normalised
from facette.reference import count_macs
from facette_runtime.errors import FacetteError, SchemaError
from facette_runtime.schema import from_dict

PICTURE = torch.randn(2, 12, 9, 9, generator=torch.Generator().manual_seed(0))


class Wide(nn.Module):
    """A k×k, a 1×1, a depthwise and a linear layer whose weights are nearly of low rank."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, 2, 1)
        self.spatial = nn.Conv2d(32, 32, 3, 1, 1)
        self.point = nn.Conv2d(32, 64, 1)
        self.depthwise = nn.Conv2d(64, 64, 3, groups=64)
        self.embedding = nn.Linear(64, 16)

    def forward(self, x: Tensor) -> Tensor:
        x = self.point(self.spatial(self.stem(x).relu()).relu())
        return self.embedding(self.depthwise(x).mean((2, 3)))


@pytest.fixture
def wide(tiny_models: tuple[Model, Model]) -> Model:
    generator = torch.Generator().manual_seed(2)

    def nearly(rows: int, columns: int, rank: int) -> Tensor:
        low = torch.randn(rows, rank, generator=generator) @ torch.randn(rank, columns, generator=generator)
        return (low + 0.02 * torch.randn(rows, columns, generator=generator)) / columns**0.5

    torch.manual_seed(0)
    network = Wide()
    with torch.no_grad():
        network.point.weight.copy_(nearly(64, 32, 4).reshape(64, 32, 1, 1))
        core = torch.randn(6, 6, 3, 3, generator=generator)
        left, right = torch.randn(32, 6, generator=generator), torch.randn(32, 6, generator=generator)
        network.spatial.weight.copy_(torch.einsum("oixy,ko,ci->kcxy", core, left, right) / 30)
    return replace(tiny_models[1], network=network.eval())


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (32, 32, 32, 3), np.uint8)


def outputs(model: Model, pictures: np.ndarray) -> Tensor:
    assert isinstance(model.network, nn.Module)
    with torch.no_grad():
        result: Tensor = model.network(normalised(model.image, pictures))
    return result


def error(model: Model, other: Model, pictures: np.ndarray) -> float:
    wanted = outputs(model, pictures)
    return float((outputs(other, pictures) - wanted).norm() / wanted.norm())


def inputs_of(x: Tensor) -> Inputs:
    rows = x.transpose(0, 1).flatten(1).double()
    return Inputs(rows.mean(1), torch.cov(rows, correction=0))


def convolution(kernel: tuple[int, int] = (3, 3), stride: int = 1, bias: bool = True) -> nn.Conv2d:
    torch.manual_seed(4)
    return nn.Conv2d(12, 10, kernel, stride, (kernel[0] // 2, kernel[1] // 2), bias=bias)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("spread", [False, True])
def test_svd_is_exact_at_full_rank(stride: int, spread: bool) -> None:
    conv = convolution((1, 1), stride)
    with torch.no_grad():
        torch.testing.assert_close(
            split_pointwise(conv, 10, inputs_of(PICTURE) if spread else None)(PICTURE), conv(PICTURE), atol=1e-5, rtol=1e-5
        )


def test_svd_of_a_linear_layer_is_exact_at_full_rank() -> None:
    torch.manual_seed(4)
    layer = nn.Linear(12, 7, bias=False)
    with torch.no_grad():
        torch.testing.assert_close(split_pointwise(layer, 7)(PICTURE[:, :, 0, 0]), layer(PICTURE[:, :, 0, 0]), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("kernel", "stride"), [((3, 3), 1), ((3, 3), 2), ((5, 3), 1)])
def test_tucker_is_exact_at_full_rank(kernel: tuple[int, int], stride: int) -> None:
    conv = convolution(kernel, stride)
    with torch.no_grad():
        torch.testing.assert_close(split_tucker(conv, 12, 10)(PICTURE), conv(PICTURE), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("kernel", "stride"), [((3, 3), 1), ((3, 3), 2), ((5, 3), 1)])
@pytest.mark.parametrize("spread", [False, True])
def test_a_projected_input_is_exact_at_full_rank(kernel: tuple[int, int], stride: int, spread: bool) -> None:
    conv = convolution(kernel, stride)
    with torch.no_grad():
        split = split_projected(conv, 12, inputs_of(PICTURE) if spread else None)
        torch.testing.assert_close(split(PICTURE), conv(PICTURE), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("kernel", "stride"), [((3, 3), 1), ((3, 3), 2), ((5, 3), 1)])
def test_cp_is_exact_at_the_tensors_own_rank(kernel: tuple[int, int], stride: int) -> None:
    conv = convolution(kernel, stride, bias=False)
    generator = torch.Generator().manual_seed(1)
    factors = [torch.randn(size, 3, generator=generator) for size in conv.weight.shape]
    conv.weight.data = torch.einsum("kr,cr,xr,yr->kcxy", *factors)
    found, energy = cp(conv.weight.detach(), 3)
    assert energy > 1 - 1e-6
    with torch.no_grad():
        wanted = conv(PICTURE)
        assert float((split_cp(conv, found)(PICTURE) - wanted).norm() / wanted.norm()) < 1e-3


def test_knowing_the_inputs_gives_a_smaller_error_of_the_outputs() -> None:
    conv = convolution((1, 1), bias=False)
    x = (PICTURE + 2) * torch.linspace(0.05, 4, 12).reshape(1, -1, 1, 1)
    with torch.no_grad():
        wanted = conv(x)
        blind, informed = (split_pointwise(conv, 3, inputs)(x) for inputs in (None, inputs_of(x)))
    assert float((informed - wanted).norm()) < 0.7 * float((blind - wanted).norm())
    torch.testing.assert_close(informed.mean((0, 2, 3)), wanted.mean((0, 2, 3)), atol=1e-4, rtol=1e-4)


def test_knowing_the_inputs_projects_them_better() -> None:
    conv = convolution(bias=False)
    x = (PICTURE + 2) * torch.linspace(0.05, 4, 12).reshape(1, -1, 1, 1)
    with torch.no_grad():
        wanted = conv(x)
        blind, informed = (split_projected(conv, 4, inputs)(x) for inputs in (None, inputs_of(x)))
    assert float((informed - wanted).norm()) < 0.7 * float((blind - wanted).norm())


@pytest.mark.parametrize("spatial", ["tucker", "cp", "project"])
def test_layers_of_low_rank_are_split_and_the_others_stay(spatial: str, wide: Model, pictures: np.ndarray) -> None:
    settings = from_dict(LowRank, {"energy": 0.7 if spatial == "cp" else 0.98, "spatial": spatial}, "passes[0]")
    split = low_rank(wide, settings)
    assert isinstance(split.network, Wide)
    kinds = {name: type(part) for name, part in split.network.named_children()}
    assert kinds["point"] is kinds["spatial"] is nn.Sequential
    assert kinds["depthwise"] is nn.Conv2d
    before, after = count_macs(wide)[0], count_macs(split)[0]
    assert before is not None
    assert after is not None
    assert after < 0.75 * before
    assert error(wide, split, pictures) < (0.9 if spatial == "cp" else 0.2)


def test_a_layer_that_would_get_dearer_stays(wide: Model, pictures: np.ndarray) -> None:
    same = low_rank(wide, LowRank(energy=1.0))
    assert count_macs(same) == count_macs(wide)
    assert error(wide, same, pictures) == 0.0


@pytest.mark.parametrize("with_pictures", [False, True])
def test_a_budget_is_met(with_pictures: bool, wide: Model, pictures: np.ndarray) -> None:
    split = low_rank(wide, LowRank(macs=0.5), pictures if with_pictures else None)
    before, after = count_macs(wide)[0], count_macs(split)[0]
    assert before is not None
    assert after is not None
    assert 0.25 <= after / before <= 0.5
    assert error(wide, split, pictures) < 0.3


def test_the_original_is_left_alone_and_the_result_is_the_same_again(wide: Model, pictures: np.ndarray) -> None:
    before = outputs(wide, pictures).clone()
    first, second = (low_rank(wide, LowRank(macs=0.6), pictures) for _ in range(2))
    assert torch.equal(outputs(wide, pictures), before)
    assert torch.equal(outputs(first, pictures), outputs(second, pictures))


def test_only_the_layers_that_are_named(wide: Model) -> None:
    split = low_rank(wide, LowRank(energy=0.9, layers=("point",)))
    assert isinstance(split.network, Wide)
    assert [name for name, part in split.network.named_children() if isinstance(part, nn.Sequential)] == ["point"]
    with pytest.raises(FacetteError, match="'depthwise' is no layer that can be split; known: stem, spatial, point, embedding"):
        low_rank(wide, LowRank(energy=0.9, layers=("depthwise",)))


def test_what_cannot_be_done_is_refused(wide: Model) -> None:
    with pytest.raises(FacetteError, match=r"macs = 0\.001 can't be reached"):
        low_rank(wide, LowRank(macs=0.001))
    with pytest.raises(FacetteError, match="ONNX file"):
        low_rank(replace(wide, network=Path("net.onnx")), LowRank(energy=0.9))


@pytest.mark.parametrize(
    ("table", "message"), [({}, "either energy"), ({"energy": 0.5, "macs": 0.5}, "either energy"), ({"energy": 0}, "above 0")]
)
def test_settings_that_contradict_themselves_are_refused(table: dict[str, object], message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        from_dict(LowRank, table, "passes[0]")
