"""Which optimizer brings a changed network back soonest: MobileFaceNet-y1 as `mobilefacenet-half` changes it, on the same views.

Every optimizer trains the same network for the same steps at several learning rates. What counts is the loss at the end, where
the learning rate has come down; the seconds tell what a step costs, with all of the teacher's answers known beforehand.

    python benchmarks/recovery_optimizers.py --data FOLDER --weights FOLDER [--steps 1000] [--threads 1] [--json FILE]
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, replace
from itertools import takewhile

import torch

from facette.cache import Cache, default_folder, tool_versions
from facette.commands.compile import faces_option
from facette.compress import Supplies, compress
from facette.loading import load_models
from facette.recipe import load_recipe
from facette.tables import table
from facette.train.loop import OptimizerName
from facette.train.recovery import Recovery
from facette_runtime.errors import FacetteError
from facette_runtime.machine import Machine, describe_machine
from harness import add_data_and_weights, data_and_weights, new_parser, run_benchmark
from recovering import Trial, quick_settings, recover_each

RECIPE = "mobilefacenet-half"
CONTENDERS: tuple[tuple[OptimizerName, float], ...] = (
    ("adamw", 5e-4),
    ("muon", 5e-4),
    ("adamw", 1e-3),
    ("muon", 1e-3),
    ("adamw", 2e-3),
    ("muon", 2e-3),
)


@dataclass(frozen=True)
class Row:
    """One training.

    Attributes:
        loss: mean over the last tenth of the steps.
        images_per_second: median over the run.
    """

    optimizer: OptimizerName
    learning_rate: float
    loss: float
    images_per_second: float


@dataclass(frozen=True)
class Result:
    """The benchmark's result and what made it."""

    recipe: str
    steps: int
    batch: int
    threads: int
    machine: Machine
    tools: dict[str, str]
    rows: list[Row]


def main() -> int:
    """Runs the benchmark."""
    parser = new_parser(__doc__)
    add_data_and_weights(parser, data="UTKFace", weights="the public weights")
    parser.add_argument("--steps", type=int, default=1000, help="of each training (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="torch's (default: %(default)s)")
    return run_benchmark(parser, measure, print_result)


def measure(arguments: argparse.Namespace) -> Result:
    """Cuts the network and trains it once by each contender."""
    if min(arguments.steps, arguments.threads) < 1:
        raise FacetteError("--steps and --threads must be at least 1")
    data, weights = data_and_weights(arguments)
    recipe = load_recipe(RECIPE)
    detector, teacher = load_models(recipe, weights)
    supplies = Supplies(faces_option([], data), detector, Cache(default_folder()), print)
    changing = list(takewhile(lambda settings: not isinstance(settings, Recovery), recipe.embedder.passes))
    changed = compress(teacher, changing, supplies)[-1]
    alone = quick_settings(recipe, arguments.steps)
    torch.set_num_threads(arguments.threads)
    trials = {
        f"{optimizer} {rate:g}": Trial(changed, replace(alone, optimizer=optimizer, learning_rate=rate))
        for optimizer, rate in CONTENDERS
    }
    found = recover_each(trials, teacher, supplies.crops(teacher, "distil")[0])
    rows = [
        Row(optimizer, rate, each.loss, each.images_per_second)
        for (optimizer, rate), each in zip(CONTENDERS, found.values(), strict=True)
    ]
    return Result(RECIPE, arguments.steps, alone.batch, arguments.threads, describe_machine(), tool_versions(), rows)


def print_result(result: Result) -> None:
    """A table, and the best of each optimizer."""
    print(f"{result.recipe}, {result.steps} steps of {result.batch} faces, {result.threads} threads, {result.machine.name}")
    rows = [(row.optimizer, f"{row.learning_rate:g}", f"{row.loss:.4f}", f"{row.images_per_second:.1f}") for row in result.rows]
    print(table(("optimizer", "learning rate", "loss at the end", "images/s"), rows))
    best = {
        name: min((row for row in result.rows if row.optimizer == name), key=lambda row: row.loss) for name in ("adamw", "muon")
    }
    muon, adamw = best["muon"], best["adamw"]
    print(
        f"at its best rate muon ends at {muon.loss / adamw.loss:.3f} of adamw's loss and runs at "
        f"{muon.images_per_second / adamw.images_per_second:.2f} of its speed"
    )


if __name__ == "__main__":
    sys.exit(main())
