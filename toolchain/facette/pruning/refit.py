"""Corrects the weights that are left by least squares, layer by layer, so that training starts close to the uncut network.

Each convolution is solved so that from what the cut network gives it, it makes what the uncut one makes at the channels that are
left (He, Zhang & Sun, "Channel pruning for accelerating very deep neural networks", 2017, section 3.1). The layers before it are
solved already, so errors are corrected on the way rather than piled up; and the last convolution of a residual block is also
asked for what the stream lacks on arrival (their section 3.2).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from facette.model import Model
from facette.pruning.blocks import find_blocks, norms_after
from facette.pruning.cut import is_depthwise
from facette.pruning.feed import noise, normalised
from facette.pruning.regress import patches, solve_depthwise
from facette.pruning.walk import Walk
from facette.train.least_squares import CHUNK, solve

SAMPLES = 20_000
"""Output positions that one problem sees; layers with large pictures need fewer of them to be solved."""

PICTURES = 4
"""Times as many pictures as would do for `SAMPLES`, so that not every position of one is used."""

WEAKEST = 1e-2
"""A batch norm's scale, as a part of its mean one, below which what the stream lacks can't be asked through it."""


class Refit:
    """One correction.

    Args:
        model: uncut.
        narrow: the network to correct, in place.
        kept: the uncut network's channels that are left, by layer and side; those not named are whole.
        pictures: uint8 [n, h, w, 3] in the network's channel order; as many as the last layers read channels, or more.
        seed: of the positions sampled.
    """

    def __init__(
        self, model: Model, narrow: nn.Module, kept: Mapping[tuple[str, str], Tensor], pictures: np.ndarray, seed: int
    ) -> None:
        assert isinstance(model.network, nn.Module)
        x = noise(model.image)
        self._narrow, self._kept = narrow, kept
        self._generator = torch.Generator().manual_seed(seed)
        self._blocks = {block.last: block.name for block in find_blocks(model)}
        self._norms = norms_after(narrow, x)
        chunks = [normalised(model.image, pictures[start : start + CHUNK]) for start in range(0, len(pictures), CHUNK)]
        self._walk = Walk((model.network, narrow), chunks, x)

    @torch.no_grad()
    def run(self) -> None:
        """Solves every layer that a cut has reached, in the order in which the network runs."""
        reached = False
        whole, layers = self._walk.networks[0], self._walk.positions
        for name in tqdm(layers, desc="refit", unit="layer", dynamic_ncols=True, leave=False):
            layer, original = self._narrow.get_submodule(name), whole.get_submodule(name)
            assert isinstance(layer, (nn.Conv2d, nn.Linear))
            reached = (
                reached or layer.weight[0].shape != original.get_parameter("weight")[0].shape or self._walk.skipped_before(name)
            )
            if reached:
                self._walk.go_to(name)
                self._fit(name, layer, layers[name])

    def _fit(self, name: str, layer: nn.Conv2d | nn.Linear, positions: int) -> None:
        bn = self._narrow.get_submodule(self._norms[name]) if name in self._norms else None
        constant = layer.bias is not None or bn is not None
        pairs = self._pairs(name, layer, bn, positions)
        solver = solve_depthwise if is_depthwise(layer) else solve
        weight, bias = solver(pairs, layer.weight.flatten(1), bias=constant)
        layer.weight.copy_(weight.reshape(layer.weight.shape))
        if layer.bias is not None:
            layer.bias.copy_(bias)
        elif bn is not None:
            mean = bn.running_mean
            assert isinstance(mean, Tensor)
            mean.sub_(bias)

    def _pairs(
        self, name: str, layer: nn.Conv2d | nn.Linear, bn: nn.Module | None, positions: int
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """What a layer of the cut network sees and what should give: x [m, inputs], depthwise [m, c, taps]; y [m, outputs]."""
        pictures = min(self._walk.pictures, max(CHUNK, PICTURES * SAMPLES // positions))
        share = min(positions, max(1, SAMPLES // pictures))
        block = self._blocks.get(name)
        left = self._kept.get((name, "out"), torch.arange(len(layer.weight)))
        streams = {"stream": block} if block else {}
        for chunk in range(-(-pictures // CHUNK)):
            truth = self._walk.see(0, chunk, streams, {"y": name})
            ours = self._walk.see(1, chunk, {"x": name, **streams}, {})
            wanted = truth["y"][:, left]
            if block is not None:
                lack = truth["stream"][:, left] - ours["stream"]
                wanted = wanted + lack[..., : wanted.shape[2], : wanted.shape[3]] * _gain(bn, len(left))
            if isinstance(layer, nn.Linear):
                yield ours["x"], wanted
                continue
            picked = torch.randperm(positions, generator=self._generator)[:share]
            yield patches(layer, ours["x"], picked), wanted.flatten(2)[:, :, picked].transpose(1, 2).flatten(0, 1)


def _gain(bn: nn.Module | None, channels: int) -> Tensor:
    """What must be added before a batch norm for one more behind it: σ/γ, and nothing where γ is next to zero."""
    if bn is None:
        return torch.ones(1, channels, 1, 1)
    assert isinstance(bn, nn.BatchNorm2d)
    assert bn.running_var is not None
    weak = bn.weight.abs() < WEAKEST * bn.weight.abs().mean()
    gain = (bn.running_var + bn.eps).sqrt() / torch.where(weak, 1.0, bn.weight)
    return torch.where(weak, 0.0, gain).reshape(1, -1, 1, 1)
