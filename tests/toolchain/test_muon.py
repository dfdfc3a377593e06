"""Muon: matrices step evenly in all directions, everything else as by AdamW."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from facette.train.muon import Muon, is_matrix, orthogonalize

RATE, DECAY = 1e-2, 0.1


@pytest.mark.parametrize("shape", [(8, 24), (24, 8), (16, 16)])
def test_orthogonalizing_keeps_directions_and_evens_their_sizes(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    matrix = torch.randn(shape) @ torch.diag(torch.logspace(0, -0.5, shape[1]))
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    found = left.T @ orthogonalize(matrix) @ right.T
    sizes = found.diagonal()
    assert float(sizes.min()) > 0.5
    assert float(sizes.max()) < 1.3
    assert float((found - torch.diag(sizes)).abs().max()) < 1e-2


def _network() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.PReLU(8), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 16, 1), nn.Flatten(), nn.Linear(16 * 4, 4)
    )


def _step(network: nn.Sequential, optimizer: torch.optim.Optimizer) -> None:
    x = torch.randn(6, 3, 6, 6, generator=torch.Generator().manual_seed(2))
    optimizer.zero_grad()
    network(x).square().mean().backward()
    optimizer.step()


def _muon(network: nn.Sequential, decay: float = DECAY) -> Muon:
    return Muon(_groups(network, decay), RATE)


def _groups(network: nn.Sequential, decay: float) -> list[dict[str, Any]]:
    vectors = [p for p in network.parameters() if p.ndim == 1]
    others = [p for p in network.parameters() if p.ndim > 1]
    return [{"params": others, "weight_decay": decay}, {"params": vectors, "weight_decay": 0.0}]


def test_only_what_mixes_channels_steps_otherwise_than_by_adamw() -> None:
    ours, theirs = _network(), _network()
    _step(ours, _muon(ours))
    _step(theirs, torch.optim.AdamW(_groups(theirs, DECAY), lr=RATE))
    otherwise = {name for name, p in ours.named_parameters() if not torch.equal(p, theirs.get_parameter(name))}
    assert otherwise == {"0.weight", "3.weight", "5.weight"}
    assert otherwise == {name for name, p in ours.named_parameters() if is_matrix(p)}


def test_a_matrix_steps_as_far_as_adamw_would() -> None:
    network = _network()
    before = network[3].weight.detach().clone()
    _step(network, _muon(network, 0.0))
    moved = (network[3].weight.detach() - before).square().mean().sqrt()  # type: ignore[operator, union-attr]
    assert 0.1 * RATE < float(moved) < 0.25 * RATE


def test_small_directions_are_learnt_sooner_than_by_gradient_descent() -> None:
    torch.manual_seed(3)
    x = torch.randn(512, 16) @ torch.diag(torch.logspace(0, -1.5, 16))
    y = x @ torch.randn(16, 8)

    def error_after(kind: str) -> float:
        layer = nn.Linear(16, 8, bias=False)
        nn.init.zeros_(layer.weight)
        groups: list[dict[str, Any]] = [{"params": list(layer.parameters()), "weight_decay": 0.0}]
        optimizer: torch.optim.Optimizer = Muon(groups, 0.1) if kind == "muon" else torch.optim.SGD(groups, lr=2.0)
        start = optimizer.param_groups[0]["lr"]
        for step in range(300):
            optimizer.param_groups[0]["lr"] = start * (1 - step / 300)
            optimizer.zero_grad()
            loss = (layer(x) - y).square().mean()
            loss.backward()
            optimizer.step()
        return float(loss.detach())

    assert error_after("muon") < 0.1 * error_after("sgd")


def test_its_state_is_taken_up_again() -> None:
    whole, cut = _network(), _network()
    first = _muon(whole)
    for _ in range(4):
        _step(whole, first)
    before = _muon(cut)
    for _ in range(2):
        _step(cut, before)
    resumed = copy.deepcopy(cut)
    after = _muon(resumed)
    after.load_state_dict(before.state_dict())
    for _ in range(2):
        _step(resumed, after)
    pairs: list[tuple[Tensor, Tensor]] = list(zip(whole.parameters(), resumed.parameters(), strict=True))
    assert all(torch.equal(one, two) for one, two in pairs)
