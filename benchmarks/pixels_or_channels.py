"""Half of MobileFaceNet-y1's multiplications: fewer pixels or fewer channels?

The same network is brought to half its cost by smaller input pictures, by structured pruning and by both, and each is recovered in
as many steps. What counts is how well it tells people apart then, over all pairs of LFW's folds 1 to 5 (settings may be chosen on
them); the loss shows how close it is to the teacher.

    python benchmarks/pixels_or_channels.py --data FOLDER --weights FOLDER [--steps 2000] [--json FILE]
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, replace

import torch

from embedder_networks import cost_of
from facette.cache import Cache, default_folder, tool_versions
from facette.commands.compile import faces_option
from facette.compress import Supplies, compress
from facette.evaluation.verification import Verification, VerificationSet, verification_set, verify
from facette.loading import load_models
from facette.model import Model
from facette.passes.prune import Prune
from facette.passes.shrink_input import ShrinkInput
from facette.recipe import load_recipe
from facette.reference import reference_engine
from facette.tables import table
from facette_runtime.errors import FacetteError
from facette_runtime.machine import Machine, describe_machine
from harness import add_data_and_weights, data_and_weights, new_parser, run_benchmark
from recovering import Recovered, Trial, quick_settings, recover_each

HALF, RATIOS = "mobilefacenet-half", "mobilefacenet-quarter"
SIDES = (112, 96, 88, 80)
SHARE = 0.5


@dataclass(frozen=True)
class Row:
    """One way to the same cost.

    Attributes:
        side: of the input picture, in pixels.
        macs, parameters: of the network, as shares of the original's.
        loss: at the end of the recovery, mean over the last tenth of the steps.
        verification: LFW's folds 1 to 5.
    """

    side: int
    macs: float
    parameters: float
    loss: float
    verification: Verification


@dataclass(frozen=True)
class Result:
    """The benchmark's result and what made it."""

    steps: int
    batch: int
    machine: Machine
    tools: dict[str, str]
    original: Verification
    rows: list[Row]


def main() -> int:
    """Runs the benchmark."""
    parser = new_parser(__doc__)
    add_data_and_weights(parser, data="LFW and UTKFace", weights="the public weights")
    parser.add_argument("--steps", type=int, default=2000, help="of each recovery (default: %(default)s)")
    return run_benchmark(parser, measure, print_result)


def measure(arguments: argparse.Namespace) -> Result:
    """Changes the network in each way, recovers it and verifies it."""
    if arguments.steps < 1:
        raise FacetteError("--steps must be at least 1")
    data, weights = data_and_weights(arguments)
    recipe = load_recipe(HALF)
    detector, teacher = load_models(recipe, weights)
    cache = Cache(default_folder())
    supplies = Supplies(faces_option([], data), detector, cache, print)
    torch.set_num_threads(1)
    cut = next(settings for settings in load_recipe(RATIOS).embedder.passes if isinstance(settings, Prune))
    settings = quick_settings(recipe, arguments.steps)
    changed = {side: _halved(side, cut, teacher, supplies) for side in SIDES}
    trials = {str(side): Trial(model, settings) for side, model in changed.items()}
    found = recover_each(trials, teacher, supplies.crops(teacher, "distil")[0])
    test = verification_set(data, teacher, detector, cache)
    rows = [_row(recovered, teacher, test) for recovered in found.values()]
    original = verify(reference_engine(teacher), test, "verify the original")
    return Result(arguments.steps, settings.batch, describe_machine(), tool_versions(), original, rows)


def _halved(side: int, cut: Prune, teacher: Model, supplies: Supplies) -> Model:
    """The network on pictures of ``side`` pixels, and what that leaves to be saved cut out of its layers."""
    smaller = [ShrinkInput(side)] if side < teacher.image.size_wh[0] else []
    left = cost_of(compress(teacher, smaller, supplies)[-1])[0] / cost_of(teacher)[0]
    return compress(teacher, [replace(cut, macs=SHARE / left), *smaller], supplies)[-1]


def _row(recovered: Recovered, teacher: Model, test: VerificationSet) -> Row:
    network = recovered.network
    (macs, parameters), (all_macs, all_parameters) = cost_of(network), cost_of(teacher)
    side = network.image.size_wh[0]
    verification = verify(reference_engine(network), test, f"verify {side} pixels")
    return Row(side, macs / all_macs, parameters / all_parameters, recovered.loss, verification)


def print_result(result: Result) -> None:
    """A table, the original first."""
    print(f"half of MobileFaceNet-y1, {result.steps} steps of {result.batch} faces, LFW folds 1 to 5, {result.machine.name}")
    rows = [("original", "100", "100", "", *_cells(result.original))]
    rows += [
        (f"{row.side}²", f"{row.macs:.1%}", f"{row.parameters:.1%}", f"{row.loss:.3f}", *_cells(row.verification))
        for row in result.rows
    ]
    print(table(("pixels", "MACs", "weights", "loss at the end", "all pairs %", "listed pairs %"), rows))


def _cells(verification: Verification) -> tuple[str, str]:
    return f"{verification.all_pairs.accuracy:.2%}", f"{verification.accuracy:.2%}"


if __name__ == "__main__":
    sys.exit(main())
