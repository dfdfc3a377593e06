"""Freed memory that a training process keeps for its next step."""

from __future__ import annotations

import ctypes

# <malloc.h>
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
_NEVER_TRIM, _NO_MAPPINGS = -1, 0


def keep_freed_memory() -> bool:
    """Has glibc keep what is freed for the rest of this process.

    A training step takes and frees hundreds of megabytes of tensors. glibc gives blocks of that size back to the kernel, which
    must clear every page of them anew for the next step (mallopt(3), M_MMAP_MAX and M_TRIM_THRESHOLD; there is no way back to its
    own choice). Not for a process that goes on to measure what a device would do: `benchmarks/training_speed.py` tells the gain.

    Returns:
        Whether it will: False where the C library is another.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(_MMAP_MAX, _NO_MAPPINGS) and mallopt(_TRIM_THRESHOLD, _NEVER_TRIM))
