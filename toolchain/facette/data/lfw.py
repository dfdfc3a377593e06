"""Labeled Faces in the Wild, view 2: the pair list and the photos, read in place. For testing only, never for training."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from facette_runtime.errors import FacetteError
from facette_runtime.types import Image

PAIRS = "lfw-pairs.txt"
RAW = "lfw-raw-250"
ALIGNED = "lfw-aligned-112"


@dataclass(frozen=True, slots=True)
class Pairs:
    """The protocol: which photos are compared.

    Attributes:
        photos: every photo once, ``Name/Name_0001.jpg``, sorted.
        first, second: int [n], positions in ``photos``.
        same: bool [n], whether both show one person.
        folds: int [n], 1-based.
    """

    photos: tuple[str, ...]
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    same: NDArray[np.bool_]
    folds: NDArray[np.int64]

    @property
    def people(self) -> tuple[str, ...]:
        """Whom each of ``photos`` shows."""
        return tuple(name.split("/")[0] for name in self.photos)

    def select(self, folds: Sequence[int]) -> Pairs:
        """Only these folds, and only the photos that they name.

        Raises:
            FacetteError: a fold that the list does not have.
        """
        known = sorted(int(fold) for fold in np.unique(self.folds))
        if not folds or not set(folds) <= set(known):
            raise FacetteError(f"folds {sorted(folds)}: the pair list has folds {known[0]} to {known[-1]}")
        chosen = np.isin(self.folds, folds)
        first, second = self.first[chosen], self.second[chosen]
        used, position = np.unique(np.concatenate([first, second]), return_inverse=True)
        names = tuple(self.photos[index] for index in used)
        return Pairs(names, position[: len(first)], position[len(first) :], self.same[chosen], self.folds[chosen])


def read_pairs(data_dir: Path) -> Pairs:
    """Reads ``lfw-pairs.txt``: a line "folds, pairs of each kind", then for each fold its same and its different pairs.

    Args:
        data_dir: the folder that holds it.

    Raises:
        FacetteError: the file is missing or not such a list; the message names the line.
    """
    path = data_dir / PAIRS
    if not path.is_file():
        raise FacetteError(f"{path}: not found; expected LFW's view-2 pair list there, beside {RAW}.zip and {ALIGNED}.zip")
    lines = path.read_text(encoding="utf-8").splitlines()
    try:
        folds, each = (int(field) for field in lines[0].split("\t"))
    except (IndexError, ValueError):
        raise FacetteError(f'{path}: line 1 must be "folds<tab>pairs of each kind"') from None
    if len(lines) - 1 != folds * each * 2:
        raise FacetteError(f"{path}: line 1 promises {folds * each * 2} pairs, but {len(lines) - 1} lines follow")
    pairs = [_read_pair(line, f"{path}: line {number}") for number, line in enumerate(lines[1:], 2)]
    same = np.array([fields == 3 for _, _, fields in pairs])
    if not (same == np.tile(np.repeat([True, False], each), folds)).all():
        raise FacetteError(f"{path}: every fold must hold {each} same-person pairs, then {each} different ones")
    photos, position = np.unique(np.array([[first, second] for first, second, _ in pairs]), return_inverse=True)
    first, second = position.reshape(-1, 2).T
    return Pairs(tuple(map(str, photos)), first, second, same, np.repeat(np.arange(1, folds + 1), each * 2))


def _read_pair(line: str, where: str) -> tuple[str, str, int]:
    fields = line.split("\t")
    try:
        if len(fields) == 3:
            name, one, other = fields
            return _photo(name, one), _photo(name, other), 3
        name, one, other_name, other = fields
        return _photo(name, one), _photo(other_name, other), 4
    except ValueError:
        raise FacetteError(f'{where}: expected "name, n, n" or "name, n, name, n" between tabs, got {line!r}') from None


def _photo(name: str, number: str) -> str:
    return f"{name}/{name}_{int(number):04d}.jpg"


class Photos:
    """The photos of one kind, from ``KIND.zip`` or from a folder ``KIND``; only ever read, never unpacked.

    Args:
        data_dir: where the archive or the folder lies.
        kind: `RAW` or `ALIGNED`.

    Raises:
        FacetteError: neither is there.
    """

    def __init__(self, data_dir: Path, kind: str) -> None:
        archive, folder = data_dir / f"{kind}.zip", data_dir / kind
        if not archive.is_file() and not folder.is_dir():
            raise FacetteError(
                f"{data_dir}: has neither {kind}.zip nor a folder {kind}; expected LFW's photos as Name/Name_0001.jpg"
            )
        self._root: zipfile.Path | Path
        try:
            self._root = zipfile.Path(archive) if archive.is_file() else folder
        except zipfile.BadZipFile:
            raise FacetteError(f"{archive}: not a complete zip file") from None

    def read(self, name: str) -> Image:
        """One photo: uint8 [h, w, 3], BGR.

        Raises:
            FacetteError: it is missing or not a picture.
        """
        path = self._root / name
        if not path.is_file():
            raise FacetteError(f"{path}: the pair list names this photo, but it is not there")
        image = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
        if image is None:
            raise FacetteError(f"{path}: not a picture")
        return np.asarray(image, np.uint8)
