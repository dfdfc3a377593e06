"""Several weights of one embedder, to choose from: all pairs among the photos of LFW's folds 1 to 5, and nothing of the others.

    python benchmarks/choose_weights.py a.safetensors b.safetensors --network facette-embed-xs [--data FOLDER] [--weights FOLDER]

RetinaFace finds and aligns each photo's central face once; every network embeds the same crops through ONNX Runtime, one thread.
The 3,000 pairs that those folds list can't tell two good checkpoints from each other; seven million pairs can. The figures are for
choosing only: they are not LFW's protocol.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facette.cache import tool_versions
from facette.catalogue import CATALOGUE
from facette.data.lfw import read_pairs
from facette.evaluation.all_pairs import FARS, AllPairs, verify_all_pairs
from facette.evaluation.evaluate import CHOOSING_FOLDS
from facette.loading import SearchPath, load_embedder
from facette.model import Model
from facette.recipe import EmbedderRecipe
from facette.tables import table
from facette_runtime.embed import normalize
from facette_runtime.errors import FacetteError
from facette_runtime.machine import Machine, describe_machine
from facette_runtime.manifest import EmbeddingDecoder
from harness import add_data_and_weights, data_and_weights, new_parser, run_benchmark
from lfw_crops import DETECTOR, Contender, central_crops

NETWORKS = sorted(name for name, entry in CATALOGUE.items() if isinstance(entry.decoder, EmbeddingDecoder))


@dataclass(frozen=True)
class Row:
    """What one file's network does on the pairs."""

    weights: str
    verification: AllPairs


@dataclass(frozen=True)
class Result:
    """What was measured, and on what; ``photos`` are those with a face."""

    network: str
    photos: int
    fars: tuple[float, ...]
    rows: list[Row]
    machine: Machine
    tools: dict[str, str]


def main() -> int:
    """Runs the benchmark."""
    parser = new_parser(__doc__)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="safetensors of the network")
    parser.add_argument("--network", required=True, choices=NETWORKS, metavar="NAME", help=f"one of {', '.join(NETWORKS)}")
    add_data_and_weights(parser, data="LFW's pairs and photos", weights=f"{DETECTOR}.safetensors")
    return run_benchmark(
        parser, lambda arguments: run(*data_and_weights(arguments), arguments.network, arguments.files), print_result
    )


def run(data: Path, weights: Path, network: str, files: Sequence[Path]) -> Result:
    """Measures everything.

    Raises:
        FacetteError: weights are missing or don't fit the network, or data are missing.
    """
    models = [_load(network, path, weights) for path in files]
    alignment = models[0].alignment
    assert alignment is not None
    contenders = [Contender(model) for model in models]
    pairs = read_pairs(data).select(CHOOSING_FOLDS)
    people, embeddings = [], []
    for person, crop in zip(pairs.people, central_crops(pairs, data, weights, alignment), strict=True):
        if crop is not None:
            people.append(person)
            embeddings.append([contender(crop) for contender in contenders])
    if not people:
        raise FacetteError(f"{data}: no face found in any photo")
    of_each = [normalize(np.stack(each)) for each in zip(*embeddings, strict=True)]
    rows = [Row(path.name, verify_all_pairs(each, people)) for path, each in zip(files, of_each, strict=True)]
    return Result(network, len(people), FARS, rows, describe_machine(), tool_versions())


def _load(network: str, path: Path, weights: Path) -> Model:
    return load_embedder(EmbedderRecipe(network, path.name), SearchPath(path.parent, weights))


def print_result(result: Result) -> None:
    """A table."""
    measured = [row.verification for row in result.rows]
    print(
        f"{result.network}, {result.photos} photos of folds {CHOOSING_FOLDS[0]} to {CHOOSING_FOLDS[-1]}:"
        f" {measured[0].same:,} pairs of one person, {measured[0].different:,} of two"
    )
    rows = [
        [row.weights, *(f"{value:.2%}" for value in (each.accuracy, each.eer, *each.tar))]
        for row, each in zip(result.rows, measured, strict=True)
    ]
    print(table(["weights", "accuracy", "EER", *(f"TAR@FAR={far:g}" for far in result.fars)], rows))
    print("accuracy: at the best threshold, as if there were as many pairs of either kind")


if __name__ == "__main__":
    sys.exit(main())
