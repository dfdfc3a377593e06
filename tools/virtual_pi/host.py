"""What the host must have: root, a few programs, and a way to run arm64 programs."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path

from tools.virtual_pi.errors import VirtualPiError

BINFMT = Path("/proc/sys/fs/binfmt_misc")
QEMU = "qemu-aarch64-static"
ENTRY = "qemu-aarch64"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
"""Without it debootstrap would take packages unverified."""

# The head of an ELF file: 64-bit, little-endian, executable or shared object, machine 183 (AArch64).
_MAGIC = r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
_MASK = r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"

# Programs by the Debian package that brings them.
_PACKAGES = {"debootstrap": "debootstrap", "dpkg-deb": "dpkg", "tar": "tar", QEMU: "qemu-user-static"}


def is_native() -> bool:
    """Whether the host is an arm64 machine itself and needs no emulator."""
    return platform.machine() == "aarch64"


def missing(for_making: bool = True) -> list[str]:
    """What keeps this host from playing the Pi, a line each; empty when all is there."""
    needed = ["debootstrap", "dpkg-deb", "tar"] if for_making else []
    needed += [] if is_native() else [QEMU]
    absent = [program for program in needed if shutil.which(program) is None]
    found = []
    if os.geteuid() != 0:
        found.append("must run as root: it uses chroot and makes device files (try sudo)")
    if absent:
        packages = " ".join(_PACKAGES[program] for program in absent)
        found.append(f"{', '.join(absent)} not found; to install on Debian or Ubuntu: apt-get install {packages}")
    if for_making and not KEYRING.exists():
        found.append(f"{KEYRING} not found; to install on Debian or Ubuntu: apt-get install debian-archive-keyring")
    return found


def require(for_making: bool = True) -> None:
    """Raises VirtualPiError with everything that is `missing`."""
    found = missing(for_making)
    if found:
        raise VirtualPiError("; ".join(found))


def register_emulator() -> str | None:
    """Makes the kernel start arm64 programs with qemu, where that is possible.

    The kernel opens the emulator when it is registered (flag F), so it is found inside a chroot. The registration stays.

    Returns:
        None when arm64 programs start by themselves; else why they do not, and then a program has to be started through qemu by
        name and cannot start others.
    """
    if is_native() or _is_registered():
        return None
    if not (BINFMT / "register").exists():
        mounted = subprocess.run(["mount", "-t", "binfmt_misc", "binfmt_misc", str(BINFMT)], capture_output=True, text=True)
        if mounted.returncode:
            return f"binfmt_misc cannot be mounted here ({mounted.stderr.strip()}); a container needs --privileged for it"
        if _is_registered():
            return None
    emulator = shutil.which(QEMU)
    try:
        if (BINFMT / ENTRY).exists():  # there, but switched off or without F
            (BINFMT / ENTRY).write_text("-1")
        (BINFMT / "register").write_text(f":{ENTRY}:M::{_MAGIC}:{_MASK}:{emulator}:F")
    except OSError as error:
        return f"binfmt_misc does not take qemu's registration: {error.strerror}"
    return None


def _is_registered() -> bool:
    try:
        lines = (BINFMT / ENTRY).read_text().splitlines()
    except OSError:
        return False
    flags = next((line.split()[1:] for line in lines if line.startswith("flags:")), [])
    return lines[:1] == ["enabled"] and any("F" in flag for flag in flags)
