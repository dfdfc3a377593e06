"""``facette calibrate``: activation ranges to keep beside a network's weights."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import get_args

from facette.calibration import RangeMethod
from facette.commands.common import Commands, folder_option, new_command, steps
from facette.commands.compile import DEFAULT_FACES, faces_option

_EXAMPLES = """  facette calibrate facette-embed --data data/
  facette calibrate facette-detect --faces my-faces/ --count 512 --ranges percentile

The ranges let `facette compile` make int8 of Facette's own networks on a machine without any photos."""


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Describes the command."""
    command = new_command(commands, "calibrate", "keep activation ranges beside the weights, for int8 without data", _EXAMPLES, run)
    command.add_argument("network", help="one of Facette's own, e.g. facette-embed")
    command.add_argument("--data", type=Path, metavar="FOLDER", help=f"holds {DEFAULT_FACES[0]} (or FACETTE_DATA)")
    command.add_argument("--faces", type=Path, metavar="PATH", help="folder, .zip or .csv of photos; never LFW")
    command.add_argument("--count", type=int, default=128, help="photos to look at (default: 128)")
    command.add_argument("--ranges", choices=get_args(RangeMethod), default="mse", help="how ranges follow from the values")


def run(arguments: argparse.Namespace) -> None:
    """Does it."""
    from facette.calibration import Calibration
    from facette.catalogue import CATALOGUE
    from facette.data.calibration_pictures import calibration_pictures
    from facette.export import observe
    from facette.forms import graph_forms
    from facette.loading import SearchPath, load_detector, load_embedder
    from facette.recipe import DetectorRecipe, EmbedderRecipe
    from facette.zoo import weights_path
    from facette.zoo.statistics import Statistics, write_statistics
    from facette_runtime.errors import FacetteError
    from facette_runtime.manifest import EmbeddingDecoder

    own = [name for name, entry in CATALOGUE.items() if entry.in_zoo]
    if arguments.network not in own:
        raise FacetteError(f"{arguments.network}: not one of Facette's own networks: {', '.join(own)}")
    if arguments.count < 1:
        raise FacetteError(f"--count must be at least 1, but got {arguments.count}")
    faces = faces_option([arguments.faces] if arguments.faces else [], folder_option(arguments.data, "FACETTE_DATA"))
    if not faces:
        raise FacetteError(f"faces to look at are missing: give --faces, or --data with {DEFAULT_FACES[0]}")
    search = SearchPath(Path.cwd())
    embeds = isinstance(CATALOGUE[arguments.network].decoder, EmbeddingDecoder)
    finder = load_detector(DetectorRecipe("facette-detect"), search) if embeds else None
    # By the file's path, or the ranges kept so far would have to fit the weights.
    weights = str(weights_path(arguments.network))
    model = (
        load_embedder(EmbedderRecipe(arguments.network, weights), search)
        if embeds
        else load_detector(DetectorRecipe(arguments.network, weights), search)
    )
    source = f"{arguments.count} faces of {faces[0].name}"
    ranges: dict[str, dict[str, tuple[float, float]]] = {}
    with steps() as tell:
        tell("preparing the pictures")
        pictures = calibration_pictures(model, faces[0], arguments.count, finder, seed=0)
        for form in graph_forms(model):
            for engine in ("onnxruntime", "litert"):
                tell(f"{engine}, form {form.form}")
                ranges[f"{engine}/{form.form}"] = dict(observe(form, engine, Calibration(pictures, source, arguments.ranges)))
    write_statistics(model.name, Statistics(model.digest, source, arguments.ranges, ranges))
    print(f"{model.name}: ranges of {', '.join(f'{len(found)} tensors ({graph})' for graph, found in ranges.items())}")
