"""Where a training run's networks come from: a recipe's words → `Model`, with random weights where it names none."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from facette.catalogue import CATALOGUE, DLIB_IMAGE
from facette.importers.dlib import find_dlib_file, read_dlib
from facette.loading import SearchPath, load_embedder
from facette.model import Model
from facette.nets.dlib_resnet import chip_alignment
from facette.recipe import EmbedderRecipe as NetworkRecipe
from facette.weights import file_digest, write_weights
from facette_runtime.errors import FacetteError
from facette_runtime.manifest import EmbeddingDecoder, Licence


def dlib_teacher() -> Model:
    """dlib's original network, from the installed package.

    Raises:
        FacetteError: it is not installed.
    """
    file = find_dlib_file()
    network = read_dlib(file)
    licences = (Licence("weights: dlib-resnet", "CC0-1.0", True, "Davis King put the model into the public domain"),)
    decoder = EmbeddingDecoder("embedding", network.config.size)
    return Model("dlib-resnet", network, DLIB_IMAGE, decoder, None, chip_alignment(), licences, file_digest(file))


def student_model(wish: NetworkRecipe, search: SearchPath, seed: int, start: Path) -> Model:
    """The network to train.

    Args:
        wish: as in a compile recipe. Without ``weights`` a network that does not come with Facette starts from random ones.
        search: where its weights are looked for.
        seed: of the random weights.
        start: safetensors file for these; read if it is there.

    Raises:
        FacetteError: the network is unknown, or a key that it needs is missing.
    """
    entry = CATALOGUE.get(wish.network)
    if wish.weights is not None or (entry is not None and entry.in_zoo) or wish.network.endswith(".onnx"):
        return load_embedder(wish, search)
    if not start.exists():
        torch.manual_seed(seed)
        network = entry.build() if entry is not None else _users(wish.network)
        write_weights(network.state_dict(), start)
    return load_embedder(replace(wish, weights=str(start.resolve())), search)


def _users(name: str) -> nn.Module:
    module, _, function = name.partition(":")
    try:
        network = getattr(importlib.import_module(module), function)()
    except (ImportError, AttributeError, ValueError) as error:
        raise FacetteError(f"network: {name!r} can't be imported: {error}; valid: a known embedder or module:function") from None
    if not isinstance(network, nn.Module):
        raise FacetteError(f"network: {name!r} gave {type(network).__name__}, not an nn.Module")
    return network
