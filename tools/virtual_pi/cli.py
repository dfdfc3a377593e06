"""The command line of tools/virtual-pi."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tools.virtual_pi import debian, host, userland
from tools.virtual_pi.boards import BOARDS, find_board
from tools.virtual_pi.errors import VirtualPiError

_DESCRIPTION = """Plays a Raspberry Pi on a workstation: a Debian 12 arm64 userland under qemu-user, with facette-runtime and
its engines installed from arm64 wheels. Time in there is not the board's; results are."""

_EXAMPLES = """examples:
  tools/virtual-pi check
  tools/virtual-pi make /tmp/pi
  tools/virtual-pi run /tmp/pi --bring pi.facette -- facette-run selftest --bundle pi.facette
  tools/virtual-pi run /tmp/pi -- python3 -c 'import platform; print(platform.machine())'
  tools/virtual-pi clean /tmp/pi

It needs root, and on Debian or Ubuntu: apt-get install qemu-user-static debootstrap
(for --count-instructions also: qemu-user gcc). A program starts in DIR/home/pi, where its files are, too. The kernel's
binfmt_misc is told of qemu, and keeps that."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command: 0 done, 2 an error told in one line; of ``run`` the program's own status."""
    arguments = _parser().parse_args(argv)
    try:
        return _run(arguments)
    except VirtualPiError as error:
        print(f"virtual-pi: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _run(arguments: argparse.Namespace) -> int:
    if arguments.command == "check":
        return _check()
    if arguments.command == "make":
        cache = arguments.cache or userland.default_cache()
        userland.make(arguments.dir, find_board(arguments.board), cache, arguments.include, arguments.mirror, _tell)
        return 0
    if arguments.command == "run":
        userland.board_of(arguments.dir)
        userland.bring(arguments.dir, arguments.bring)
        userland.enter(arguments.dir, arguments.program, arguments.count_instructions, _tell)
    userland.clean(arguments.dir)
    return 0


def _check() -> int:
    found = host.missing()
    reason = None if found else host.register_emulator()
    for line in found:
        print(f"missing: {line}")
    if reason is not None:
        print(f"limited: {reason}; programs run through qemu by name and cannot start others")
    if not found and reason is None:
        print("all there: arm64 programs run here")
    return 1 if found else 0


def _parser() -> argparse.ArgumentParser:
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("tools/virtual-pi", description=_DESCRIPTION, epilog=_EXAMPLES, formatter_class=layout)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("check", help="say what this host lacks to play a Pi; exit status 1 where it can't")
    make = commands.add_parser("make", help="make one, or bring the runtime of one up to date")
    make.add_argument("dir", type=Path, metavar="DIR")
    make.add_argument("--board", default="raspberry-pi-5", choices=sorted(BOARDS), help="default: raspberry-pi-5")
    make.add_argument("--cache", type=Path, metavar="FOLDER", help="default: $FACETTE_CACHE or ~/.cache/facette, virtual-pi inside")
    make.add_argument("--include", action="append", default=[], metavar="PACKAGE", help="one more Debian package; again for more")
    make.add_argument("--mirror", default=debian.MIRROR, metavar="URL", help=f"of Debian (default: {debian.MIRROR})")
    run = commands.add_parser("run", help="run a program inside", usage="%(prog)s DIR [--bring PATH] … -- PROGRAM …")
    run.add_argument("dir", type=Path, metavar="DIR")
    run.add_argument("--bring", action="append", default=[], type=Path, metavar="PATH", help="copy a file or folder in first")
    run.add_argument(
        "--count-instructions", action="store_true", help="write executed instructions to DIR/home/pi/instructions.txt"
    )
    run.add_argument("program", nargs="+", metavar="PROGRAM", help="after --, with its arguments")
    clean = commands.add_parser("clean", help="remove one")
    clean.add_argument("dir", type=Path, metavar="DIR")
    return parser


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
