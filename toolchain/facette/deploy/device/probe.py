"""What this machine is and has. A fact that it does not tell is None, never a guess; nothing is written."""

import importlib.util
import json
import os
import platform
import shutil
import struct
import subprocess
import sys
from pathlib import Path

from facette.deploy.device.layout import Layout

_JETSON_RELEASE = Path("/etc/nv_tegra_release")
_CUDA_VERSION = Path("/usr/local/cuda/version.json")


def probe(root: "Layout", modules: "list[str]") -> "dict[str, object]":
    """Facts, as `facette.deploy.facts.Facts` names them.

    Args:
        root: where the deployment is or will be.
        modules: which of these can be imported by this Python is told.
    """
    total, available = _memory_mb()
    place = _existing(root.folder)
    return {
        "host": platform.node(),
        "model": _model(),
        "architecture": platform.machine(),
        "bits": struct.calcsize("P") * 8,
        "cpu_features": _cpu_features(),
        "system": _os_release() or platform.platform(),
        "glibc": _glibc(),
        "python": platform.python_version(),
        "executable": sys.executable,
        "modules": [module for module in modules if _can_import(module)],
        "memory_mb": total,
        "memory_available_mb": available,
        "disk_free_mb": shutil.disk_usage(str(place)).free / 1e6,
        "writable": os.access(str(place), os.W_OK | os.X_OK),
        "l4t": _l4t(),
        "jetpack": _package_version("nvidia-jetpack"),
        "cuda": _cuda(),
        "tensorrt": _package_version("libnvinfer10") or _package_version("libnvinfer8"),
    }


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path


def _can_import(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ImportError:  # the parent package is missing
        return False


def _memory_mb() -> "tuple[float, float | None]":
    """All of it, and what can be had without swapping; from /proc where it is there, else from the kernel by way of libc."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**20
    facts = {}
    for line in (_text(Path("/proc/meminfo")) or "").splitlines():
        name, _, value = line.partition(":")
        facts[name] = int(value.split()[0]) / 1024
    return facts.get("MemTotal", total), facts.get("MemAvailable")


def _cpu_features() -> "list[str] | None":
    for line in (_text(Path("/proc/cpuinfo")) or "").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            return value.split()
    return None


def _model() -> "str | None":
    board = _text(Path("/proc/device-tree/model"))
    if board:
        return board.rstrip("\0")
    for line in (_text(Path("/proc/cpuinfo")) or "").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return None


def _os_release() -> "str | None":
    for line in (_text(Path("/etc/os-release")) or "").splitlines():
        key, _, value = line.partition("=")
        if key == "PRETTY_NAME":
            return value.strip('"')
    return None


def _glibc() -> "str | None":
    """None on musl and whatever else is no glibc."""
    try:
        name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
    except (ValueError, OSError):
        return None
    return version if name == "glibc" else None


def _l4t() -> "str | None":
    """NVIDIA's board support package: "# R36 (release), REVISION: 4.3, …" is 36.4.3."""
    words = (_text(_JETSON_RELEASE) or "").replace(",", " ").split()
    if "REVISION:" not in words or not words[1].startswith("R"):
        return None
    return words[1][1:] + "." + words[words.index("REVISION:") + 1]


def _cuda() -> "str | None":
    text = _text(_CUDA_VERSION)
    return None if text is None else str(json.loads(text)["cuda"]["version"])


def _package_version(name: str) -> "str | None":
    try:
        process = subprocess.Popen(
            ["dpkg-query", "--show", "--showformat=${Version}", name], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
    except OSError:  # no Debian
        return None
    version = process.communicate()[0].decode()
    return version or None


def _text(path: Path) -> "str | None":
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None
