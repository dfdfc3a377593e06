"""Networks small enough to compile in a test, as a user's own."""

from __future__ import annotations

import torch
from torch import Tensor, nn

GRID = 2
"""Cells a side of the detector's only level: a 64×64 input at stride 32."""


class TinyDetector(nn.Module):
    """Finds one face in the middle of every picture: constant heads, with a touch of the pixels so that parity means something."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, 15, 32, 32)
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            self.head.weight.copy_(torch.randn(self.head.weight.shape, generator=generator) * 1e-4)
            landmarks = [0.1, 0.2, 0.7, 0.2, 0.4, 0.5, 0.2, 0.8, 0.6, 0.8]
            self.head.bias.copy_(torch.tensor([0.4, 0.4, 0.9, 0.9, 2.0, *landmarks]))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        cells = self.head(x).flatten(2).transpose(1, 2)
        return cells[..., :4].relu(), cells[..., 4].sigmoid(), cells[..., 5:]


class TinyEmbedder(nn.Module):
    """Convolution, batch norm, PReLU with slopes on both sides of 1, convolution, pooling, linear."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 2, 1)
        self.norm = nn.BatchNorm2d(16)
        self.act = nn.PReLU(16)
        self.conv2 = nn.Conv2d(16, 16, 3, 2, 1, groups=16)
        self.embedding = nn.Linear(16, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv2(self.act(self.norm(self.conv1(x))))
        return self.embedding(x.mean((2, 3)))


def detector() -> nn.Module:
    """For a recipe: ``tests.toolchain.tiny:detector``."""
    return TinyDetector()


def embedder() -> nn.Module:
    """For a recipe: ``tests.toolchain.tiny:embedder``."""
    generator = torch.Generator().manual_seed(1)
    network = TinyEmbedder()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)
        network.act.weight.copy_(torch.linspace(-0.5, 2.0, 16))
        network.norm.running_mean.uniform_(-1, 1, generator=generator)
        network.norm.running_var.uniform_(0.5, 2, generator=generator)
    return network.eval()


def not_a_network() -> int:
    """For a recipe that names the wrong thing."""
    return 3
