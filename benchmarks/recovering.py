"""Short recoveries of a changed network, side by side: the same views and steps, all of the teacher's answers known beforehand."""

from __future__ import annotations

import shutil
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from facette.model import Model
from facette.passes.distil import Distil, distil
from facette.recipe import Recipe
from facette.train.log import read_log


@dataclass(frozen=True)
class Trial:
    """What is to be recovered, and how.

    Attributes:
        changed: what passes made of the teacher.
        settings: views, batch, steps and seed are the same in all that are compared.
    """

    changed: Model
    settings: Distil


@dataclass(frozen=True)
class Recovered:
    """One training.

    Attributes:
        network: at its end.
        loss: mean over the last tenth of the steps.
        images_per_second: median over the run.
    """

    network: Model
    loss: float
    images_per_second: float


def quick_settings(recipe: Recipe, steps: int) -> Distil:
    """Those of the recipe's first distillation, for short runs whose steps are all of one kind.

    Hints and what the teacher means of a face would have it run at many steps, which would hide what a step takes.
    """
    settings = next(settings for settings in recipe.embedder.passes if isinstance(settings, Distil))
    return replace(settings, steps=steps, hints=replace(settings.hints, layers=()), consensus=0, repeats=())


def recover_each(trials: Mapping[str, Trial], teacher: Model, crops: Sequence[np.ndarray]) -> dict[str, Recovered]:
    """Trains every trial, one after the other.

    Args:
        trials: by name.
        teacher: the original.
        crops: see `facette.passes.distil.distil`.
    """
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        asked = _empty(Path(folder) / "asked")
        first = next(iter(trials.values()))
        distil(first.changed, teacher, first.settings, crops, asked)  # for the teacher's answers, which the others take over
        for name, trial in trials.items():
            run = _empty(Path(folder) / name)
            shutil.copyfile(asked / "teacher.npy", run / "teacher.npy")
            network = distil(trial.changed, teacher, trial.settings, crops, run)
            log = read_log(run / "log.csv")
            losses = [float(row["loss"]) for row in log]
            speed = statistics.median(float(row["images_per_second"]) for row in log)
            found[name] = Recovered(network, statistics.fmean(losses[-max(len(losses) // 10, 1) :]), speed)
            shutil.rmtree(run)
    return found


def _empty(folder: Path) -> Path:
    folder.mkdir()
    return folder
