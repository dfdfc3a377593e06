"""Pictures to calibrate tiny networks with."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F

from facette.model import Model
from facette_runtime.types import Image


def smooth_noise(model: Model, count: int, seed: int = 0) -> Image:
    """Six random colours a side, blended: uint8 [count, h, w, 3]. Like photos, smoother than pixels can be."""
    width, height = model.image.size_wh
    coarse = torch.rand(count, 3, 6, 6, generator=torch.Generator().manual_seed(seed)) * 255
    smooth = F.interpolate(coarse, (height, width), mode="bilinear")
    return np.ascontiguousarray(smooth.permute(0, 2, 3, 1).to(torch.uint8).numpy())
