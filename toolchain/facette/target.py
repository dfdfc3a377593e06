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
        int8_forms: those worth trying in int8; empty for all of ``forms``.
        forms: graph forms, fastest first as measured on this kind of processor; decides where nothing can be measured.
    """

    name: str
    precisions: tuple[Precision, ...]
    forms: tuple[str, ...]
    int8_forms: tuple[str, ...] = ()

    def forms_for(self, precision: Precision) -> tuple[str, ...]:
        """What is worth trying in a precision."""
        return self.int8_forms if precision == "int8" and self.int8_forms else self.forms


@dataclass(frozen=True, slots=True)
class Gpu:
    """A Jetson's GPU and the vendor's software that runs it.

    Attributes:
        name: for people.
        sm: compute capability times ten: 87 is SM 8.7.
        jetpack, jetson_linux, tensorrt, cuda: versions of the JetPack release that is compiled for.
        stand_in_sms: capabilities that TensorRT on a workstation can build for in place of ``sm``; empty where none comes near.
    """

    name: str
    sm: int
    jetpack: str
    jetson_linux: str
    tensorrt: str
    cuda: str
    stand_in_sms: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Target:
    """A device.

    Attributes:
        name: the file's stem.
        description: one line for people.
        architecture: as ``platform.machine()`` says on Linux, e.g. "x86_64", "aarch64".
        cpu_features: flags that must stand in the device's /proc/cpuinfo.
        cores: of the processor.
        memory_mb: of the device; of the smallest one, where it is sold with several.
        threads: intra-op threads that networks are compiled and measured for.
        os, python: what the device runs.
        wheel_tags: platform tags of the wheels that install there, newest first.
        engines: in order of preference.
        sources: where these facts come from.
        soc, cpu: names of the chip and of its processor cores; empty where the target is a kind of machine.
        clock_mhz: highest clock of the processor.
        memory_variants_mb: all sizes that it is sold with, smallest first; empty where ``memory_mb`` says it all.
        device_python: "major.minor" of the Python that runs the runtime there, for which wheels are fetched; None where it varies.
        glibc: "major.minor" of the system's C library, which decides about wheels; None where it varies.
        gpu: None where no engine runs on one.
        remark: what whoever compiles for it has to know first; empty where all is ordinary.
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
    soc: str = ""
    cpu: str = ""
    clock_mhz: int | None = None
    memory_variants_mb: tuple[int, ...] = ()
    device_python: str | None = None
    glibc: str | None = None
    gpu: Gpu | None = None
    remark: str = ""

    def __post_init__(self) -> None:
        if not self.engines:
            raise ValueError("engines must name at least one engine")
        if self.memory_variants_mb and self.memory_mb != min(self.memory_variants_mb):
            raise ValueError(f"memory_mb must be the smallest of memory_variants_mb, but got {self.memory_mb}")

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
