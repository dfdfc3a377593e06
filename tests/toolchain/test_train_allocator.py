"""Freed memory is kept where it is asked for, seen from what the kernel has to bring anew."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
from facette.train.allocator import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
def faults():
    bytearray(64 << 20)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
first = faults()
print([faults() for _ in range(8)][-1] - first)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the switch is glibc's")
def test_kept_memory_is_not_brought_anew() -> None:
    def count(kind: str) -> int:
        return int(subprocess.run([sys.executable, "-c", FAULTS, kind], check=True, capture_output=True, text=True).stdout)

    assert count("keep") < count("give back") / 10
