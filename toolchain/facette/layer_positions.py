"""A layer at a few positions of its output instead of all: what it reads there, and what it gives.

Neighbouring positions of a picture tell nearly the same; a few from each of many pictures say as much about a layer as all of them,
at a small part of the cost.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from facette.fake_quantize import Layer


def draw_positions(layer: Layer, inputs: Sequence[Tensor], samples: int, generator: torch.Generator) -> list[Tensor]:
    """Draws some positions of every picture's output, as many for each, none twice.

    Args:
        inputs: the layer's, [n, ...] for each chunk of pictures.
        samples: to draw in all; at least one a picture.

    Returns:
        Flat positions by chunk, int64 [n, positions a picture].
    """
    count = sum(map(len, inputs))
    chosen = []
    for x in inputs:
        available = _output_area(layer, x)
        wanted = max(1, min(available, samples // count))
        chosen.append(torch.rand(len(x), available, generator=generator).argsort(1)[:, :wanted])
    return chosen


def outputs_at(layer: Layer, x: Tensor, positions: Tensor) -> Tensor:
    """What a layer gives at some positions: [samples, out]."""
    output = layer(x)
    flat = output.flatten(2).transpose(1, 2) if isinstance(layer, nn.Conv2d) else output.reshape(len(x), -1, layer.out_features)
    return flat[torch.arange(len(x))[:, None], positions].flatten(0, 1)


def inputs_at(layer: Layer, x: Tensor, positions: Tensor) -> Tensor:
    """What a layer reads at some positions: [samples, groups, numbers of a filter], in the order of its weights."""
    picture = torch.arange(len(x))[:, None]
    if isinstance(layer, nn.Linear):
        return x.reshape(len(x), -1, layer.in_features)[picture, positions].flatten(0, 1)[:, None]
    width = _output_size(layer, x)[1]
    rows = positions.div(width, rounding_mode="floor")[..., None] * layer.stride[0]
    columns = (positions % width)[..., None] * layer.stride[1]
    rows = rows + torch.arange(layer.kernel_size[0]) * layer.dilation[0]
    columns = columns + torch.arange(layer.kernel_size[1]) * layer.dilation[1]
    pixels = _pad(layer, x).permute(0, 2, 3, 1)
    patches = pixels[picture[..., None, None], rows[..., None], columns[..., None, :]]
    patches = patches.flatten(0, 1).permute(0, 3, 1, 2)
    return patches.reshape(len(patches), layer.groups, -1)


def _output_area(layer: Layer, x: Tensor) -> int:
    if isinstance(layer, nn.Linear):
        return x[0].numel() // layer.in_features
    height, width = _output_size(layer, x)
    return height * width


def _output_size(layer: nn.Conv2d, x: Tensor) -> tuple[int, int]:
    sizes = []
    for axis, size in enumerate(_pad(layer, x[:1]).shape[2:]):
        reach = layer.dilation[axis] * (layer.kernel_size[axis] - 1) + 1
        sizes.append((size - reach) // layer.stride[axis] + 1)
    return sizes[0], sizes[1]


def _pad(layer: nn.Conv2d, x: Tensor) -> Tensor:
    if layer.padding == "valid":
        return x
    if layer.padding == "same":
        total = [d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
        before = [size // 2 for size in total]
        after = [size - half for size, half in zip(total, before, strict=True)]
    else:
        before = after = [int(side) for side in layer.padding]
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    return nn.functional.pad(x, (before[1], after[1], before[0], after[0]), mode=mode)
