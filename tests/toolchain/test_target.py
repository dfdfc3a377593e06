"""Every target file follows the schema."""

from __future__ import annotations

from pathlib import Path

import pytest

from facette.export import ENGINES
from facette.passes.lower import FORMS
from facette.target import FOLDER, load_target, target_names
from facette_runtime.errors import FacetteError


@pytest.mark.parametrize("name", target_names())
def test_every_target_is_readable_and_says_what_exists(name: str) -> None:
    target = load_target(name)
    assert target.name == name
    assert target.cores >= 1
    assert target.memory_mb >= 256
    assert target.threads >= 1
    for engine in target.engines:
        assert engine.name in ENGINES
        assert engine.precisions
        assert set(engine.forms) <= {"stock", *FORMS}
        assert "stock" in engine.forms


def test_unknown_target_lists_the_known_ones() -> None:
    with pytest.raises(FacetteError, match=r"unknown target 'toaster'; known targets: .*x86-cpu"):
        load_target("toaster")


def test_a_users_own_target_by_path(tmp_path: Path) -> None:
    path = tmp_path / "board.toml"
    path.write_text((FOLDER / "x86-cpu.toml").read_text().replace("threads = 1", "threads = 3"))
    assert (load_target(str(path)).name, load_target(str(path)).threads) == ("board", 3)


def test_a_misspelt_key_lists_the_known_ones(tmp_path: Path) -> None:
    path = tmp_path / "board.toml"
    path.write_text("achitecture = 'x86_64'\n" + (FOLDER / "x86-cpu.toml").read_text())
    with pytest.raises(FacetteError, match=r"unknown key 'achitecture'; known keys: .*architecture"):
        load_target(str(path))
