"""From a recipe's words to a `Model`: a known network, a function of the user's, or an ONNX file."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from facette.catalogue import CATALOGUE, Entry
from facette.model import Model
from facette.recipe import DetectorRecipe, EmbedderRecipe, Recipe
from facette.weights import file_digest, load_weights
from facette.zoo import load_card, weights_path
from facette.zoo.statistics import load_statistics
from facette_runtime.errors import FacetteError
from facette_runtime.manifest import EmbeddingDecoder, Licence


@dataclass(frozen=True, slots=True)
class SearchPath:
    """Where the files that a recipe names are looked for: its own folder first, then the user's folder of weights."""

    recipe_folder: Path
    weights_folder: Path | None = None

    def find(self, name: str) -> Path:
        """The file.

        Raises:
            FacetteError: it is in none of the places; the message names them.
        """
        places = [self.recipe_folder / name]
        if self.weights_folder is not None:
            places.append(self.weights_folder / name)
        for place in places:
            if place.is_file():
                return place
        looked = " or ".join(str(place) for place in places)
        hint = "" if self.weights_folder else "; name the folder that holds it with --weights or FACETTE_WEIGHTS"
        raise FacetteError(f"weights {name!r} not found (looked for {looked}){hint}")


def load_models(recipe: Recipe, weights_folder: Path | None) -> tuple[Model, Model]:
    """The recipe's detector and embedder.

    Raises:
        FacetteError: a network is unknown, its weights are missing or don't fit, or a key that it needs is missing.
    """
    search = SearchPath(Path(recipe.folder), weights_folder)
    return load_detector(recipe.detector, search), load_embedder(recipe.embedder, search)


def load_detector(recipe: DetectorRecipe, search: SearchPath) -> Model:
    """Builds the detector; see `load_models`."""
    model = _load(recipe, search, "detector")
    assert not isinstance(model.decoder, EmbeddingDecoder)
    decoder = replace(
        model.decoder,
        score_threshold=_first(recipe.score_threshold, model.decoder.score_threshold),
        iou_threshold=_first(recipe.iou_threshold, model.decoder.iou_threshold),
    )
    image = replace(model.image, size_wh=recipe.input_size or model.image.size_wh)
    return replace(model, decoder=decoder, image=image, letterbox=recipe.letterbox or model.letterbox)


def load_embedder(recipe: EmbedderRecipe, search: SearchPath) -> Model:
    """Builds the embedder; see `load_models`."""
    model = _load(recipe, search, "embedder")
    if model.alignment is None:
        raise FacetteError("embedder.alignment: missing; it says where the five landmarks lie in the crop")
    if model.alignment.size_wh != model.image.size_wh:
        raise FacetteError(f"embedder: crops of {model.alignment.size_wh} don't fit the network's input of {model.image.size_wh}")
    if recipe.match_threshold is not None:
        model = replace(model, match_threshold=(recipe.match_threshold, "the recipe"))
    return model


def _first(wish: float | None, usual: float) -> float:
    return usual if wish is None else wish


def _load(recipe: DetectorRecipe | EmbedderRecipe, search: SearchPath, role: str) -> Model:
    entry = CATALOGUE.get(recipe.network)
    if entry is not None:
        if isinstance(entry.decoder, EmbeddingDecoder) != (role == "embedder"):
            raise FacetteError(f"{role}.network: {recipe.network!r} is no {role}; {_known(role)}")
        return _load_known(recipe, entry, search, role)
    if not recipe.network.endswith(".onnx") and ":" not in recipe.network:
        raise FacetteError(f"{role}.network: unknown network {recipe.network!r}; {_known(role)}, module:function or FILE.onnx")
    if recipe.image is None or recipe.decoder is None:
        missing = "image" if recipe.image is None else "decoder"
        raise FacetteError(f"{role}.{missing}: missing; a network of one's own needs it")
    network: nn.Module | Path
    if recipe.network.endswith(".onnx"):
        network = search.find(recipe.network)
        digest = file_digest(network)
    else:
        network = _build_users(recipe.network, role)
        if recipe.weights is None:
            raise FacetteError(f"{role}.weights: missing; {recipe.network!r} needs a safetensors file")
        digest = load_weights(network, search.find(recipe.weights))
        network.eval()
    return Model(
        name=Path(recipe.network.replace(":", ".")).stem,
        network=network,
        image=recipe.image,
        decoder=recipe.decoder,
        letterbox=recipe.letterbox if isinstance(recipe, DetectorRecipe) else None,
        alignment=recipe.alignment if isinstance(recipe, EmbedderRecipe) else None,
        licences=recipe.licences or (Licence(f"weights: {recipe.network}", "unknown", False, "the recipe names none"),),
        digest=digest,
        onnx_outputs=recipe.outputs,
    )


def _load_known(recipe: DetectorRecipe | EmbedderRecipe, entry: Entry, search: SearchPath, role: str) -> Model:
    name = recipe.network
    licences, threshold = entry.licences, None
    if entry.in_zoo and recipe.weights is None:
        card = load_card(name)
        path, licences = weights_path(name), card.licences
        if card.match_threshold is not None:
            threshold = (card.match_threshold, f"{name}'s card: {card.match_threshold_source}")
    elif recipe.weights is None:
        raise FacetteError(f"{role}.weights: missing; the weights of {name!r} don't come with Facette")
    else:
        path = search.find(recipe.weights)
    network = entry.build()
    digest = load_weights(network, path)
    in_zoo = entry.in_zoo and recipe.weights is None
    return Model(
        name=name,
        network=network.eval(),
        image=recipe.image or entry.image,
        decoder=recipe.decoder or entry.decoder,
        letterbox=entry.letterbox,
        alignment=(recipe.alignment if isinstance(recipe, EmbedderRecipe) else None) or entry.alignment,
        licences=recipe.licences or licences,
        digest=digest,
        match_threshold=threshold,
        statistics=load_statistics(name, digest) if in_zoo else None,
    )


def _build_users(name: str, role: str) -> nn.Module:
    module_name, _, function = name.partition(":")
    try:
        build = getattr(importlib.import_module(module_name), function)
    except (ImportError, AttributeError) as error:
        raise FacetteError(f"{role}.network: {name!r} can't be imported: {error}") from None
    network = build()
    if not isinstance(network, nn.Module):
        raise FacetteError(f"{role}.network: {name!r} gave {type(network).__name__}, not an nn.Module")
    return network


def _known(role: str) -> str:
    wanted = [name for name, entry in CATALOGUE.items() if isinstance(entry.decoder, EmbeddingDecoder) == (role == "embedder")]
    return f"known {role}s: {', '.join(wanted)}"
