"""What the device says of itself."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Facts:
    """Answer of `facette.deploy.device.probe.probe`; what the device doesn't tell is None.

    Attributes:
        host: the device's name for itself.
        model: of the board or the processor.
        architecture: as ``platform.machine()`` says.
        bits: of its Python: 32 on a 32-bit system, whatever the kernel is.
        cpu_features: of the first core.
        system: the distribution's name.
        glibc: version; None on musl.
        python, executable: the Python that a release would run on.
        modules: those of the ones asked for that this Python can import.
        memory_mb, memory_available_mb: in MB of 2^20 bytes.
        disk_free_mb: where the folder is or will be, in MB of 10^6 bytes.
        writable: whether the folder can be made or written to.
        l4t, jetpack, cuda, tensorrt: on Jetsons, versions.
    """

    host: str
    model: str | None
    architecture: str
    bits: int
    cpu_features: tuple[str, ...] | None
    system: str
    glibc: str | None
    python: str
    executable: str
    modules: tuple[str, ...]
    memory_mb: float
    memory_available_mb: float | None
    disk_free_mb: float
    writable: bool
    l4t: str | None
    jetpack: str | None
    cuda: str | None
    tensorrt: str | None


@dataclass(frozen=True, slots=True)
class State:
    """What is deployed there; answer of `facette.deploy.device.layout.Layout.state`.

    Attributes:
        root: the deployment's folder, absolute.
        environments: keys of those that are complete.
        current, previous: releases, by name.
    """

    root: str
    environments: tuple[str, ...]
    current: str | None
    previous: str | None
