"""Counts the instructions that an emulated program executes, as the figure of cost that emulation can give honestly.

Emulated time says nothing about a device. Instructions do say something: they are those that the board's processor would
execute, with the kernels that the engines choose for it. What they leave out is how many a cycle the board manages, and the
waiting for memory.

qemu's plugins need its dynamically linked build (Debian's package ``qemu-user``; the static one can't load any). It runs inside
the chroot with its own libraries beside it. The plugin, `insn_marks.c`, is compiled on the host when it is first needed.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from tools.virtual_pi.errors import VirtualPiError

MARKS = "home/pi/instructions.txt"
"""Where the counts go, inside the Pi: lines of a mark's number and the instructions executed until it; "end" for the exit."""

_SOURCE = Path(__file__).with_name("insn_marks.c")
_FOLDER = "opt/qemu/counting"
_INSTALL = "to install on Debian 12: apt-get install qemu-user gcc"


def prepare(root: Path) -> list[str]:
    """Puts the counting emulator into the Pi.

    Returns:
        The command inside to put before a program's full path.

    Raises:
        VirtualPiError: qemu-user or a C compiler is missing, or qemu is of a version with another plugin interface.
    """
    emulator, compiler = shutil.which("qemu-aarch64"), shutil.which("gcc") or shutil.which("cc")
    if emulator is None or compiler is None:
        raise VirtualPiError(f"counting instructions needs qemu's dynamic build and a C compiler; {_INSTALL}")
    _check_version(emulator)
    folder = root / _FOLDER
    if not (folder / "marks.so").exists():
        folder.mkdir(parents=True, exist_ok=True)
        loader = _copy_with_libraries(Path(emulator), folder)
        command = [compiler, "-O2", "-shared", "-fPIC", "-Wall", "-o", str(folder / "marks.so"), str(_SOURCE)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise VirtualPiError(f"{_SOURCE.name} does not compile: {done.stderr.strip().splitlines()[-1]}")
        shutil.copy2(loader, folder / "loader")
    (root / MARKS).unlink(missing_ok=True)
    inside = f"/{_FOLDER}"
    plugin = f"{inside}/marks.so,out=/{MARKS}"
    return [f"{inside}/loader", "--library-path", inside, f"{inside}/qemu-aarch64", "-plugin", plugin]


def read_marks(path: Path) -> list[tuple[str, int]]:
    """The marks in the order in which the program passed them, with the instructions executed until then."""
    pairs = (line.split() for line in path.read_text(encoding="utf-8").splitlines())
    return [(mark, int(count)) for mark, count in pairs]


def _check_version(emulator: str) -> None:
    said = subprocess.run([emulator, "--version"], capture_output=True, text=True).stdout
    found = re.search(r"version (\d+)\.(\d+)", said)
    if found is None or not (7, 0) <= (int(found[1]), int(found[2])) < (9, 0):
        raise VirtualPiError(f"{emulator} is not qemu 7 or 8, whose plugin interface is known here: {said.splitlines()[:1]}")


def _copy_with_libraries(program: Path, folder: Path) -> Path:
    """Copies a program and its shared libraries; returns the host's own loader."""
    shutil.copy2(program.resolve(), folder / "qemu-aarch64")
    listed = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=True).stdout
    paths = [Path(path) for path in re.findall(r"(/\S+) \(0x", listed)]
    loaders = [path for path in paths if path.name.startswith("ld-")]
    for path in paths:
        if path not in loaders:
            shutil.copy2(path, folder / path.name)
    if not loaders:
        raise VirtualPiError(f"{program} is linked statically and cannot load a plugin; {_INSTALL}")
    return loaders[0]
