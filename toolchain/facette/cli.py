"""The workstation's command line. Each command is a module of `facette.commands`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from facette import __version__
from facette.commands import bench, calibrate, demo, deploy, evaluate, import_, inspect, report, sensitivity, targets, train
from facette.commands import compile as compile_command
from facette_runtime.errors import FacetteError

_EXAMPLES = """examples:
  facette targets
  facette compile --target x86-cpu
  facette compile --target raspberry-pi-5 --precision int8
  facette inspect default-x86-cpu.facette
  facette evaluate default-x86-cpu.facette --lfw data/
  facette deploy door.facette pi@raspberrypi.local --bench
  facette demo --output out/

Each command has its own --help with examples. On the device: facette-run --help."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Returns:
        0; 2 for bad input, with one line on standard error; 130 when interrupted.
    """
    arguments = _parser().parse_args(argv)
    try:
        arguments.run(arguments)
        sys.stdout.flush()
    except FacetteError as error:
        print(f"facette: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # whoever read our output has gone; Python must not complain about it while it exits
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="facette",
        description="Compiles face recognition for a named device and proves that it still recognises people.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"facette {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in (
        *(compile_command, inspect, evaluate, deploy, bench, report, targets),
        *(demo, import_, train, calibrate, sensitivity),
    ):
        command.add(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
