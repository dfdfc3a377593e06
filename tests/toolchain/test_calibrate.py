"""``facette calibrate``: ranges beside the weights of Facette's own networks."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import pytest

import facette.zoo
import facette.zoo.statistics
from facette.cli import main
from facette.weights import file_digest
from facette.zoo import weights_path
from facette.zoo.statistics import load_statistics, write_statistics
from facette_runtime.errors import FacetteError
from facette_runtime.types import Image

NETWORK = "facette-detect"


@pytest.fixture
def zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the zoo, whose files may be changed."""
    folder = tmp_path / "zoo"
    shutil.copytree(facette.zoo.FOLDER, folder)
    for module in (facette.zoo, facette.zoo.statistics):
        monkeypatch.setattr(module, "FOLDER", folder)
    return folder


def test_ranges_of_other_weights_are_refused_until_they_are_made_anew(zoo: Path, picture: Image, tmp_path: Path) -> None:
    digest = file_digest(weights_path(NETWORK))
    kept = load_statistics(NETWORK, digest)
    assert kept is not None
    write_statistics(NETWORK, replace(kept, weights="0" * 64))
    with pytest.raises(FacetteError, match="belongs to other weights; make it again with: facette calibrate facette-detect"):
        load_statistics(NETWORK, digest)
    faces = tmp_path / "faces"
    faces.mkdir()
    for name in ("a.png", "b.png"):
        assert cv2.imwrite(str(faces / name), picture)
    assert main(["calibrate", NETWORK, "--faces", str(faces), "--count", "2", "--ranges", "min-max"]) == 0
    made = load_statistics(NETWORK, digest)
    assert made is not None
    assert made.source == "2 faces of faces"
    assert {graph: set(ranges) for graph, ranges in made.ranges.items()} == {
        graph: set(ranges) for graph, ranges in kept.ranges.items()
    }
    assert (zoo / f"{NETWORK}.statistics.json").is_file()
