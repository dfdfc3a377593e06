"""Plans that were built on this device, kept for the next start. A plan runs only where it was built, so its key says where."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from facette_runtime.files import write_atomically

FORMAT = 1


@dataclass(frozen=True, slots=True)
class PlanKey:
    """What a plan depends on.

    Attributes:
        network: sha256 of the ONNX file, in hexadecimal; the file holds weights and precisions.
        tensorrt: version.
        gpu, sm: the graphics processor's name and compute capability: two Orins of one capability differ in size.
        precision: how TensorRT was told it: "by the graph", or "by flags" before TensorRT 10.
        batch: the largest.
    """

    network: str
    tensorrt: str
    gpu: str
    sm: str
    precision: str
    batch: int


def default_folder() -> Path:
    """``$FACETTE_PLANS``, else ``$XDG_CACHE_HOME/facette/plans``, else ``~/.cache/facette/plans``."""
    if folder := os.environ.get("FACETTE_PLANS"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "facette" / "plans"


class PlanStore:
    """A folder of plans, and of one timing cache for each TensorRT and GPU.

    A file is a line of JSON (format, key, digest of what follows) and the content. One that is damaged, of another format or for
    another key counts as absent.

    Args:
        folder: made when first written to.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def plan(self, key: PlanKey) -> bytes | None:
        """The plan, or None."""
        return _read(self._plan_path(key), asdict(key))

    def keep_plan(self, key: PlanKey, plan: bytes) -> None:
        """Writes a plan.

        Raises:
            facette_runtime.errors.FacetteError: the folder can't be written to.
        """
        _write(self._plan_path(key), asdict(key), plan)

    def timing_cache(self, key: PlanKey) -> bytes:
        """What earlier builds of any network measured on this GPU; empty where there was none."""
        return _read(self._timing_path(key), _timing_key(key)) or b""

    def keep_timing_cache(self, key: PlanKey, content: bytes) -> None:
        """Writes a timing cache; as `keep_plan`."""
        _write(self._timing_path(key), _timing_key(key), content)

    def _plan_path(self, key: PlanKey) -> Path:
        return self._folder / f"{_digest(asdict(key))}.plan"

    def _timing_path(self, key: PlanKey) -> Path:
        return self._folder / f"{_digest(_timing_key(key))}.timing"


def _timing_key(key: PlanKey) -> dict[str, str]:
    return {"tensorrt": key.tensorrt, "gpu": key.gpu, "sm": key.sm}


def _digest(key: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]


def _write(path: Path, key: dict[str, Any], content: bytes) -> None:
    header = {"format": FORMAT, "key": key, "sha256": hashlib.sha256(content).hexdigest()}
    write_atomically(path, json.dumps(header).encode() + b"\n" + content)


def _read(path: Path, key: dict[str, Any]) -> bytes | None:
    try:
        header, _, content = path.read_bytes().partition(b"\n")
        told = json.loads(header)
    except (OSError, ValueError):
        return None
    wanted = {"format": FORMAT, "key": key, "sha256": hashlib.sha256(content).hexdigest()}
    return content if told == wanted else None
