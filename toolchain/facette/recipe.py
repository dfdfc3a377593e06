"""What to compile, read from TOML. An unknown key is an error that lists the known ones."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_args

from facette.calibration import Quantization, RangeMethod, Repair
from facette.floor import Floor
from facette.model import ImageSpec
from facette.passes.binarize import Binarize
from facette.passes.distil import Distil
from facette.passes.low_rank import LowRank
from facette.passes.prune import Prune
from facette.passes.qat import Qat
from facette.passes.shrink_input import ShrinkInput
from facette.passes.sparsify import Sparsify
from facette.passes.swap_activation import SwapActivation
from facette.toml_file import laid_over, parse_toml
from facette.train.recovery import Recovery
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
from facette_runtime.schema import from_dict

Pass = Binarize | Distil | LowRank | Prune | Qat | ShrinkInput | Sparsify | SwapActivation
"""The settings of each pass that a recipe can name, told apart by ``kind``."""

_TRAINING = {key.default for each in get_args(Pass) if issubclass(each, Recovery) for key in fields(each) if key.name == "kind"}

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
        passes: compress the network, in this order; each is a table ``[[detector.passes]]`` whose ``kind`` names it. One that
            trains says only what it does otherwise than the last of its kind before it.
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
    passes: tuple[Pass, ...] = ()


@dataclass(frozen=True, slots=True)
class EmbedderChoice:
    """The one precision and graph form that the embedder may take, as a search found it.

    Attributes:
        float_share: see `facette.calibration.Quantization`.
    """

    precision: Precision
    form: str
    float_share: float = 0.0


@dataclass(frozen=True, slots=True)
class EmbedderRecipe:
    """The embedder; keys as in `DetectorRecipe`.

    Attributes:
        only: leaves nothing else to choose for it.
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
    passes: tuple[Pass, ...] = ()
    only: EmbedderChoice | None = None


@dataclass(frozen=True, slots=True)
class Choices:
    """What the compiler may choose from; an empty list means all that the target offers.

    Attributes:
        min_cosine: a float candidate whose outputs are further from torch's than this is refused; one in lower precision that is
            as close needs no other proof, and the rest must pass the gate.
        ranges, repairs: how int8's ranges are found and its weights prepared: tried in this order until one passes the gate.
        float_shares: shares of the multiply-accumulates, 0..1, whose layers stay in float within int8, the most sensitive first:
            tried after all else failed, in this order, and only shipped where still faster than float.
        calibration_faces: pictures shown to the quantizer.
    """

    engines: tuple[str, ...] = ()
    precisions: tuple[Precision, ...] = ()
    forms: tuple[str, ...] = ()
    threads: int | None = None
    min_cosine: float = 0.9999
    ranges: tuple[RangeMethod, ...] = ("mse", "percentile", "min-max", "entropy")
    repairs: tuple[Repair, ...] = ("none", "correct-bias")
    float_shares: tuple[float, ...] = (0.05, 0.2)
    calibration_faces: int = 128

    def __post_init__(self) -> None:
        if not self.ranges or not self.repairs:
            raise ValueError("ranges and repairs must each name at least one method")
        if wrong := next((share for share in self.float_shares if not 0 < share < 1), None):
            raise ValueError(f"float_shares must lie between 0 and 1, but got {wrong}")
        if self.calibration_faces < 1:
            raise ValueError(f"calibration_faces must be at least 1, but got {self.calibration_faces}")

    @property
    def quantizations(self) -> tuple[Quantization, ...]:
        """Every way to int8, in the order to try."""
        whole = [Quantization(method, repair) for repair in self.repairs for method in self.ranges]
        return (*whole, *(Quantization(self.ranges[0], self.repairs[0], share) for share in self.float_shares))


@dataclass(frozen=True, slots=True)
class Recipe:
    """One compilation.

    Attributes:
        name: of the bundle.
        detector, embedder: the networks.
        compile: what to choose from.
        floor: what the networks must still be able to do after all passes.
        folder: where relative paths in the recipe start.
        extends: a recipe that this one goes on from, by name or by the path of its TOML file: this one's values are laid over
            that one's, and its passes follow that one's.
    """

    name: str
    detector: DetectorRecipe
    embedder: EmbedderRecipe
    compile: Choices = field(default_factory=Choices)
    floor: Floor = field(default_factory=Floor)
    folder: str = "."
    extends: str | None = None


def recipe_names() -> list[str]:
    """Names of the recipes that come with Facette."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load_recipe(name: str) -> Recipe:
    """Reads a recipe by name, or a user's own by the path of its TOML file.

    Raises:
        FacetteError: no such recipe, not TOML, a key or value that the schema does not know, or a recipe that extends itself.
    """
    path = _find(name, Path())
    values = _values(path, ())
    for role in ("detector", "embedder"):
        network = values.get(role)
        if isinstance(network, dict) and isinstance(network.get("passes"), list):  # if it is anything else, the schema says so
            values[role] = {**network, "passes": _in_full(network["passes"])}
    return from_dict(Recipe, {"name": path.stem, "folder": str(path.parent), **values}, str(path))


def _in_full(passes: list[Any]) -> list[Any]:
    """Passes that train with what they leave out."""
    found: list[Any] = []
    last: dict[str, Any] = {}
    for own in passes:
        kind = own.get("kind") if isinstance(own, dict) else None
        if isinstance(kind, str) and kind in _TRAINING:
            own = last[kind] = laid_over(last.get(kind, {}), own)
        found.append(own)
    return found


def _find(name: str, folder: Path) -> Path:
    path = folder / name if name.endswith(".toml") else FOLDER / f"{name}.toml"
    if not path.is_file():
        known = ", ".join(recipe_names())
        raise FacetteError(f"unknown recipe {name!r}; recipes that come with Facette: {known}, or the path of a .toml file")
    return path


def _values(path: Path, extending: tuple[Path, ...]) -> dict[str, Any]:
    """A file's plain values over those of the recipe that it extends; ``extending`` are the files that led here."""
    if path.resolve() in extending:
        raise FacetteError(f"{path}: extends itself")
    values = parse_toml(path)
    base = values.get("extends")
    if not isinstance(base, str):  # if it is anything else, the schema says so
        return values
    return laid_over(_values(_find(base, path.parent), (*extending, path.resolve())), values, followed=("passes",))
