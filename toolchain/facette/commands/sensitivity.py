"""``facette sensitivity``: what cutting each layer of an embedder would cost, and which ratios follow from it."""

from __future__ import annotations

import argparse
from pathlib import Path

from facette.commands.common import Commands, folder_option, new_command, write_json
from facette.commands.compile import DEFAULT_FACES, faces_option
from facette_runtime.errors import FacetteError

_EXAMPLES = """  facette sensitivity --data data/ --macs 0.5
  facette sensitivity --recipe retinaface-mobilefacenet --weights weights/ --faces my-faces/ --plot layers.png --json layers.json

The proposed ratios go into a recipe: [[embedder.passes]] kind = "prune", scope = "per-layer", macs = 0.5, layers = { … }."""


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Describes the command."""
    command = new_command(commands, "sensitivity", "measure what cutting each layer of an embedder costs", _EXAMPLES, run)
    command.add_argument("--recipe", default="default", help="a recipe's name or .toml file: its embedder is analysed")
    command.add_argument("--weights", type=Path, metavar="FOLDER", help="where the recipe's weights lie (or FACETTE_WEIGHTS)")
    command.add_argument("--data", type=Path, metavar="FOLDER", help=f"holds {DEFAULT_FACES[0]} (or FACETTE_DATA)")
    command.add_argument("--faces", type=Path, metavar="PATH", help="folder, .zip or .csv of photos; never LFW")
    command.add_argument("--count", type=int, default=64, help="faces to measure on (default: 64)")
    command.add_argument("--macs", type=float, default=0.5, help="share of the multiply-accumulates to keep (default: 0.5)")
    command.add_argument("--plot", type=Path, metavar="FILE", help="drop by layer and ratio, .png or .svg")
    command.add_argument("--json", metavar="FILE", help="write the measurements; - for standard output")


def run(arguments: argparse.Namespace) -> None:
    """Does it."""
    from facette.data.calibration_pictures import calibration_pictures
    from facette.loading import load_models
    from facette.recipe import load_recipe
    from facette.report.sensitivity_figure import save_sensitivity_figure
    from facette.sensitivity import analyse, propose, to_table

    if arguments.count < 1 or not 0 < arguments.macs < 1:
        raise FacetteError(f"--count must be at least 1 and --macs within 0..1, but got {arguments.count} and {arguments.macs}")
    faces = faces_option([arguments.faces] if arguments.faces else [], folder_option(arguments.data, "FACETTE_DATA"))
    if not faces:
        raise FacetteError(f"faces to measure on are missing: give --faces, or --data with {DEFAULT_FACES[0]}")
    detector, embedder = load_models(load_recipe(arguments.recipe), folder_option(arguments.weights, "FACETTE_WEIGHTS"))
    sensitivity = analyse(embedder, calibration_pictures(embedder, faces[0], arguments.count, detector, seed=3))
    proposal = propose(sensitivity, arguments.macs)
    if arguments.plot:
        save_sensitivity_figure(sensitivity, arguments.plot, proposal)
    if arguments.json:
        write_json(arguments.json, sensitivity)
    if arguments.json != "-":
        print(to_table(sensitivity, proposal))
        print("layers = { " + ", ".join(f'"{name}" = {part:.3f}' for name, part in proposal.items()) + " }")
