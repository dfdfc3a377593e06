"""A null bundle, pictures of two people and a gallery of them, made once a test."""

from __future__ import annotations

from pathlib import Path

import pytest

from facette_runtime.bundle import Bundle
from tests.runtime import bundles


@pytest.fixture
def bundle_path(tmp_path: Path) -> Path:
    """A valid bundle with null engines."""
    return bundles.write_bundle(tmp_path / "null.facette")


@pytest.fixture
def bundle(bundle_path: Path) -> Bundle:
    """The same, opened."""
    return Bundle.open(bundle_path)


@pytest.fixture
def people(tmp_path: Path) -> Path:
    """A folder with one subfolder a person: ``Red`` with two pictures, ``Blue`` with one."""
    for person, colour, count in (("Red", bundles.RED, 2), ("Blue", bundles.BLUE, 1)):
        folder = tmp_path / "people" / person
        folder.mkdir(parents=True)
        for index in range(count):
            bundles.write_picture(folder / f"{index}.png", colour)
    return tmp_path / "people"
