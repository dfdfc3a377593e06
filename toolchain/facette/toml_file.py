"""A frozen dataclass from a TOML file: targets, recipes, cards and training recipes are all read here."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

from facette_runtime.errors import FacetteError
from facette_runtime.schema import from_dict

T = TypeVar("T")


def read_toml(cls: type[T], path: Path, defaults: Mapping[str, Any] | None = None) -> T:
    """Reads a file.

    Args:
        cls: a dataclass that `facette_runtime.schema.from_dict` can read.
        path: of the file.
        defaults: values of top-level keys that the file leaves out.

    Raises:
        FacetteError: the file is missing, not TOML, or does not follow the schema; the message names the key.
    """
    return from_dict(cls, {**(defaults or {}), **parse_toml(path)}, str(path))


def parse_toml(path: Path) -> dict[str, Any]:
    """A file's plain values.

    Raises:
        FacetteError: the file is missing or not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FacetteError(f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FacetteError(f"{path}: not TOML: {error}") from None


def laid_over(base: Mapping[str, Any], own: Mapping[str, Any], followed: Collection[str] = ()) -> dict[str, Any]:
    """Plain values over those that they go on from: tables key by key, all else whole; lists of ``followed`` keys are joined."""
    found = dict(base)
    for key, value in own.items():
        under = base.get(key)
        if isinstance(under, dict) and isinstance(value, dict):
            found[key] = laid_over(under, value, followed)
        elif key in followed and isinstance(under, list) and isinstance(value, list):
            found[key] = [*under, *value]
        else:
            found[key] = value
    return found
