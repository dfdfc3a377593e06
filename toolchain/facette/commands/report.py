"""``facette report``: runs as one page with plots."""

from __future__ import annotations

import argparse
from pathlib import Path

from facette.commands.common import Commands, new_command
from facette_runtime.bundle import Bundle


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Describes the command."""
    examples = "  facette report run.json --output report.html\n  facette report pi5.json x86.json --bundle door.facette"
    command = new_command(commands, "report", "draw benchmark runs as one HTML page", examples, run)
    command.add_argument("runs", nargs="+", type=Path, metavar="RUN.json", help="written by facette-run bench --json")
    command.add_argument("--bundle", type=Path, metavar="FILE", help="adds what the compiler measured")
    command.add_argument("--output", "-o", type=Path, default=Path("report.html"), metavar="FILE", help="default: report.html")


def run(arguments: argparse.Namespace) -> None:
    """Does it."""
    from facette.compile_report import read_compile_report
    from facette.report.page import read_runs, write_html

    compiled = read_compile_report(Bundle.open(arguments.bundle, check_target=False)) if arguments.bundle else None
    write_html(read_runs(arguments.runs), arguments.output, compiled)
    print(arguments.output)
