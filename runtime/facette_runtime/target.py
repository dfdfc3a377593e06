"""Is this machine the one that a bundle was made for?"""

from __future__ import annotations

import platform
import struct

from facette_runtime.errors import BundleError
from facette_runtime.manifest import TargetFacts
from facette_runtime.processor import cpu_features

# What systems, container tools and people call the same thing.
_ALIASES = {
    **dict.fromkeys(("arm64", "armv8", "arm64v8", "arm64e"), "aarch64"),
    **dict.fromkeys(("amd64", "x64", "x86-64", "em64t"), "x86_64"),
    **dict.fromkeys(("armv7", "armhf", "arm32v7"), "armv7l"),
    **dict.fromkeys(("x86", "i386", "i486", "i586"), "i686"),
}
# A 32-bit system on a processor that can run the 64-bit one.
_HALF = {"armv7l": "aarch64", "armv8l": "aarch64", "i686": "x86_64"}


def canonical_architecture(name: str) -> str:
    """One spelling for each architecture: arm64 is aarch64, AMD64 is x86_64."""
    return _ALIASES.get(name.lower(), name.lower())


def this_architecture() -> str:
    """The architecture that this Python runs on, as `canonical_architecture` spells it."""
    here = canonical_architecture(platform.machine())
    if struct.calcsize("P") == 8:
        return here
    # A 64-bit kernel tells its own architecture to 32-bit programs, too.
    return next((half for half, whole in _HALF.items() if whole == here), here)


def mismatch(target: TargetFacts, architecture: str, features: frozenset[str] | None) -> str | None:
    """Why a machine is not the target; None when it is.

    Args:
        target: what the bundle was made for.
        architecture: the machine's, canonical.
        features: what its processor can do; None where that is not known, and then it is not asked for.
    """
    wanted = canonical_architecture(target.architecture)
    if wanted != architecture:
        mend = "; install its 64-bit system and Python" if _HALF.get(architecture) == wanted else ""
        return f"for target {target.name!r} ({wanted}), but this machine is {architecture}{mend}"
    missing = sorted(set(target.cpu_features) - features) if features is not None else []
    if missing:
        return f"for target {target.name!r}, whose CPU has {', '.join(missing)}; this one has not"
    return None


def check_target(target: TargetFacts, where: str) -> None:
    """Raises BundleError unless this machine has the target's architecture and CPU features.

    Features are not checked where the system does not tell them.

    Args:
        target: what the bundle was made for.
        where: what to call the bundle in the message.
    """
    reason = mismatch(target, this_architecture(), cpu_features())
    if reason is not None:
        raise BundleError(f"{where} is {reason}")
