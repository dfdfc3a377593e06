"""Galleries keep people, refuse other networks' templates, and never half-write."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from facette_runtime.errors import FacetteError
from facette_runtime.gallery import Gallery
from tests.runtime import bundles

TEMPLATE = np.eye(8, dtype=np.float32)[0]


def _gallery() -> Gallery:
    return Gallery.empty(bundles.EMBEDDER).with_template("Zoë", TEMPLATE).with_template("Ada", -TEMPLATE)


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "people"
    _gallery().save(path)
    loaded = Gallery.load(path)
    assert (loaded.embedder, loaded.digest, loaded.names) == ("null-embedder", "e" * 64, ("Zoë", "Ada"))
    np.testing.assert_array_equal(loaded.templates, [TEMPLATE, -TEMPLATE])
    assert [file.name for file in tmp_path.iterdir()] == ["people"]


def test_an_empty_gallery_is_a_gallery(tmp_path: Path) -> None:
    Gallery.empty(bundles.EMBEDDER).save(tmp_path / "g.npz")
    assert Gallery.load(tmp_path / "g.npz").templates.shape == (0, 8)


def test_other_weights_are_refused_and_other_precisions_are_not() -> None:
    _gallery().check_embedder(replace(bundles.EMBEDDER, precision="int8", engine="litert"))
    with pytest.raises(FacetteError, match=r"enrolled with null-embedder .* embeds with other .*: enrol the people again"):
        _gallery().check_embedder(replace(bundles.EMBEDDER, name="other", source_digest="f" * 64))


def _newer(path: Path) -> None:
    np.savez(path, format=np.int64(2))


def _pickled(path: Path) -> None:
    np.savez(path, format=np.array([{"a": 1}], object))


def _truncated(path: Path) -> None:
    _gallery().save(path)
    path.write_bytes(path.read_bytes()[:-40])


def _wrong_count(path: Path) -> None:
    replace(_gallery(), names=("Ada",)).save(path)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "does not exist; make it with: facette-run enroll"),
        (lambda path: path.mkdir(), "is a directory"),
        (lambda path: path.write_text("hello"), "is not a gallery"),
        (lambda path: path.touch(), "is not a gallery"),
        (lambda path: path.write_bytes(pickle.dumps([1])), "is not a gallery"),
        (_pickled, "is not a gallery"),
        (_truncated, "is not a gallery"),
        (_newer, "gallery format 2 is newer"),
        (_wrong_count, "1 names do not fit templates of shape"),
    ],
)
def test_refuses(make, message: str, tmp_path: Path) -> None:
    path = tmp_path / "g.npz"
    make(path)
    with pytest.raises(FacetteError, match=message):
        Gallery.load(path)


def test_unwritable_place_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FacetteError, match="cannot be written"):
        _gallery().save(tmp_path / "file" / "g.npz")
