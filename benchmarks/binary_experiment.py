"""What one-bit weights cost: MobileFaceNet-y1 with XNOR-style binary weights, before and after straight-through training.

All but the first and the last layer, and depthwise ones, are binarized; activations stay float, and no engine here computes with
bits, so what is gained is the size of the weights alone. Recognition is measured on LFW's aligned crops, folds 1 to 5; training
sees UTKFace only.

    python benchmarks/binary_experiment.py [--data FOLDER] [--weights FOLDER] [--steps 400] [--faces 6000] [--run FOLDER]
        [--json FILE]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from embedder_networks import mobilefacenet
from facette.cache import Cache, tool_versions
from facette.data.faces import Faces, aligned_crops, open_faces
from facette.entries import REFERENCE, detector_entry
from facette.evaluation.evaluate import CHOOSING_FOLDS
from facette.evaluation.verification import VerificationSet, verification_set, verify
from facette.loading import SearchPath, load_detector
from facette.model import Model
from facette.passes.binarize import Binarize, binarize, binary_layers
from facette.passes.distil import training_alignment
from facette.recipe import DetectorRecipe
from facette.reference import reference_engine
from facette.tables import table
from facette_runtime.detect import Detector
from facette_runtime.machine import Machine, describe_machine
from harness import add_data_and_weights, data_and_weights, new_parser, run_benchmark

DETECTOR = "retinaface-mobilenet025"
FACES = "utkface-128.zip"


@dataclass(frozen=True)
class Row:
    """One network.

    Attributes:
        what: how it was made.
        accuracy, tar: of LFW's choosing folds, 0..1; the latter at a false accept rate of 1e-3.
        binary_share: part of the parameters that are bits.
        kilobytes: of the parameters: bits, and float32 for the rest.
    """

    what: str
    accuracy: float
    tar: float
    binary_share: float
    kilobytes: float


@dataclass(frozen=True)
class Result:
    """The benchmark's result and what made it."""

    weights: str
    faces: int
    settings: Binarize
    folds: tuple[int, ...]
    pairs: int
    machine: Machine
    tools: dict[str, str]
    rows: list[Row]


def main() -> int:
    """Runs the benchmark."""
    parser = new_parser(__doc__)
    add_data_and_weights(parser, data=f"{FACES} and LFW", weights="both networks' safetensors")
    parser.add_argument("--steps", type=int, default=400, help="of training, 32 faces each (default: %(default)s)")
    parser.add_argument("--faces", type=int, default=6000, help="to train on (default: %(default)s)")
    parser.add_argument("--run", type=Path, metavar="FOLDER", help="keeps the run, so that it can go on (default: a temporary one)")
    return run_benchmark(parser, run, print_result)


def run(arguments: argparse.Namespace) -> Result:
    """Binarizes, trains and measures."""
    data, weights = data_and_weights(arguments)
    stock, name = mobilefacenet(weights)
    finder = load_detector(DetectorRecipe(DETECTOR, f"{DETECTOR}.safetensors"), SearchPath(weights))
    settings = Binarize(steps=arguments.steps, batch=32, learning_rate=1e-3, warmup=20, ema=0.99, views=1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.run or Path(temporary)
        crops = aligned_crops(
            _some(open_faces(data / FACES), arguments.faces),
            Detector(reference_engine(finder), detector_entry(finder, REFERENCE)),
            training_alignment(stock),
            folder / f"faces-{arguments.faces}.npy",
        )
        against = verification_set(data, stock, finder, Cache(folder / "cache"), CHOOSING_FOLDS)
        trained = binarize(stock, stock, settings, [np.asarray(crops)], folder / "run")
    rows = [
        _row("float weights", stock, against, binary=False),
        _row("binary weights, not trained", _signs(stock), against, binary=True),
        _row(f"binary weights, {settings.steps} steps", trained, against, binary=True),
    ]
    pairs = len(against.pairs.same)
    return Result(name, len(crops), settings, CHOOSING_FOLDS, pairs, describe_machine(), tool_versions(), rows)


def print_result(result: Result) -> None:
    """A table."""
    print(f"MobileFaceNet-y1, {result.pairs} pairs of LFW, trained on {result.faces} faces; {result.machine.name}")
    cells: list[Sequence[str]] = [
        [row.what, f"{100 * row.accuracy:.2f}", f"{100 * row.tar:.2f}", f"{100 * row.binary_share:.0f}", f"{row.kilobytes:.0f}"]
        for row in result.rows
    ]
    print(table(["network", "accuracy %", "TAR@FAR=1e-3 %", "bits % of weights", "kB"], cells))


def _some(faces: Faces, count: int) -> Faces:
    """So many faces, spread evenly."""
    picked = np.linspace(0, len(faces) - 1, min(count, len(faces))).astype(int)
    return replace(faces, names=tuple(faces.names[i] for i in picked), labels=tuple(faces.labels[i] for i in picked))


@torch.no_grad()
def _signs(model: Model) -> Model:
    """The binary weights that are nearest to the float ones."""
    network = mobilefacenet(None)[0].network
    assert isinstance(network, nn.Module)
    assert isinstance(model.network, nn.Module)
    network.load_state_dict(model.network.state_dict())
    for layer in binary_layers(network, depthwise=False):
        scale = layer.weight.abs().flatten(1).mean(1).reshape(-1, *[1] * (layer.weight.ndim - 1))
        layer.weight.copy_(torch.where(layer.weight >= 0, scale, -scale))
    return replace(model, network=network)


def _row(what: str, model: Model, against: VerificationSet, *, binary: bool) -> Row:
    assert isinstance(model.network, nn.Module)
    found = verify(reference_engine(model), against, what)
    total = sum(parameter.numel() for parameter in model.network.parameters())
    layers = binary_layers(model.network, depthwise=False) if binary else []
    bits, scales = sum(layer.weight.numel() for layer in layers), sum(len(layer.weight) for layer in layers)
    return Row(what, found.accuracy, found.tar, bits / total, (bits / 8 + 4 * (total - bits + scales)) / 1000)


if __name__ == "__main__":
    sys.exit(main())
