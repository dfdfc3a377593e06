"""Hints: besides the answer, the student is shown what the teacher thinks on the way (Romero et al., "FitNets", 2015, section 2.2).

The teacher must then be asked anew for every view, which costs about a third of a training step; in return a student that starts
close to its teacher recovers with far fewer pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from facette.model import ImageSpec
from facette.train.loop import channels_last
from facette.train.pixels import normalize_pixels
from facette_runtime.errors import FacetteError


@dataclass(frozen=True, slots=True)
class Hints:
    """Where and how much.

    Attributes:
        layers: pairs of the student's and the teacher's module, by name, whose outputs [n, c, h, w] are compared.
        of: "features" compares the outputs themselves, through a 1×1 convolution that is trained along where widths differ;
            "attention" only where the networks look: the sum of squares over the channels (Zagoruyko & Komodakis, "Paying more
            attention to attention", 2017, section 3.1).
        weight: of the mean over the layers of the squared difference, as a part of the teacher's own square.
    """

    layers: tuple[tuple[str, str], ...] = ()
    of: Literal["features", "attention"] = "features"
    weight: float = 1.0


class Watched(nn.Module):
    """A network whose intermediate outputs are given too.

    Args:
        network: to watch; it becomes a submodule.
        names: its modules whose outputs are wanted.

    Raises:
        FacetteError: it has no module of such a name; the message lists those it has.
    """

    def __init__(self, network: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.network = network
        self._names = tuple(names)
        modules = dict(network.named_modules())
        for name in names:
            if name not in modules or not name:
                known = ", ".join(child for child, _ in network.named_children())
                raise FacetteError(f"hints: no layer {name!r} in {type(network).__name__}; it has {known}, and what is within them")

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The network's output, and the outputs of the named modules."""
        seen: dict[str, Tensor] = {}
        handles = [self.network.get_submodule(name).register_forward_hook(_keeper(seen, name)) for name in self._names]
        try:
            found = self.network(x)
        finally:
            for handle in handles:
                handle.remove()
        return found, [seen[name] for name in self._names]


def _keeper(seen: dict[str, Tensor], name: str) -> Callable[[nn.Module, object, Tensor], None]:
    def keep(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        seen[name] = output

    return keep


class HintGiver:
    """A teacher that shows what it thinks on the way.

    Args:
        settings: where and how much.
        teacher: in eval mode; shown the same pictures as the student.
        image: what it is fed.
        device: where `facette.train.loop.fit` will train.

    Raises:
        FacetteError: the teacher has no layer of such a name.
    """

    def __init__(self, settings: Hints, teacher: nn.Module, image: ImageSpec, device: torch.device) -> None:
        self.settings = settings
        self._image = image
        self.student_layers = tuple(ours for ours, _ in settings.layers)
        self._teacher = channels_last(Watched(teacher, [theirs for _, theirs in settings.layers])).to(device).eval()
        self._device = device

    @torch.no_grad()
    def ask(self, pixels: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Embeddings float32 [n, d] and features of pictures uint8 [n, h, w, 3], BGR, on the device."""
        found, features = self._teacher(normalize_pixels(pixels, self._image))
        return found.float(), features

    @torch.no_grad()
    def regressors(self, student: nn.Module, image: ImageSpec) -> nn.ModuleList:
        """What brings each of the student's features to the teacher's width: nothing where it has that width already.

        Raises:
            FacetteError: the student has no layer of such a name, or what a layer gives is no picture.
        """
        ours = Watched(student, self.student_layers)(image.blank)[1]
        theirs = self._teacher(self._image.blank.to(self._device))[1]
        for names, pair in zip(self.settings.layers, zip(ours, theirs, strict=True), strict=True):
            for name, value in zip(names, pair, strict=True):
                if value.ndim != 4:
                    raise FacetteError(f"hints: layer {name!r} gives {value.ndim} dimensions, but a hint compares [n, c, h, w]")
        widths = [(one.shape[1], two.shape[1]) for one, two in zip(ours, theirs, strict=True)]
        same = self.settings.of == "attention"
        return nn.ModuleList(nn.Identity() if same or one == two else nn.Conv2d(one, two, 1) for one, two in widths)


def hint_loss(ours: Sequence[Tensor], theirs: Sequence[Tensor], kind: Literal["features", "attention"]) -> Tensor:
    """Mean over the layers of the squared difference over the teacher's square; features are float [n, c, h, w]."""
    parts = []
    for found, wanted in zip(ours, theirs, strict=True):
        found, wanted = found.float(), wanted.float()
        if found.shape[2:] != wanted.shape[2:]:
            found = F.interpolate(found, wanted.shape[2:], mode="bilinear")
        if kind == "attention":
            found, wanted = (F.normalize(part.square().sum(1).flatten(1)) for part in (found, wanted))
        parts.append((found - wanted).square().mean() / wanted.square().mean().clamp_min(1e-12))
    return torch.stack(parts).mean()
