"""The loss of a student that gives its teacher's embeddings: same pictures, same answers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from facette.model import ImageSpec
from facette.train.hints import HintGiver, Watched, hint_loss
from facette.train.loop import channels_last
from facette.train.margin import MarginHead, People
from facette.train.pixels import normalize_pixels
from facette.train.teacher import embed


@dataclass(frozen=True, slots=True)
class LossWeights:
    """Weights of the parts of the loss.

    Attributes:
        distance: mean Euclidean distance of student and teacher embedding.
        squared: mean squared distance; punishes the worst faces more.
        cosine: one minus their cosine.
        relation: mean absolute difference of the two batches' matrices of pairwise distances (Park et al.,
            "Relational knowledge distillation", 2019, section 3.2.1, not normalised, since the scale of the distances
            must be kept).
        normalize: whether embeddings are first scaled to length one: for networks that are compared by cosine, whose lengths mean
            nothing.
    """

    distance: float = 1.0
    squared: float = 1.0
    cosine: float = 1.0
    relation: float = 0.5
    normalize: bool = False


@dataclass(frozen=True, slots=True)
class Agreement:
    """How close a student's embeddings are to the teacher's.

    Attributes:
        distance: mean Euclidean distance, un-normalised embeddings.
        cosine: mean cosine.
        pictures: how many faces.
    """

    distance: float
    cosine: float
    pictures: int


class Apprentice(nn.Module):
    """The student with what is trained along and then dropped.

    Args:
        network: the student proper.
        head: tells people apart, where labels are used.
        regressors: bring features to the teacher's widths, where hints are given.
    """

    def __init__(self, network: nn.Module, head: MarginHead | None, regressors: nn.ModuleList | None) -> None:
        super().__init__()
        self.network, self.head, self.regressors = network, head, regressors


class EmbeddingTask:
    """The distillation loss; a batch is uint8 [n, size, size, 3] BGR pixels, the faces' numbers and the teacher's embeddings
    float32 [n, d]; without these, the teacher of the hints is asked.

    Args:
        student: in eval mode, on the CPU.
        image: what it is fed.
        weights: of the embedding's loss.
        hints: features to imitate too, and the teacher that shows them.
        people: tells people apart by their labels too.

    Attributes:
        student: what `fit` trains: an `Apprentice`; the network is trained in place.
    """

    def __init__(
        self,
        student: nn.Module,
        image: ImageSpec,
        weights: LossWeights,
        hints: HintGiver | None = None,
        people: People | None = None,
    ) -> None:
        regressors = None if hints is None else hints.regressors(student, image)
        head = None if people is None else people.head
        self.student: nn.Module = Apprentice(channels_last(student), head, regressors)
        self._look = Watched(student, () if hints is None else hints.student_layers)
        self._image, self._weights, self._hints, self._people = image, weights, hints, people

    def loss(self, batch: tuple[Tensor, ...]) -> tuple[Tensor, dict[str, float]]:
        pixels, faces = batch[0], batch[1]
        apprentice = self.student
        assert isinstance(apprentice, Apprentice)
        found, features = self._look(normalize_pixels(pixels, self._image))
        found = found.float()
        wanted, shown = (batch[2], ()) if self._hints is None else self._hints.ask(pixels)
        total, parts = embedding_loss(found, batch[2] if len(batch) > 2 else wanted, self._weights)
        if self._hints is not None and apprentice.regressors is not None:
            brought = [regressor(feature) for regressor, feature in zip(apprentice.regressors, features, strict=True)]
            hint = hint_loss(brought, shown, self._hints.settings.of)
            total = total + self._hints.settings.weight * hint
            parts["hint"] = float(hint.detach())
        if self._people is not None and apprentice.head is not None:
            margin = apprentice.head(found, self._people.classes.to(faces.device)[faces])
            total = total + self._people.weight * margin
            parts["margin"] = float(margin.detach())
        return total, parts


def embedding_loss(found: Tensor, wanted: Tensor, weights: LossWeights) -> tuple[Tensor, dict[str, float]]:
    """The weighted sum and its parts, of embeddings float32 [n, d]."""
    if weights.normalize:
        found, wanted = F.normalize(found), F.normalize(wanted)
    squared = (found - wanted).square().sum(1)
    distance = (squared + 1e-8).sqrt().mean()
    cosine = 1 - F.cosine_similarity(found, wanted).mean()
    relation = (_distances(found) - _distances(wanted)).abs().mean()
    total = weights.distance * distance + weights.squared * squared.mean() + weights.cosine * cosine + weights.relation * relation
    parts = {"distance": distance, "cosine": cosine, "relation": relation}
    return total, {name: float(value.detach()) for name, value in parts.items()}


def agreement(student: nn.Module, pixels: Tensor, wanted: Tensor, image: ImageSpec) -> Agreement:
    """Compares what the student, in eval mode on the CPU, gives for uint8 [n, h, w, 3] BGR crops with what is wanted."""
    ours = torch.from_numpy(embed(student, pixels, image, torch.device("cpu")))
    return Agreement(float((ours - wanted).norm(dim=1).mean()), float(F.cosine_similarity(ours, wanted).mean()), len(pixels))


def _distances(x: Tensor) -> Tensor:
    # Through the Gram matrix: torch.cdist has no gradient at distance zero, which every face has to itself.
    squares = x.square().sum(1)
    return (squares[:, None] + squares - 2 * x @ x.T).clamp_min(1e-6).sqrt()
