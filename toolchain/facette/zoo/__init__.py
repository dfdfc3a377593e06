"""Facette's own trained weights: for each network NAME.safetensors and its card NAME.toml."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from facette.toml_file import read_toml
from facette_runtime.errors import FacetteError
from facette_runtime.manifest import Licence

FOLDER = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Figure:
    """One measurement.

    Attributes:
        metric: what was measured, with its unit.
        value: the number.
        dataset: on which data, e.g. "LFW view 2, raw photos, ten folds".
        command: what reproduces it.
    """

    metric: str
    value: float
    dataset: str
    command: str


@dataclass(frozen=True, slots=True)
class DataSource:
    """Data that the weights saw.

    Attributes:
        name: the data set.
        use: what it was used for.
        licence: its terms, in words.
        pictures: how many.
    """

    name: str
    use: str
    licence: str
    pictures: int


@dataclass(frozen=True, slots=True)
class Card:
    """What a user should know about a network before using it.

    Attributes:
        name: of the network and its files.
        summary: one sentence.
        architecture: the network's class in `facette.nets`.
        widths: the architecture's configuration, by its fields' names (a single number is a list of one); empty where
            it has none.
        parameters: count, as shipped.
        macs: multiply-accumulates for one picture of the input size.
        input: size, colour order and normalisation, in words.
        data: what it was trained on.
        teachers: the networks it was distilled from.
        recipe: the recipe's file name.
        seed: of the run that made it.
        command: what makes it again.
        licences: of the weights and of the data, as they travel in a bundle.
        figures: what was measured.
        weaknesses: where it is known to do worse.
        match_threshold: cosine at or above which two faces match, for an embedder; None until it has been measured.
        match_threshold_source: the data, protocol and command that gave it.
    """

    name: str
    summary: str
    architecture: str
    widths: dict[str, tuple[int, ...]]
    parameters: int
    macs: int
    input: str
    data: tuple[DataSource, ...]
    teachers: tuple[str, ...]
    recipe: str
    seed: int
    command: str
    licences: tuple[Licence, ...]
    figures: tuple[Figure, ...]
    weaknesses: tuple[str, ...]
    match_threshold: float | None = None
    match_threshold_source: str | None = None


def load_card(name: str) -> Card:
    """Reads a card.

    Args:
        name: a network of the zoo, e.g. "facette-embed".

    Raises:
        FacetteError: no such network, or its card does not follow the schema.
    """
    path = FOLDER / f"{name}.toml"
    if not path.is_file():
        known = ", ".join(sorted(card.stem for card in FOLDER.glob("*.toml"))) or "none"
        raise FacetteError(f"{name}: not in the zoo; known networks: {known}")
    return read_toml(Card, path)


def weights_path(name: str) -> Path:
    """Where a network's safetensors file lies.

    Raises:
        FacetteError: it is not there.
    """
    path = FOLDER / f"{name}.safetensors"
    if not path.is_file():
        raise FacetteError(f"{name}: {path.name} is missing from the zoo")
    return path
