"""What to compile, read from TOML. An unknown key is an error that lists the known ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from facette.model import ImageSpec
from facette.toml_file import read_toml
from facette_runtime.errors import FacetteError
from facette_runtime.manifest import (
    Alignment,
    AnchorDecoder,
    EmbeddingDecoder,
    Letterbox,
    Licence,
    PointDecoder,
    Precision,
)

FOLDER = Path(__file__).parent / "recipes"


@dataclass(frozen=True, slots=True)
class DetectorRecipe:
    """The detector.

    Attributes:
        network: a catalogue name, ``package.module:function`` that gives an nn.Module, or the path of an .onnx file.
        weights: safetensors file; not needed for networks whose weights come with Facette, nor for ONNX.
        input_size: width and height, in place of the catalogue's.
        score_threshold, iou_threshold: in place of the decoder's.
        image, decoder: needed for a network of one's own; the catalogue knows the others.
        letterbox: in place of the catalogue's.
        outputs: names of the ONNX file's outputs for boxes, scores and landmarks; by default its outputs in that order.
        licences: of a network of one's own.
    """

    network: str
    weights: str | None = None
    input_size: tuple[int, int] | None = None
    score_threshold: float | None = None
    iou_threshold: float | None = None
    image: ImageSpec | None = None
    decoder: AnchorDecoder | PointDecoder | None = None
    letterbox: Letterbox | None = None
    outputs: tuple[str, ...] = ()
    licences: tuple[Licence, ...] = ()


@dataclass(frozen=True, slots=True)
class EmbedderRecipe:
    """The embedder; keys as in `DetectorRecipe`.

    Attributes:
        alignment: needed for a network of one's own.
        match_threshold: cosine, where neither the network's card nor data at compile time gives one.
    """

    network: str
    weights: str | None = None
    image: ImageSpec | None = None
    decoder: EmbeddingDecoder | None = None
    alignment: Alignment | None = None
    match_threshold: float | None = None
    outputs: tuple[str, ...] = ()
    licences: tuple[Licence, ...] = ()


@dataclass(frozen=True, slots=True)
class Choices:
    """What the compiler may choose from; an empty list means all that the target offers.

    Attributes:
        min_cosine: a candidate whose outputs are further from torch's than this is refused.
    """

    engines: tuple[str, ...] = ()
    precisions: tuple[Precision, ...] = ()
    forms: tuple[str, ...] = ()
    threads: int | None = None
    min_cosine: float = 0.9999


@dataclass(frozen=True, slots=True)
class Recipe:
    """One compilation.

    Attributes:
        name: of the bundle.
        detector, embedder: the networks.
        compile: what to choose from.
        folder: where relative paths in the recipe start.
    """

    name: str
    detector: DetectorRecipe
    embedder: EmbedderRecipe
    compile: Choices = field(default_factory=Choices)
    folder: str = "."


def recipe_names() -> list[str]:
    """Names of the recipes that come with Facette."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load_recipe(name: str) -> Recipe:
    """Reads a recipe by name, or a user's own by the path of its TOML file.

    Raises:
        FacetteError: no such recipe, not TOML, or a key or value that the schema does not know.
    """
    path = Path(name) if name.endswith(".toml") else FOLDER / f"{name}.toml"
    if not path.is_file():
        known = ", ".join(recipe_names())
        raise FacetteError(f"unknown recipe {name!r}; recipes that come with Facette: {known}, or the path of a .toml file")
    return read_toml(Recipe, path, {"name": path.stem, "folder": str(path.parent)})
