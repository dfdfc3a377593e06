"""What the benchmarks' command lines have in common."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from facette.commands.common import folder_option, write_json
from facette_runtime.errors import FacetteError

T = TypeVar("T")


def new_parser(description: str | None) -> argparse.ArgumentParser:
    """A parser that shows a module's docstring as its help and knows ``--json``."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", metavar="FILE", help="write the result; - for standard output")
    return parser


def run_benchmark(
    parser: argparse.ArgumentParser, measure: Callable[[argparse.Namespace], T], print_result: Callable[[T], None]
) -> int:
    """Parses the command line, measures, and tells the result.

    Returns:
        0; 2 for bad input, with one line on standard error.
    """
    arguments = parser.parse_args()
    try:
        result = measure(arguments)
        if arguments.json:
            write_json(arguments.json, result)
    except FacetteError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if arguments.json != "-":
        print_result(result)
    return 0


def add_data_and_weights(parser: argparse.ArgumentParser, data: str, weights: str) -> None:
    """The options that `data_and_weights` reads; ``data`` and ``weights`` say what the folders hold."""
    parser.add_argument("--data", type=Path, metavar="FOLDER", help=f"holds {data} (or FACETTE_DATA)")
    parser.add_argument("--weights", type=Path, metavar="FOLDER", help=f"holds {weights} (or FACETTE_WEIGHTS)")


def data_and_weights(arguments: argparse.Namespace) -> tuple[Path, Path]:
    """The folders of ``--data`` and ``--weights``, or of FACETTE_DATA and FACETTE_WEIGHTS.

    Raises:
        FacetteError: one of them is missing.
    """
    data, weights = folder_option(arguments.data, "FACETTE_DATA"), folder_option(arguments.weights, "FACETTE_WEIGHTS")
    if data is None or weights is None:
        raise FacetteError("--data and --weights: both folders are needed (or FACETTE_DATA and FACETTE_WEIGHTS)")
    return data, weights
