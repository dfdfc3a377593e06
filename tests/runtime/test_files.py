"""A file appears whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from facette_runtime.errors import FacetteError
from facette_runtime.files import replacing, write_atomically


def test_writes_and_makes_the_folder(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a" / "b.txt", b"new")
    assert (tmp_path / "a" / "b.txt").read_bytes() == b"new"


def test_an_exception_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "b.txt"
    path.write_text("old")

    def spoil() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise KeyError

    with pytest.raises(KeyError):
        spoil()
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("b.txt", "old")]


def test_a_place_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FacetteError, match=r"file/b\.txt cannot be written"):
        write_atomically(tmp_path / "file" / "b.txt", b"")
