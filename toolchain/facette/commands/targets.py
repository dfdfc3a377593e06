"""``facette targets``: the devices that can be compiled for."""

from __future__ import annotations

import argparse

from facette.commands.common import Commands, new_command, write_json


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Describes the command."""
    examples = "  facette targets\n  facette targets --json -"
    command = new_command(commands, "targets", "list the devices that can be compiled for", examples, run)
    command.add_argument("--json", metavar="FILE", help="write them as JSON; - for standard output")


def run(arguments: argparse.Namespace) -> None:
    """Does it."""
    from facette.tables import table
    from facette.target import load_target, target_names

    targets = [load_target(name) for name in target_names()]
    if arguments.json:
        write_json(arguments.json, targets)
        return
    rows = [
        [
            target.name,
            target.architecture,
            ", ".join(f"{engine.name} ({'/'.join(engine.precisions)})" for engine in target.engines),
            target.description,
        ]
        for target in targets
    ]
    print(table(["target", "architecture", "engines", "description"], rows))
