"""The pair list and the photos of LFW."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from facette.data.lfw import RAW, Photos, read_pairs
from facette_runtime.errors import FacetteError
from tests.toolchain import small_lfw


def test_pairs(tmp_path: Path) -> None:
    pairs = read_pairs(small_lfw.write(tmp_path))

    assert pairs.photos == ("Ann/Ann_0001.jpg", "Ann/Ann_0002.jpg", "Bob/Bob_0001.jpg", "Bob/Bob_0002.jpg")
    assert pairs.same.tolist() == [True, True, False, False] * 2
    assert pairs.folds.tolist() == [1] * 4 + [2] * 4
    assert list(zip(pairs.first[:4], pairs.second[:4], strict=True)) == [(0, 1), (2, 3), (0, 2), (1, 3)]


def test_select__keeps_only_the_photos_that_are_named(tmp_path: Path) -> None:
    small_lfw.write(tmp_path)
    text = (tmp_path / "lfw-pairs.txt").read_text().splitlines()
    text[5:9] = ["Cy\t1\t2", "Cy\t3\t4", "Cy\t1\tDi\t1", "Cy\t2\tDi\t1"]
    (tmp_path / "lfw-pairs.txt").write_text("\n".join(text))
    pairs = read_pairs(tmp_path).select([2])

    assert [pairs.photos[index] for index in pairs.first] == [
        "Cy/Cy_0001.jpg",
        "Cy/Cy_0003.jpg",
        "Cy/Cy_0001.jpg",
        "Cy/Cy_0002.jpg",
    ]
    assert len(pairs.photos) == 5
    with pytest.raises(FacetteError, match=r"folds \[3\]: the pair list has folds 1 to 2"):
        read_pairs(tmp_path).select([3])


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "line 1 must be"),
        ("two\t2\n", "line 1 must be"),
        ("1\t1\nAnn\t1\t2\n", "line 1 promises 2 pairs, but 1 lines follow"),
        ("1\t1\nAnn\t1\t2\nAnn 1 Bob 1\n", "line 3: expected"),
        ("1\t1\nAnn\tx\t2\nAnn\t1\tBob\t1\n", "line 2: expected"),
        ("1\t1\nAnn\t1\tBob\t1\nAnn\t1\t2\n", "1 same-person pairs, then 1 different"),
    ],
)
def test_pairs__broken_list_is_one_line(tmp_path: Path, text: str, line: str) -> None:
    (tmp_path / "lfw-pairs.txt").write_text(text)

    with pytest.raises(FacetteError, match=line):
        read_pairs(tmp_path)


def test_pairs__missing_names_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(FacetteError, match=r"lfw-pairs.txt: not found; expected LFW's view-2 pair list"):
        read_pairs(tmp_path)


def test_photos__zip_and_folder_give_the_same(tmp_path: Path) -> None:
    small_lfw.write(tmp_path)
    from_zip = Photos(tmp_path, RAW).read("Ann/Ann_0001.jpg")
    with zipfile.ZipFile(tmp_path / "lfw-raw-250.zip") as archive:
        archive.extractall(tmp_path / RAW)
    (tmp_path / "lfw-raw-250.zip").unlink()

    assert from_zip.shape == (250, 250, 3)
    np.testing.assert_array_equal(Photos(tmp_path, RAW).read("Ann/Ann_0001.jpg"), from_zip)


def test_photos__what_is_missing_or_broken_is_named(tmp_path: Path) -> None:
    with pytest.raises(FacetteError, match=r"has neither lfw-raw-250\.zip nor a folder"):
        Photos(tmp_path, RAW)
    small_lfw.write(tmp_path)
    with pytest.raises(FacetteError, match=r"Cy_0001\.jpg: the pair list names this photo"):
        Photos(tmp_path, RAW).read("Cy/Cy_0001.jpg")
    (tmp_path / "lfw-raw-250.zip").write_bytes(b"PK not a zip")
    with pytest.raises(FacetteError, match="not a complete zip file"):
        Photos(tmp_path, RAW)
    folder = tmp_path / "lfw-aligned-112"
    folder.mkdir()
    (tmp_path / "lfw-aligned-112.zip").unlink()
    (folder / "x.jpg").write_bytes(b"no picture")
    with pytest.raises(FacetteError, match=r"x\.jpg: not a picture"):
        Photos(tmp_path, "lfw-aligned-112").read("x.jpg")


def test_the_real_list(data_dir: Path) -> None:
    pairs = read_pairs(data_dir)

    assert (len(pairs.photos), len(pairs.same), int(pairs.same.sum())) == (7701, 6000, 3000)
    assert Photos(data_dir, RAW).read(pairs.photos[0]).shape == (250, 250, 3)
