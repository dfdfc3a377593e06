"""What a layer reads at a position, times its weights, is what it gives there."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from facette.layer_positions import draw_positions, inputs_at, outputs_at

LAYERS = {
    "pointwise": nn.Conv2d(8, 6, 1),
    "strided": nn.Conv2d(8, 6, 3, 2, 1),
    "depthwise": nn.Conv2d(8, 16, 3, padding="valid", groups=8),
    "grouped, dilated": nn.Conv2d(8, 6, (3, 2), dilation=(1, 2), padding="same", groups=2),
    "replicated": nn.Conv2d(8, 6, 5, padding=2, padding_mode="replicate"),
    "whole": nn.Conv2d(8, 6, (7, 9)),
}


@pytest.mark.parametrize("name", LAYERS)
@torch.no_grad()
def test_a_convolution_is_a_product_at_each_position(name: str) -> None:
    layer, generator = LAYERS[name], torch.Generator().manual_seed(0)
    x = torch.randn(5, 8, 7, 9, generator=generator)
    (positions,) = draw_positions(layer, [x], 60, generator)
    weight = layer.weight.reshape(layer.groups, layer.out_channels // layer.groups, -1)
    assert layer.bias is not None
    given = torch.einsum("sgk,gok->sgo", inputs_at(layer, x, positions), weight).flatten(1) + layer.bias
    torch.testing.assert_close(given, outputs_at(layer, x, positions), atol=1e-5, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("shape", [(5, 8), (5, 3, 8)])
def test_so_is_a_linear_layer(shape: tuple[int, ...]) -> None:
    layer, x = nn.Linear(8, 6), torch.randn(shape, generator=torch.Generator().manual_seed(0))
    (positions,) = draw_positions(layer, [x], 10, torch.Generator())
    given = inputs_at(layer, x, positions)[:, 0] @ layer.weight.T + layer.bias
    torch.testing.assert_close(given, outputs_at(layer, x, positions))


def test_positions_are_spread_over_the_pictures_and_differ() -> None:
    layer = nn.Conv2d(1, 1, 1)
    chunks = [torch.zeros(3, 1, 4, 4), torch.zeros(1, 1, 4, 4)]
    first, second = draw_positions(layer, chunks, 20, torch.Generator().manual_seed(0))
    assert (first.shape, second.shape) == ((3, 5), (1, 5))
    assert all(len(set(row.tolist())) == 5 and min(row) >= 0 and max(row) < 16 for row in [*first, *second])
    assert [part.shape[1] for part in draw_positions(layer, chunks, 1, torch.Generator())] == [1, 1]
    assert [part.shape[1] for part in draw_positions(layer, chunks, 1000, torch.Generator())] == [16, 16]
