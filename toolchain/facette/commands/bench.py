"""``facette bench``: how fast a bundle is, here or on a device."""

from __future__ import annotations

import argparse
from pathlib import Path

from facette.commands.common import Commands, new_command, steps
from facette.commands.over_ssh import add_bench_options, add_device_options, bench_request, bring, open_session
from facette_runtime.errors import FacetteError
from facette_runtime.files import write_atomically
from facette_runtime.report import Report

_EXAMPLES = """  facette bench door.facette
  facette bench door.facette --on pi@raspberrypi.local --json pi.json     what the device runs stays what it is
  facette bench --on pi@raspberrypi.local --source /dev/video0            what is deployed there"""


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Describes the command."""
    command = new_command(commands, "bench", "measure a bundle with the device runtime, here or on a device", _EXAMPLES, run)
    command.add_argument("bundle", type=Path, nargs="?", help="made by facette compile; without it, what --on has deployed")
    command.add_argument("--on", metavar="DEVICE", help="user@host[:port]; default: this machine")
    command.add_argument("--json", metavar="FILE", help="write the report; - for standard output")
    add_bench_options(command)
    add_device_options(command)


def run(arguments: argparse.Namespace) -> None:
    """Does it."""
    from facette_runtime.report import to_table

    report = _measure(arguments)
    if arguments.json == "-":
        print(report.to_json(), end="")
        return
    print(to_table(report))
    if arguments.json:
        write_atomically(arguments.json, report.to_json().encode())


def _measure(arguments: argparse.Namespace) -> Report:
    from facette.deploy.bench import bench_here, bench_there
    from facette.deploy.preflight import refuse

    request = bench_request(arguments)
    if arguments.on is None:
        if arguments.bundle is None:
            raise FacetteError("bench: name a bundle, or a device with --on")
        with steps() as tell:
            tell(f"measuring {request.frames} frames here")
            return bench_here(arguments.bundle, request)
    with open_session(arguments, arguments.on) as session:
        release = None
        if arguments.bundle is not None:
            plan, staged = bring(arguments, session)
            refuse(arguments.on, plan.checks)
            release = staged.release if staged else None
        with steps() as session.tell:
            return bench_there(session, release, request)
