"""What this machine's processor can do, and what it does wrong."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")


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


def int8_overflows(features: Collection[str] | None) -> bool:
    """Whether a processor's own instruction for int8 adds pairs of products in 16 bits, where they overflow: x86 without VNNI.

    Args:
        features: see `cpu_features`; None, and those of other architectures, give False.
    """
    return features is not None and "avx2" in features and "avx512_vnni" not in features and "avx_vnni" not in features
