"""A run's state on disk: everything that the next step depends on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from facette.train.ema import Ema
from facette_runtime.errors import FacetteError
from facette_runtime.files import replacing
from facette_runtime.schema import to_dict

# What may change when a run is continued, because the curve does not depend on it.
_FREE = {"checkpoint_every", "log_every", "log", "threads", "device", "precision"}


def save_state(
    path: Path,
    config: Any,
    step: int,
    student: nn.Module,
    ema: Ema,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
) -> None:
    """Writes a checkpoint after ``step`` steps; a kill leaves the old one or the new one, never half of one."""
    state = {
        "step": step,
        "config": to_dict(config),
        "student": student.state_dict(),
        "ema": ema.average,
        "optimizer": optimizer.state_dict(),
        "scaler": scaler.state_dict(),
        "rng": torch.get_rng_state(),
        "cuda_rng": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }
    with replacing(path) as temporary:
        torch.save(state, temporary)


def load_state(
    path: Path,
    config: Any,
    student: nn.Module,
    ema: Ema,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
) -> int:
    """Restores a checkpoint of `save_state` in place and returns how many steps are done.

    Raises:
        FacetteError: it belongs to another network, or was made with other settings; the message names the first that
            differs.
    """
    state = torch.load(path, map_location="cpu", weights_only=True)
    wanted = {key: value for key, value in to_dict(config).items() if key not in _FREE}
    refuse_others(path, state["config"], wanted)
    try:
        student.load_state_dict(state["student"])
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise FacetteError(f"{path}: holds another network ({reason}); use another run folder") from None
    for name, value in state["ema"].items():
        ema.average[name].copy_(value)
    optimizer.load_state_dict(state["optimizer"])
    scaler.load_state_dict(state["scaler"])
    torch.set_rng_state(state["rng"])
    if torch.cuda.is_available() and state["cuda_rng"]:
        torch.cuda.set_rng_state_all(state["cuda_rng"])
    return int(state["step"])


def refuse_others(path: Path, kept: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Compares the settings that a file was made with with those that are wanted now.

    Raises:
        FacetteError: they differ; the message names the first that does.
    """
    for key, value in wanted.items():
        if kept.get(key) != value:
            raise FacetteError(f"{path}: made with {key} = {kept.get(key)}, not {value}; use another run folder")
