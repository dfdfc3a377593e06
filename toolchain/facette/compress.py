"""The recipe's passes in their order, with a measurement after each and the gate behind the last."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from facette.cache import Cache, fingerprint, key_of
from facette.data.calibration_pictures import calibration_pictures
from facette.data.faces import open_faces
from facette.finder import find_with
from facette.model import Model
from facette.passes.binarize import Binarize, binarize
from facette.passes.distil import Distil, distil, training_alignment
from facette.passes.low_rank import LowRank, low_rank
from facette.passes.prune import Prune, prune, prune_schedule
from facette.passes.qat import Qat, qat
from facette.passes.shrink_input import ShrinkInput, shrink_input
from facette.passes.sparsify import Sparsify, sparsify
from facette.passes.swap_activation import SwapActivation, swap_activation
from facette.recipe import Pass
from facette.train.crops import labelled_crops
from facette.train.hints import Hints
from facette.train.recovery import Recovery
from facette_runtime.errors import FacetteError
from facette_runtime.types import Image

PICTURES = 512
"""Shown to a pass that looks at activations or gradients."""


@dataclass(frozen=True)
class Supplies:
    """What passes need beside the network.

    Attributes:
        faces: folders, zips or CSVs of photos.
        finder: finds the faces in them, for an embedder.
        cache: keeps aligned crops and the runs of passes that train, so that a recipe that was cut off goes on.
        tell: is called with a line before each pass.
    """

    faces: tuple[Path, ...]
    finder: Model
    cache: Cache
    tell: Callable[[str], None]

    def pictures(self, model: Model) -> Image | None:
        """uint8 [n, h, w, 3] in the network's channel order; None where there are no photos."""
        if not self.faces:
            return None
        finder = None if model.alignment is None else self.finder
        return calibration_pictures(model, self.faces[0], PICTURES, finder, seed=2)

    def crops(self, model: Model, name: str, repeats: Sequence[int] = ()) -> tuple[list[np.ndarray], list[str]]:
        """Aligned faces with a margin, uint8 [n, s, s, 3], BGR, one array for each data set; and whose face each of them shows.

        Args:
            model: that is trained on them.
            name: of the pass.
            repeats: how many times each data set comes.

        Raises:
            FacetteError: there are no photos, or of other data sets than ``repeats`` is for, or the network is a detector.
        """
        if model.alignment is None:
            raise FacetteError(f"pass {name!r} trains embedders; a detector is trained by: facette train detector")
        if not self.faces:
            raise FacetteError(
                f"pass {name!r} needs faces to learn from: give --faces (a folder, .zip or .csv), or --data with UTKFace"
            )
        times = repeats or (1,) * len(self.faces)
        if len(times) != len(self.faces) or min(times) < 1:
            raise FacetteError(
                f"pass {name!r}: repeats must be {len(self.faces)} whole numbers from 1 on, one for each data set, but got {times}"
            )
        folder = self.cache.folder / "crops"
        once = [self._cut(path, model, folder / f"{self._crop_key(path, model)}.npy") for path in self.faces]
        cut = [part for part, count in zip(once, times, strict=True) for _ in range(count)]
        return [crops for crops, _ in cut], [label for _, labels in cut for label in labels]

    def _cut(self, path: Path, model: Model, kept: Path) -> tuple[np.ndarray, tuple[str, ...]]:
        return labelled_crops(open_faces(path), find_with(self.finder), training_alignment(model), kept)

    def _crop_key(self, path: Path, model: Model) -> str:
        status = path.stat()
        return key_of("mirrored", path.name, status.st_size, fingerprint(self.finder), training_alignment(model))[:16]


def compress(original: Model, passes: Sequence[Pass], supplies: Supplies) -> list[Model]:
    """The network after each pass, the original first.

    Raises:
        FacetteError: a pass does not fit the network, or needs photos that aren't there.
    """
    models = [original]
    for number, settings in enumerate(passes, 1):
        supplies.tell(f"{original.name}: pass {number} of {len(passes)}, {settings.kind}")
        models.append(replace(apply(settings, models[-1], original, supplies), statistics=None))
    return models


def apply(settings: Pass, model: Model, original: Model, supplies: Supplies) -> Model:
    """One pass; see `compress`."""
    if not isinstance(settings, Recovery):
        with _one_thread():
            return _rewrite(settings, model, supplies)
    crops, labels = supplies.crops(original, settings.kind, settings.repeats)
    parts = [fingerprint(model), fingerprint(original), settings, *map(len, crops), *(labels if settings.margin else ())]
    run = supplies.cache.folder / "runs" / key_of(*parts)[:16]
    if isinstance(settings, Distil):
        return distil(model, original, settings, crops, run, labels)
    if isinstance(settings, Qat):
        return qat(model, original, settings, crops, run, labels)
    assert isinstance(settings, Binarize)
    return binarize(model, original, settings, crops, run, labels)


def _rewrite(settings: Prune | ShrinkInput | Sparsify | LowRank | SwapActivation, model: Model, supplies: Supplies) -> Model:
    if isinstance(settings, SwapActivation):
        return swap_activation(model, settings)
    if isinstance(settings, Prune):
        return prune(model, settings, supplies.pictures(model))
    if isinstance(settings, ShrinkInput):
        return shrink_input(model, settings)
    if isinstance(settings, Sparsify):
        return sparsify(model, settings)
    return low_rank(model, settings, supplies.pictures(model))


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums over several threads differ by the last bit, and a kept run is found by every bit of the network that it began with."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def in_rounds(passes: Sequence[Pass]) -> list[Pass]:
    """Pruning in several steps with the distillation that follows it after each of them, its own steps divided among the rounds."""
    spread: list[Pass] = []
    waiting = list(passes)
    while waiting:
        settings = waiting.pop(0)
        if isinstance(settings, Prune) and settings.steps > 1 and waiting and isinstance(waiting[0], Distil):
            recovery = waiting.pop(0)
            assert isinstance(recovery, Distil)
            short = replace(recovery, steps=max(1, recovery.steps // settings.steps))
            spread += [step for cut in prune_schedule(settings) for step in (cut, short)]
        else:
            spread.append(settings)
    return spread


def words(settings: Pass) -> str:
    """The settings that differ from the pass's defaults; of a table, how many layers it names, or else only that it differs."""
    own = [(item.name, getattr(settings, item.name), _default(item)) for item in fields(settings) if item.name != "kind"]
    return ", ".join(f"{name} {_word(value)}" for name, value, usual in own if value != usual)


def _default(item: Field[Any]) -> object:
    return item.default if item.default_factory is MISSING else item.default_factory()


def _word(value: object) -> object:
    if isinstance(value, Hints):
        return len(value.layers)
    if isinstance(value, Mapping):
        return len(value)
    return "own" if is_dataclass(value) else value
