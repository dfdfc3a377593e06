"""Tiny stand-ins for what training needs: an embedder, crops and photos of faces that are none."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from facette.model import ImageSpec, Model
from facette_runtime.manifest import Alignment, EmbeddingDecoder
from facette_runtime.types import Detections, Image

SIDE = 32
TEMPLATE = ((10.0, 12.0), (22.0, 12.0), (16.0, 18.0), (12.0, 24.0), (20.0, 24.0))


class SmallEmbedder(nn.Module):
    """Convolutions, batch norm, PReLU, a residual sum and a linear layer: something for every pass to work on."""

    def __init__(self, width: int = 8, size: int = 6) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, 2, 1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.act = nn.PReLU(width)
        self.depthwise = nn.Conv2d(width, width, 3, 2, 1, groups=width)
        self.act2 = nn.PReLU(width)
        self.point = nn.Conv2d(width, width, 1)
        self.deep = nn.Conv2d(width, width, 1)
        self.embedding = nn.Linear(width, size)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act2(self.depthwise(self.act(self.norm(self.stem(x)))))
        x = x + self.point(x)
        found: Tensor = self.embedding(self.deep(x).relu().mean((2, 3)))
        return found


def small_model(seed: int = 0, width: int = 8, size: int = 6) -> Model:
    """A random `SmallEmbedder` with batch-norm statistics that say something."""
    torch.manual_seed(seed)
    network = SmallEmbedder(width, size)
    with torch.no_grad():
        network.norm.running_mean.uniform_(-0.3, 0.3)  # type: ignore[union-attr]
        network.norm.running_var.uniform_(0.5, 2.0)  # type: ignore[union-attr]
    image = ImageSpec((SIDE, SIDE), "rgb", (127.5, 120.0, 110.0), (1 / 64, 1 / 64, 1 / 70))
    decoder = EmbeddingDecoder("embedding", size)
    return Model("small", network.eval(), image, decoder, None, Alignment((SIDE, SIDE), TEMPLATE), (), "")


def smooth_pictures(count: int, side: int, seed: int = 0) -> Image:
    """uint8 [count, side, side, 3] of smooth random colours."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, 5, 5, 3), np.uint8)
    return np.stack([cv2.resize(picture, (side, side), interpolation=cv2.INTER_CUBIC) for picture in coarse])


def write_photos(folder: Path, count: int, people: int = 0) -> None:
    """Pictures of 64×64, in a folder each for ``people`` in turn if there are any."""
    for index, picture in enumerate(smooth_pictures(count, 64)):
        place = folder / f"person{index % people}" if people else folder
        place.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(place / f"{index:02}.png"), picture)


def detect_middle(image: Image) -> Detections:
    """A stand-in that always sees a face at the same place."""
    landmarks = np.array([[[20, 25], [44, 25], [32, 38], [22, 48], [42, 48]]], np.float32)
    return Detections(np.array([[10, 10, 54, 60]], np.float32), np.ones(1, np.float32), landmarks)
