"""From the bytes that data sets hold to what a network is fed."""

from __future__ import annotations

import torch
from torch import Tensor

from facette.model import ImageSpec


def normalize_pixels(pixels: Tensor, image: ImageSpec) -> Tensor:
    """uint8 [n, h, w, 3] BGR to the network's float32 [n, 3, h, w], in channels-last memory."""
    ordered = pixels.flip(3) if image.color_order == "rgb" else pixels
    mean = torch.tensor(image.mean, device=pixels.device)
    scale = torch.tensor(image.scale, device=pixels.device)
    return ((ordered.float() - mean) * scale).permute(0, 3, 1, 2)
