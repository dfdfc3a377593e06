"""What this device has, from the system's files: for `facette-run doctor`. What the system does not tell is None or empty."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from facette_runtime.engines import ENGINES, installed_engines
from facette_runtime.machine import ROOT, Machine, cpu_temperature_c, describe_machine, file_text, proc_mb, throttling
from facette_runtime.processor import cpu_features
from facette_runtime.target import this_architecture

# Under which names an engine's library may be installed.
_DISTRIBUTIONS = {
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
    "litert": ("ai-edge-litert", "tflite-runtime"),
    "openvino": ("openvino",),
    "tensorrt": ("tensorrt",),
}
_LIBRARIES = ("numpy", "opencv-python-headless", "opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless")


@dataclass(frozen=True, slots=True)
class Camera:
    """A video device: its path and what its driver calls it. On boards with codecs in hardware not each one is a camera."""

    device: str
    name: str | None


@dataclass(frozen=True, slots=True)
class Jetson:
    """NVIDIA's software; each version None where the system does not tell it.

    Attributes:
        jetson_linux: release of the board support package.
        jetpack, tensorrt, cuda: versions of the system's packages.
        power_mode: number of the nvpmodel in force.
    """

    jetson_linux: str | None
    jetpack: str | None
    tensorrt: str | None
    cuda: str | None
    power_mode: str | None


@dataclass(frozen=True, slots=True)
class Device:
    """The device.

    Attributes:
        architecture: of this Python; a 32-bit system on a 64-bit processor is told apart.
        soc: the chip, as the device tree names it.
        cpu_features: of /proc/cpuinfo.
        clock_mhz, governor: highest clock, and how the kernel chooses the clock.
        memory_free_mb: what programs can still take.
        disk_free_mb: in the folder that was asked about.
        throttling: see `facette_runtime.machine.throttling`.
        libraries: version by package: numpy and OpenCV.
        engines: version by engine that can run here; "unknown" where only its presence is known.
    """

    machine: Machine
    architecture: str
    soc: str | None
    cpu_features: tuple[str, ...] | None
    clock_mhz: int | None
    governor: str | None
    memory_free_mb: float | None
    disk_free_mb: float
    temperature_c: float | None
    throttling: tuple[str, ...] | None
    cameras: tuple[Camera, ...]
    system: str | None
    glibc: str | None
    libraries: dict[str, str]
    engines: dict[str, str]
    jetson: Jetson | None


def inspect_device(folder: Path, root: Path = ROOT) -> Device:
    """Looks at everything.

    Args:
        folder: where the bundle is or will be, for the free disk.
        root: where the system's files are.
    """
    features = cpu_features(root / "proc/cpuinfo")
    clock = file_text(root / "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq")
    return Device(
        machine=describe_machine(root),
        architecture=this_architecture(),
        soc=_soc(root),
        cpu_features=None if features is None else tuple(sorted(features)),
        clock_mhz=int(clock) // 1000 if clock and clock.isdigit() else None,
        governor=file_text(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        memory_free_mb=proc_mb("meminfo", "MemAvailable", root),
        disk_free_mb=shutil.disk_usage(folder).free / 2**20,
        temperature_c=cpu_temperature_c(root),
        throttling=throttling(root),
        cameras=_cameras(root),
        system=_system(root),
        glibc=_glibc(),
        libraries={name: version for name in _LIBRARIES if (version := _version(name)) is not None},
        engines=_engines(),
        jetson=_jetson(root),
    )


def _soc(root: Path) -> str | None:
    """The last name of the device tree's list is the most general one: the chip, after the boards."""
    names = [name for name in (file_text(root / "proc/device-tree/compatible") or "").split("\0") if name]
    return names[-1] if names else None


def _cameras(root: Path) -> tuple[Camera, ...]:
    nodes = sorted((root / "dev").glob("video*"), key=lambda node: int(re.sub(r"\D", "", node.name) or 0))
    return tuple(Camera(f"/dev/{node.name}", file_text(root / "sys/class/video4linux" / node.name / "name")) for node in nodes)


def _system(root: Path) -> str | None:
    for line in (file_text(root / "etc/os-release") or "").splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip('"')
    return None


def _glibc() -> str | None:
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").removeprefix("glibc ") or None
    except (ValueError, OSError):
        return None


def _engines() -> dict[str, str]:
    found = {}
    for name in installed_engines():
        # The null engine needs nothing and is for tests; TensorRT's counts as installed where ONNX Runtime stands in for it.
        if ENGINES[name].needs and (name != "tensorrt" or find_spec("tensorrt") is not None):
            versions = [version for package in _DISTRIBUTIONS.get(name, (name,)) if (version := _version(package)) is not None]
            found[name] = versions[0] if versions else "unknown"
    return found


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _jetson(root: Path) -> Jetson | None:
    # "# R36 (release), REVISION: 4.3, GCID: …"
    release = re.match(r"# R(\d+) \(release\), REVISION: ([\d.]+)", file_text(root / "etc/nv_tegra_release") or "")
    if release is None:
        return None
    packages = _debian_versions(root, ("nvidia-jetpack", "tensorrt", "libnvinfer10", "libnvinfer8", "cuda-cudart"))
    mode = re.search(r"pmode:0*(\d+)", file_text(root / "var/lib/nvpmodel/status") or "")
    tensorrt = next((packages[name] for name in ("tensorrt", "libnvinfer10", "libnvinfer8") if name in packages), None)
    return Jetson(
        jetson_linux=f"{release[1]}.{release[2]}",
        jetpack=packages.get("nvidia-jetpack"),
        tensorrt=tensorrt,
        cuda=packages.get("cuda-cudart"),
        power_mode=mode[1] if mode else None,
    )


def _debian_versions(root: Path, wanted: tuple[str, ...]) -> dict[str, str]:
    """Upstream versions of installed packages; a wanted name also stands for one with a version appended: cuda-cudart-12-6."""
    found = {}
    for paragraph in (file_text(root / "var/lib/dpkg/status") or "").split("\n\n"):
        fields = dict(line.split(": ", 1) for line in paragraph.splitlines() if ": " in line and not line.startswith(" "))
        package = re.sub(r"-\d+-\d+$", "", fields.get("Package", ""))
        if package in wanted and fields.get("Status", "").endswith(" installed"):
            found[package] = re.split(r"[-+]", fields.get("Version", ""))[0]
    return found
