"""MobileFaceNet-y1 and what is made of it, for the benchmarks that compare its variants on engines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from facette.catalogue import CATALOGUE
from facette.export import export
from facette.model import Model
from facette.passes.fold import fold_batch_norm
from facette.passes.lower import flip_steep_channels, lower_prelu
from facette.passes.trace import trace
from facette.reference import count_macs
from facette.weights import load_weights
from facette_runtime.engines import open_engine
from facette_runtime.manifest import Precision

NAME = "mobilefacenet-y1"
THREADS = 1


def mobilefacenet(weights_folder: Path | None) -> tuple[Model, str]:
    """The network, and which weights it has: random ones, seeded, where there is no folder. They take as long."""
    entry = CATALOGUE[NAME]
    torch.manual_seed(0)
    network = entry.build().eval()
    weights, digest = "random (speed only)", ""
    if weights_folder is not None:
        weights = f"{NAME}.safetensors"
        digest = load_weights(network, weights_folder / weights)
    return Model(NAME, network, entry.image, entry.decoder, entry.letterbox, entry.alignment, entry.licences, digest), weights


def lowered(model: Model, form: str) -> Model:
    """Batch norms folded and PReLUs written in one of `facette.passes.lower.FORMS`, or left as they are: "stock"."""
    traced = trace(model)
    assert traced is not None
    folded = fold_batch_norm(traced)
    return folded if form == "stock" else lower_prelu(flip_steep_channels(folded), form)


def runner(model: Model, engine: str, form: str, precision: Precision = "fp32") -> tuple[Callable[[], object], bytes]:
    """A call that runs a form of the network once on one picture, and its file."""
    content = export(lowered(model, form), engine, precision).model
    opened = open_engine(engine, content, THREADS)
    width, height = model.image.size_wh
    picture = np.random.default_rng(0).integers(0, 256, (1, height, width, 3), np.uint8)
    feed = {opened.inputs[0].name: picture}
    return lambda: opened.run(feed), content


def cost_of(model: Model) -> tuple[int, int]:
    """Multiply-accumulates for one picture, and parameters, of a network in torch."""
    macs, parameters = count_macs(model)
    assert macs is not None
    assert parameters is not None
    return macs, parameters
