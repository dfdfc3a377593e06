"""A training recipe's TOML file, where a round says only what it does otherwise than the one before it."""

from __future__ import annotations

from itertools import accumulate
from pathlib import Path
from typing import Any, TypeVar

from facette.toml_file import laid_over, parse_toml
from facette_runtime.schema import from_dict

T = TypeVar("T")


def read_training_recipe(cls: type[T], path: Path) -> T:
    """Reads a file. Keys that a round leaves out, in its tables too, are those of the round before.

    Args:
        cls: a frozen dataclass with ``rounds``.
        path: of the file.

    Raises:
        FacetteError: the file is missing, not TOML, or does not follow the schema; the message names the key.
    """
    values = parse_toml(path)
    rounds = values.get("rounds")
    if isinstance(rounds, list):  # if it is anything else, the schema says so
        values["rounds"] = list(accumulate(rounds, _after))
    return from_dict(cls, values, str(path))


def _after(before: Any, own: Any) -> Any:
    return laid_over(before, own) if isinstance(before, dict) and isinstance(own, dict) else own
