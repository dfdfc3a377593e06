"""The Debian 12 arm64 userland: its packages unpacked, without the second stage of debootstrap.

Running the packages' own scripts under emulation takes four minutes and is needed for services only. What Python programs need
is there as soon as the files are.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tools.virtual_pi.errors import VirtualPiError

SUITE = "bookworm"
MIRROR = "http://deb.debian.org/debian"

# Debian 12 has these folders in /usr only; a package that still names the old place must land in the new one.
_MERGED = ("bin", "sbin", "lib")
_LEFT_OUT = ("./usr/share/doc", "./usr/share/man", "./usr/share/locale", "./usr/share/info")
_DEVICES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}
_PEOPLE = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\npi:x:1000:1000:pi:/home/pi:/bin/sh\n",
    "etc/group": "root:x:0:\nvideo:x:44:pi\npi:x:1000:\n",
}


def base_archive(cache: Path, include: Sequence[str], mirror: str) -> Path:
    """A tar of the userland with ``include`` installed, from the cache or made anew.

    Raises:
        VirtualPiError: debootstrap fails; the message ends with its own last line.
    """
    packages = sorted({"python3", *include})
    key = hashlib.sha256(" ".join([SUITE, *packages]).encode()).hexdigest()[:12]
    archive = cache / f"{SUITE}-arm64-{key}.tar"
    if archive.exists():
        return archive
    cache.mkdir(parents=True, exist_ok=True)
    work = cache / f".{archive.stem}.{os.getpid()}"
    try:
        _download(work / "debs", packages, mirror)
        root = work / "root"
        for name in _MERGED:
            (root / "usr" / name).mkdir(parents=True)
            (root / name).symlink_to(f"usr/{name}")
        for package in sorted((work / "debs" / "var/cache/apt/archives").glob("*.deb")):
            _unpack(package, root)
        _run(["tar", "-cf", str(work / "base.tar"), "-C", str(root), "."], "the userland cannot be packed")
        (work / "base.tar").replace(archive)
    finally:
        subprocess.run(["rm", "-rf", str(work)], check=True)
    return archive


def unpack_base(archive: Path, root: Path) -> None:
    """Makes ``root`` from the archive, with the few device files, folders and accounts that programs expect."""
    root.mkdir(parents=True, exist_ok=True)
    _run(["tar", "-xf", str(archive), "-C", str(root)], f"{root} cannot be filled")
    for folder in ("dev", "proc", "sys", "run", "tmp", "home/pi"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "tmp").chmod(0o1777)
    for name, (major, minor) in _DEVICES.items():
        path = root / "dev" / name
        if not path.exists():
            _make_device(path, os.makedev(major, minor))
    for name, text in _PEOPLE.items():
        (root / name).write_text(text, encoding="utf-8")


def _download(folder: Path, packages: Sequence[str], mirror: str) -> None:
    folder.mkdir(parents=True)
    command = ["debootstrap", "--arch=arm64", "--variant=minbase", "--download-only", f"--include={','.join(packages)}"]
    _run([*command, SUITE, str(folder), mirror], f"debootstrap cannot fetch Debian from {mirror}")


def _unpack(package: Path, root: Path) -> None:
    unpacked = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE)
    left_out = [f"--exclude={name}" for name in _LEFT_OUT]
    command = ["tar", "-x", "--keep-directory-symlink", *left_out, "-C", str(root)]
    written = subprocess.run(command, stdin=unpacked.stdout, capture_output=True, text=True)
    if unpacked.wait() or written.returncode:
        raise VirtualPiError(f"{package.name} cannot be unpacked: {written.stderr.strip() or 'dpkg-deb failed'}")


def _make_device(path: Path, device: int) -> None:
    try:
        os.mknod(path, 0o020666, device)
        path.chmod(0o666)
    except OSError as error:
        raise VirtualPiError(f"{path}: no device file can be made here ({error.strerror}); give another folder") from None


def _run(command: list[str], problem: str) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or "no reason given").splitlines()[-1]
        raise VirtualPiError(f"{problem}: {said}")
