"""From the bytes that data sets hold to what a network is fed."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from facette.model import ImageSpec


def normalize_pixels(pixels: Tensor, image: ImageSpec) -> Tensor:
    """uint8 [n, h, w, 3] BGR to the network's float32 [n, 3, h, w], in channels-last memory.

    Pictures of another size than the network's are resampled between the four nearest pixels, as the runtime cuts a face out.
    """
    ordered = pixels.flip(3) if image.color_order == "rgb" else pixels
    mean = torch.tensor(image.mean, device=pixels.device)
    scale = torch.tensor(image.scale, device=pixels.device)
    normal = ((ordered.float() - mean) * scale).permute(0, 3, 1, 2)
    size = image.size_wh[::-1]
    return normal if normal.shape[2:] == size else F.interpolate(normal, size, mode="bilinear")
