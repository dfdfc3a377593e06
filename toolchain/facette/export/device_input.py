"""The graph that a device runs: uint8 pixels in, normalisation inside, named outputs."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from facette.model import ImageSpec, Model

INPUT_NAME = "image"


class DeviceNetwork(nn.Module):
    """Feeds a network from uint8 [n, h, w, 3] in its own channel order.

    Args:
        model: with a torch network.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, model: Model) -> None:
        super().__init__()
        assert isinstance(model.network, nn.Module)
        self.network = model.network
        self.output_names = model.output_names
        self.register_buffer("mean", torch.tensor(model.image.mean).reshape(1, 3, 1, 1))
        self.register_buffer("scale", torch.tensor(model.image.scale).reshape(1, 3, 1, 1))

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        # Transposed while still bytes: a quarter of the memory traffic.
        pixels = image.permute(0, 3, 1, 2).to(torch.float32)
        outputs = self.network((pixels - self.mean) * self.scale)
        outputs = (outputs,) if isinstance(outputs, Tensor) else outputs
        return dict(zip(self.output_names, outputs, strict=True))


def example_input(image: ImageSpec, batch: int) -> Tensor:
    """uint8 [batch, h, w, 3], to trace with."""
    width, height = image.size_wh
    return torch.zeros(batch, height, width, 3, dtype=torch.uint8)
