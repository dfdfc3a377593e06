"""The folder of a run of several rounds, which another recipe must not go on with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from facette.train.state import refuse_others
from facette_runtime.files import write_atomically
from facette_runtime.schema import to_dict

# The schedule is the loop's to compare (see `facette.train.state`); the others change no weight.
_NOT_COMPARED = {"rounds", "loop", "name", "compile"}


def round_folder(run_dir: Path, number: int) -> Path:
    """Where the round with this 1-based number keeps its files."""
    return run_dir / f"round-{number}"


def claim(run_dir: Path, recipe: Any) -> None:
    """Notes a recipe's settings in its run's folder, and compares them when the run goes on.

    A round more is welcome: it goes on from where the others ended.

    Args:
        run_dir: the run's folder.
        recipe: a dataclass with ``rounds``, a tuple of dataclasses.

    Raises:
        FacetteError: the folder holds a run with other settings; the message names the first that differs.
    """
    _compare(run_dir / "recipe.json", recipe)
    for number, each in enumerate(recipe.rounds, 1):
        _compare(round_folder(run_dir, number) / "round.json", each)


def _compare(path: Path, settings: Any) -> None:
    wanted = {key: value for key, value in to_dict(settings).items() if key not in _NOT_COMPARED}
    if path.exists():
        refuse_others(path, json.loads(path.read_text()), wanted)
    else:
        write_atomically(path, json.dumps(wanted, indent=1).encode())
