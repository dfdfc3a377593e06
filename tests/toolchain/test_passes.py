"""Passes rewrite the graph and leave the function as it was."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from facette.model import Model
from facette.passes.fold import fold_batch_norm
from facette.passes.lower import FORMS, ReluSum, flip_steep_channels, has_prelu, lower_prelu
from facette.passes.trace import trace
from facette.train.fold import fold_in_place

PICTURE = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(5))


def outputs(model: Model) -> Tensor:
    assert isinstance(model.network, nn.Module)
    with torch.no_grad():
        return model.network(PICTURE)


@pytest.fixture
def stock(tiny_models: tuple[Model, Model]) -> Model:
    return tiny_models[1]


@pytest.fixture
def folded(stock: Model) -> Model:
    traced = trace(stock)
    assert traced is not None
    return fold_batch_norm(traced)


def kinds(model: Model) -> list[type]:
    assert isinstance(model.network, nn.Module)
    return [type(part) for part in model.network.modules()]


def test_folding_removes_the_norm_and_nothing_else(stock: Model, folded: Model) -> None:
    assert nn.BatchNorm2d in kinds(stock)
    assert nn.BatchNorm2d not in kinds(folded)
    torch.testing.assert_close(outputs(folded), outputs(stock), atol=1e-5, rtol=1e-5)


def test_flipping_leaves_no_slope_above_one(stock: Model, folded: Model) -> None:
    flipped = flip_steep_channels(folded)
    assert isinstance(flipped.network, nn.Module)
    slopes = [part.weight.detach() for part in flipped.network.modules() if isinstance(part, nn.PReLU)]
    assert len(slopes) == 1
    assert float(slopes[0].max()) <= 1
    torch.testing.assert_close(outputs(flipped), outputs(stock), atol=1e-5, rtol=1e-5)


def test_slopes_are_flipped_where_a_norm_was_folded_for_training(stock: Model) -> None:
    assert isinstance(stock.network, nn.Module)
    network = copy.deepcopy(stock.network)
    assert fold_in_place(network)
    assert nn.Identity in {type(part) for part in network.modules()}
    traced = trace(replace(stock, network=network))
    assert traced is not None
    assert nn.Identity not in kinds(traced)
    lowered = lower_prelu(flip_steep_channels(traced), "max")
    assert ReluSum not in kinds(lowered)
    torch.testing.assert_close(outputs(lowered), outputs(stock), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_each_form_is_exact_and_has_no_prelu(form: str, stock: Model, folded: Model) -> None:
    lowered = lower_prelu(flip_steep_channels(folded), form)
    assert lowered.form == form
    assert not has_prelu(lowered)
    assert FORMS[form] in kinds(lowered)
    torch.testing.assert_close(outputs(lowered), outputs(stock), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_steep_slopes_that_were_not_flipped_are_still_exact(form: str, stock: Model, folded: Model) -> None:
    lowered = lower_prelu(folded, form)
    assert ReluSum in kinds(lowered)
    torch.testing.assert_close(outputs(lowered), outputs(stock), atol=1e-5, rtol=1e-5)


def test_passes_leave_the_original_alone(stock: Model) -> None:
    before = outputs(stock).clone()
    traced = trace(stock)
    assert traced is not None
    lower_prelu(flip_steep_channels(fold_batch_norm(traced)), "dw2")
    assert torch.equal(outputs(stock), before)


class Branching(nn.Module):
    """Python code that depends on the data: no graph can say it."""

    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


def test_what_cannot_be_traced_is_left_alone(stock: Model) -> None:
    assert trace(replace(stock, network=Branching())) is None
