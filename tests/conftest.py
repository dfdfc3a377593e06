"""Where the optional data of the tests lies: FACETTE_DATA names the folder; weights lie beside it or in FACETTE_WEIGHTS."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # one of several processes: each keeps to one core, before torch is imported
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks every test that asks for the data or the weights, so that ``-m data`` runs them all."""
    for item in items:
        if {"data_dir", "weights_dir"} & set(getattr(item, "fixturenames", ())):
            item.add_marker("data")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder with lfw-pairs.txt and the picture archives."""
    return _folder("FACETTE_DATA", os.environ.get("FACETTE_DATA"))


@pytest.fixture(scope="session")
def weights_dir() -> Path:
    """The folder with the public networks' safetensors."""
    data = os.environ.get("FACETTE_DATA")
    return _folder("FACETTE_WEIGHTS", os.environ.get("FACETTE_WEIGHTS") or (data and str(Path(data).parent / "weights")))


def _folder(variable: str, value: str | None) -> Path:
    if not value or not Path(value).is_dir():
        pytest.skip(f"{variable} does not name a folder: this test needs data that the repository does not hold")
    return Path(value)
