"""Margin softmax: where labels say whose face it is, the student is also pushed to tell people apart.

Each class has a direction, trained along; an embedding's cosine to its own is made harder to reach by a margin, so that what is
learnt leaves room between people.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from facette_runtime.errors import FacetteError

UNKNOWN = -1
"""Class of a face that nobody has labelled; it takes no part."""


@dataclass(frozen=True, slots=True)
class Margin:
    """Settings of `MarginHead`.

    Attributes:
        by: "arcface": a fixed angle is added (Deng et al., 2019, section 3.1); "adaface": the margin follows the embedding's
            length, which stands for the picture's quality (Kim et al., 2022, section 3.2).
        margin: radians for "arcface", m of the paper for "adaface".
        scale: of the cosines before the softmax.
        weight: of this loss beside distillation.
        smallest_class: people with fewer pictures count as unknown.
    """

    by: Literal["arcface", "adaface"] = "arcface"
    margin: float = 0.5
    scale: float = 64.0
    weight: float = 0.1
    smallest_class: int = 2

    def __post_init__(self) -> None:
        if not 0 <= self.margin < math.pi / 2:
            raise ValueError(f"margin must lie in 0..π/2, but got {self.margin}")
        if self.scale <= 0 or self.smallest_class < 1:
            raise ValueError(f"scale must be positive and smallest_class at least 1, but got {self.scale}, {self.smallest_class}")


class MarginHead(nn.Module):
    """The classes' directions and the loss; trained along with the student and then dropped.

    Args:
        classes: how many people.
        size: length of the embedding.
        settings: which margin.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, classes: int, size: int, settings: Margin) -> None:
        super().__init__()
        self.directions = nn.Parameter(torch.randn(classes, size) * 0.01)
        self._settings = settings
        # AdaFace's running statistics of the embeddings' lengths (section 3.2: a moving average with α = 0.99).
        self.register_buffer("mean", torch.tensor(20.0))
        self.register_buffer("deviation", torch.tensor(100.0))

    def forward(self, embeddings: Tensor, classes: Tensor) -> Tensor:
        """Cross entropy, a scalar.

        Args:
            embeddings: float32 [n, d].
            classes: int64 [n]; faces of class `UNKNOWN` are left out.
        """
        known = classes != UNKNOWN
        if not bool(known.any()):
            return embeddings.sum() * 0
        embeddings, classes = embeddings[known], classes[known]
        cosines = (F.normalize(embeddings) @ F.normalize(self.directions).T).clamp(-1 + 1e-6, 1 - 1e-6)
        own = cosines.gather(1, classes[:, None]).squeeze(1)
        harder = self._harder(own, embeddings.detach().norm(dim=1))
        logits = cosines.scatter(1, classes[:, None], harder[:, None])
        return F.cross_entropy(self._settings.scale * logits, classes)

    def _harder(self, cosine: Tensor, length: Tensor) -> Tensor:
        margin = self._settings.margin
        angle = cosine.acos()
        if self._settings.by == "arcface":
            # Past π the cosine would turn round: there a constant is taken off instead, as in the authors' own code.
            return torch.where(angle + margin < math.pi, (angle + margin).cos(), cosine - margin * math.sin(margin))
        quality = self._quality(length)
        return (angle - margin * quality).clamp(1e-3, math.pi - 1e-3).cos() - (margin + margin * quality)

    def _quality(self, length: Tensor) -> Tensor:
        """AdaFace's normalised length, in −1..1 (equations 15 and 16, h = 0.333)."""
        length = length.clamp(1e-3, 100)
        if self.training and len(length) > 1:
            self.mean.lerp_(length.mean(), 0.01)
            self.deviation.lerp_(length.std(), 0.01)
        return ((length - self.mean) / (self.deviation + 1e-3) * 0.333).clamp(-1, 1)


@dataclass(frozen=True)
class People:
    """Whose face each is, and what tells them apart.

    Attributes:
        head: trained along.
        classes: int64 [faces], see `classes_of`.
        weight: of the loss.
    """

    head: MarginHead
    classes: Tensor
    weight: float

    @classmethod
    def of(cls, labels: Sequence[str], size: int, settings: Margin, seed: int) -> People:
        """The people of ``labels``, one label for each face, and a new head for embeddings of length ``size``.

        Raises:
            FacetteError: as `classes_of`.
        """
        classes, count = classes_of(labels, settings.smallest_class)
        torch.manual_seed(seed)
        return cls(MarginHead(count, size, settings), classes, settings.weight)


def classes_of(labels: Sequence[str], smallest: int) -> tuple[Tensor, int]:
    """Numbers the people.

    Returns:
        int64 [n]: a number for each label, `UNKNOWN` for "" and for people with fewer than ``smallest`` pictures; and how many
        people there are.

    Raises:
        FacetteError: fewer than two people are left.
    """
    counts: dict[str, int] = {}
    for label in labels:
        counts[label] = counts.get(label, 0) + 1
    people = sorted(label for label, count in counts.items() if label and count >= smallest)
    if len(people) < 2:
        raise FacetteError(
            f"margin: the data's labels name {len(people)} people with {smallest} pictures or more, and it takes two: "
            "give a folder with a sub-folder for each person, or a CSV with the columns path,label"
        )
    numbers = {label: number for number, label in enumerate(people)}
    return torch.tensor([numbers.get(label, UNKNOWN) for label in labels]), len(people)
