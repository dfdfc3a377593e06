"""Activation ranges kept beside the weights, so that int8 can be made on a machine without any data set."""

from __future__ import annotations

import json
from dataclasses import dataclass

from facette.calibration import RangeMethod
from facette.zoo import FOLDER
from facette_runtime.errors import FacetteError
from facette_runtime.files import write_atomically
from facette_runtime.schema import from_dict, to_dict


@dataclass(frozen=True, slots=True, eq=False)  # a model that holds them must be hashable
class Statistics:
    """What a network's tensors reached on real faces.

    Attributes:
        weights: sha256 of the weights file that they belong to.
        source: which pictures, e.g. "256 faces of utkface-128.zip".
        method: how ranges follow from the values.
        ranges: smallest and largest value by tensor name, by "ENGINE/FORM".
    """

    weights: str
    source: str
    method: RangeMethod
    ranges: dict[str, dict[str, tuple[float, float]]]


def load_statistics(name: str, weights: str) -> Statistics | None:
    """The ranges of a network of the zoo; None where none are kept.

    Raises:
        FacetteError: they belong to other weights, or the file does not follow the schema.
    """
    path = FOLDER / f"{name}.statistics.json"
    if not path.is_file():
        return None
    statistics = from_dict(Statistics, json.loads(path.read_text()), path.name)
    if statistics.weights != weights:
        raise FacetteError(f"{path.name}: belongs to other weights; make it again with: facette calibrate {name} --data DATA")
    return statistics


def write_statistics(name: str, statistics: Statistics) -> None:
    """Keeps the ranges beside the weights, rounded to the four digits that an int8 scale can use."""
    short = {
        graph: {tensor: (float(f"{low:.5g}"), float(f"{high:.5g}")) for tensor, (low, high) in ranges.items()}
        for graph, ranges in statistics.ranges.items()
    }
    value = to_dict(Statistics(statistics.weights, statistics.source, statistics.method, short))
    write_atomically(FOLDER / f"{name}.statistics.json", json.dumps(value, separators=(",", ":")).encode() + b"\n")
