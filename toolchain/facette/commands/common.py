"""What several commands say alike."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from facette_runtime.errors import FacetteError
from facette_runtime.files import write_atomically
from facette_runtime.schema import to_dict

Commands = argparse._SubParsersAction  # what add_subparsers gives; argparse has no public name for it


def new_command(
    commands: Commands[argparse.ArgumentParser], name: str, summary: str, examples: str, run: Callable[[argparse.Namespace], None]
) -> argparse.ArgumentParser:
    """A sub-command with its examples under ``--help``."""
    command = commands.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog="examples:\n" + examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(run=run)
    return command


def folder_option(value: Path | None, variable: str) -> Path | None:
    """A folder from an option or, where that isn't given, from an environment variable.

    Raises:
        FacetteError: it isn't a folder.
    """
    named = value or (Path(os.environ[variable]) if os.environ.get(variable) else None)
    if named is not None and not named.is_dir():
        raise FacetteError(f"{named}: {'is a file, not a folder' if named.exists() else 'no such folder'}")
    return named


def write_json(where: str, value: object) -> None:
    """Writes a dataclass tree as JSON to a file, or to standard output for ``-``."""
    text = json.dumps(to_dict(value), indent=1) + "\n"
    if where == "-":
        sys.stdout.write(text)
    else:
        write_atomically(where, text.encode())


@contextmanager
def steps() -> Iterator[Callable[[str], None]]:
    """Shows what a long command is doing, and for how long: one changing line on a terminal, a line each elsewhere."""
    if not sys.stderr.isatty():
        yield lambda line: print(line, file=sys.stderr)
        return
    with tqdm(bar_format="{elapsed}  {desc}", leave=False) as bar:
        yield bar.set_description_str
