"""``facette demo``: the whole way, on this machine, without any data."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from facette.commands.common import Commands, folder_option, new_command, steps

_EXAMPLES = """  facette demo
  facette demo --output out/ --recipe retinaface-mobilefacenet --weights weights/
  facette demo --bundle my.facette"""


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Describes the command."""
    command = new_command(commands, "demo", "compile for this machine and run a virtual camera over two portraits", _EXAMPLES, run)
    command.add_argument("--output", "-o", type=Path, default=Path("out"), metavar="FOLDER", help="default: out")
    command.add_argument("--bundle", type=Path, metavar="FILE", help="run this one; by default one is compiled")
    command.add_argument("--target", default="x86-cpu", help="to compile for (default: x86-cpu)")
    command.add_argument("--recipe", default="default", help="to compile (default: Facette's own networks)")
    command.add_argument("--weights", type=Path, metavar="FOLDER", help="where the recipe's weights lie (or FACETTE_WEIGHTS)")
    command.add_argument("--frames", type=int, default=300, metavar="N", help="length of the film (default: 300)")


def run(arguments: argparse.Namespace) -> None:
    """Does it."""
    from facette.demo.run import describe, run_demo

    with steps() as tell:
        bundle = arguments.bundle or _compile(arguments, tell)
        result = run_demo(arguments.output, bundle, arguments.frames, tell)
    print(describe(result))


def _compile(arguments: argparse.Namespace, tell: Callable[[str], None]) -> Path:
    from facette.cache import Cache, default_folder
    from facette.compile import Job, compile_bundle
    from facette.data.photos import golden_licence, golden_photos
    from facette.recipe import load_recipe
    from facette.target import load_target

    output: Path = arguments.output / f"{Path(arguments.recipe).stem}-{Path(arguments.target).stem}.facette"
    job = Job(
        recipe=load_recipe(arguments.recipe),
        target=load_target(arguments.target),
        output=output,
        photos=golden_photos(None),
        photos_licence=golden_licence(None),
        cache=Cache(default_folder()),
        weights_folder=folder_option(arguments.weights, "FACETTE_WEIGHTS"),
        tell=tell,
    )
    compile_bundle(job)
    return output
