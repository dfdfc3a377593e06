"""``facette evaluate``: does the bundle still recognise people?"""

from __future__ import annotations

import argparse
from pathlib import Path

from facette.commands.common import Commands, folder_option, new_command, write_json
from facette_runtime.errors import FacetteError

_EXAMPLES = """  facette evaluate default-x86-cpu.facette --lfw data/
  facette evaluate my.facette --lfw data/ --protocol raw --json lfw.json"""


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Describes the command."""
    command = new_command(commands, "evaluate", "measure a bundle's verification accuracy on LFW, view 2", _EXAMPLES, run)
    command.add_argument("bundle", type=Path)
    command.add_argument("--lfw", type=Path, metavar="FOLDER", help="with lfw-pairs.txt and the photos (or FACETTE_DATA)")
    command.add_argument("--protocol", action="append", choices=["aligned", "raw"], help="default: both")
    command.add_argument("--json", metavar="FILE", help="write the result; - for standard output")


def run(arguments: argparse.Namespace) -> None:
    """Does it."""
    from facette.evaluation.evaluate import evaluate, to_table

    data = folder_option(arguments.lfw, "FACETTE_DATA")
    if data is None:
        raise FacetteError("--lfw: missing; name the folder with lfw-pairs.txt and the photos, or set FACETTE_DATA")
    evaluation = evaluate(arguments.bundle, data, protocols=tuple(arguments.protocol or ("aligned", "raw")))
    if arguments.json:
        write_json(arguments.json, evaluation)
    if arguments.json != "-":
        print(to_table(evaluation))
