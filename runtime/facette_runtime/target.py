"""Is this machine the one that a bundle was made for?"""

from __future__ import annotations

import platform
import struct
from pathlib import Path

from facette_runtime.errors import BundleError
from facette_runtime.manifest import TargetFacts

_ALIASES = {"arm64": "aarch64", "amd64": "x86_64", "x64": "x86_64", "x86-64": "x86_64"}
_CPUINFO = Path("/proc/cpuinfo")


def canonical_architecture(name: str) -> str:
    """One spelling for each architecture: arm64 is aarch64, AMD64 is x86_64."""
    return _ALIASES.get(name.lower(), name.lower())


def cpu_features(cpuinfo: Path = _CPUINFO) -> frozenset[str] | None:
    """What Linux says the first core can do ("avx2", "asimddp", …); None where it does not say."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            return frozenset(value.split())
    return None


def check_target(target: TargetFacts, where: str) -> None:
    """Raises BundleError unless this machine has the target's architecture and CPU features.

    Features are not checked where the system does not tell them.

    Args:
        target: what the bundle was made for.
        where: what to call the bundle in the message.
    """
    wanted, here = canonical_architecture(target.architecture), canonical_architecture(platform.machine())
    if wanted != here:
        raise BundleError(f"{where} is for target {target.name!r} ({wanted}), but this machine is {here}")
    if wanted in ("aarch64", "x86_64") and struct.calcsize("P") != 8:
        raise BundleError(f"{where} is for target {target.name!r} ({wanted}), but this Python is a 32-bit one")
    features = cpu_features()
    missing = sorted(set(target.cpu_features) - features) if features is not None else []
    if missing:
        raise BundleError(f"{where} is for target {target.name!r}, whose CPU has {', '.join(missing)}; this one has not")
