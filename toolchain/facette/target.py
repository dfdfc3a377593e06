"""Devices as data: one TOML file each, read into frozen dataclasses."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from facette.toml_file import read_toml
from facette_runtime.errors import FacetteError
from facette_runtime.manifest import Precision, TargetFacts

_PACKAGED = Path(__file__).parent / "targets"
_CHECKOUT = Path(__file__).parents[2] / "targets"
FOLDER = _PACKAGED if _PACKAGED.is_dir() else _CHECKOUT


@dataclass(frozen=True, slots=True)
class TargetEngine:
    """One engine that the device can run.

    Attributes:
        name: as in `facette_runtime.engines`.
        precisions: what it runs there, in order of preference.
        forms: graph forms, fastest first as measured on this kind of processor; decides where nothing can be measured.
    """

    name: str
    precisions: tuple[Precision, ...]
    forms: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Target:
    """A device.

    Attributes:
        name: the file's stem.
        description: one line for people.
        architecture: as ``platform.machine()`` says on Linux, e.g. "x86_64", "aarch64".
        cpu_features: flags that must stand in the device's /proc/cpuinfo.
        cores: of the processor.
        memory_mb: of the device.
        threads: intra-op threads that networks are compiled and measured for.
        os, python: what the device runs.
        wheel_tags: platform tags of the wheels that install there, newest first.
        engines: in order of preference.
        sources: where these facts come from.
    """

    name: str
    description: str
    architecture: str
    cpu_features: tuple[str, ...]
    cores: int
    memory_mb: int
    threads: int
    os: str
    python: str
    wheel_tags: tuple[str, ...]
    engines: tuple[TargetEngine, ...]
    sources: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.engines:
            raise ValueError("engines must name at least one engine")

    @property
    def facts(self) -> TargetFacts:
        """What the bundle asks of the device that opens it."""
        return TargetFacts(self.name, self.architecture, self.cpu_features)


def target_names() -> list[str]:
    """Names of the targets that come with Facette."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load_target(name: str) -> Target:
    """Reads a target by name, or a user's own by the path of its TOML file.

    Raises:
        FacetteError: unknown name (the message lists the known ones), unreadable file, or a key that the schema does not know.
    """
    path = Path(name) if name.endswith(".toml") else FOLDER / f"{name}.toml"
    if not path.is_file():
        raise FacetteError(f"unknown target {name!r}; known targets: {', '.join(target_names())}, or the path of a .toml file")
    return read_toml(Target, path, {"name": path.stem})
