"""Makes, starts and removes a virtual Pi in a folder."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NoReturn

from tools.virtual_pi import debian, host, instructions, wheels
from tools.virtual_pi.boards import Board, find_board, write_board_files
from tools.virtual_pi.errors import VirtualPiError

STAMP = ".virtual-pi.json"
HOME = "home/pi"
_EMULATOR = "opt/qemu/qemu-aarch64-static"
_PATH = ("usr/local/sbin", "usr/local/bin", "usr/sbin", "usr/bin")


def default_cache() -> Path:
    """FACETTE_CACHE, else the user's cache folder."""
    folder = os.environ.get("FACETTE_CACHE")
    return (Path(folder) if folder else Path.home() / ".cache" / "facette") / "virtual-pi"


def make(root: Path, board: Board, cache: Path, include: Sequence[str], mirror: str, tell: Callable[[str], None]) -> None:
    """Makes a virtual Pi, or brings the runtime of one up to date that is there already.

    Args:
        root: the folder; new, empty, or a virtual Pi.
        board: which one to play.
        cache: of the userland and the wheels.
        include: Debian packages beside python3.
        mirror: of Debian.
        tell: is called with a line at each step.

    Raises:
        VirtualPiError: something is missing here, or the folder holds other things.
    """
    host.require()
    there = (root / STAMP).is_file()
    if root.exists() and not there and (not root.is_dir() or any(root.iterdir())):
        raise VirtualPiError(f"{root} is neither empty nor a virtual Pi: give a new folder")
    platform = wheels.read_platform(board.target)
    with tempfile.TemporaryDirectory() as temporary, ThreadPoolExecutor() as side:
        tell("fetching arm64 wheels and the Debian userland, both cached in " + str(cache))
        base = None if there else side.submit(debian.base_archive, cache, include, mirror)
        runtime = wheels.build_runtime(Path(temporary))
        needed = wheels.fetch_needed(runtime, platform, cache)
        if base is not None:
            archive = base.result()
            tell(f"unpacking the userland into {root}")
            debian.unpack_base(archive, root)
        tell(f"installing {runtime.name} and {len(needed)} wheels")
        wheels.install([runtime, *needed], root, platform)
    write_board_files(root, board)
    if not host.is_native():
        emulator = root / _EMULATOR
        emulator.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(shutil.which(host.QEMU) or "", emulator)
    stamp = {"board": board.target, "suite": debian.SUITE, "runtime": runtime.name}
    (root / STAMP).write_text(json.dumps(stamp) + "\n", encoding="utf-8")


def board_of(root: Path) -> Board:
    """The board that a folder plays.

    Raises:
        VirtualPiError: it is no virtual Pi.
    """
    try:
        stamp = json.loads((root / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise VirtualPiError(f"{root} is no virtual Pi; to make one: tools/virtual-pi make {root}") from None
    return find_board(stamp["board"])


def bring(root: Path, paths: Sequence[Path]) -> None:
    """Copies files and folders into the Pi's home."""
    for path in paths:
        place = root / HOME / path.name
        try:
            if path.is_dir():
                shutil.copytree(path, place, dirs_exist_ok=True)
            else:
                shutil.copy2(path, place)
        except OSError as error:
            raise VirtualPiError(f"--bring {path}: {error.strerror or error}") from None


def enter(root: Path, command: Sequence[str], count: bool, tell: Callable[[str], None]) -> NoReturn:
    """Becomes ``command`` inside the Pi: its streams, signals and exit status are the caller's.

    Args:
        root: the Pi.
        command: a program of the Pi and its arguments.
        count: write executed instructions to `instructions.MARKS` inside; see there.
        tell: is called with what the user should know.

    Raises:
        VirtualPiError: no such program, or it cannot be started here.
    """
    host.require(for_making=False)
    board = board_of(root)
    reason = None if count else host.register_emulator()
    if count or reason is not None:
        if reason is not None:
            tell(f"{reason}: running {command[0]} through qemu by name; it cannot start other programs")
        emulator = instructions.prepare(root) if count else [f"/{_EMULATOR}"]
        command = [*emulator, *_interpreted(root, command)]
    environment = {
        "PATH": ":".join(f"/{folder}" for folder in _PATH),
        "HOME": f"/{HOME}",
        "LANG": "C.UTF-8",
        "QEMU_CPU": board.qemu_cpu,
        **{name: os.environ[name] for name in ("TERM", "SSH_CONNECTION", "SSH_ORIGINAL_COMMAND") if name in os.environ},
    }
    os.chroot(root)
    os.chdir(f"/{HOME}")
    try:
        os.execvpe(command[0], list(command), environment)
    except OSError as error:
        raise VirtualPiError(f"{command[0]} cannot be started inside: {error.strerror}") from None


def clean(root: Path) -> None:
    """Removes a virtual Pi.

    Raises:
        VirtualPiError: the folder is none, or something is mounted inside, which would be emptied.
    """
    board_of(root)
    host.require(for_making=False)
    inside = str(root.resolve()) + "/"
    mounted = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines() if line.split()[1].startswith(inside)]
    if mounted:
        raise VirtualPiError(f"{mounted[0]} is mounted: umount it first")
    shutil.rmtree(root)


def _interpreted(root: Path, command: Sequence[str]) -> list[str]:
    """A command as qemu takes it: a program's full path, scripts behind their interpreters."""
    program = _find(root, command[0])
    head = (root / program.lstrip("/")).open("rb").read(256)
    if not head.startswith(b"#!"):
        return [program, *command[1:]]
    interpreter = head[2:].splitlines()[0].decode().split()
    return [*interpreter, program, *command[1:]]


def _find(root: Path, name: str) -> str:
    places = [name.lstrip("/")] if name.startswith("/") else [f"{folder}/{name}" for folder in _PATH]
    for place in places:
        path = root / place
        for _ in range(8):  # links are the Pi's: an absolute one starts at its root, not at the host's
            if not path.is_symlink():
                break
            link = path.readlink()
            path = root / link.relative_to("/") if link.is_absolute() else path.parent / link
        if path.is_file():
            return "/" + str(Path(os.path.normpath(path)).relative_to(os.path.normpath(root)))
    raise VirtualPiError(f"{name}: no such program inside")
