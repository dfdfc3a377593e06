"""One page that stands alone: what the device runtime measured, whom it recognised, and what the compiler tried."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from facette.compile_report import CompileReport
from facette.report import sections
from facette.report.data import Picture, Recognition, Run
from facette.report.elements import page
from facette_runtime.errors import FacetteError
from facette_runtime.files import write_atomically
from facette_runtime.report import REPORT_FORMAT, Report
from facette_runtime.schema import from_dict


def read_runs(paths: Sequence[Path]) -> list[Run]:
    """Reads what ``facette-run bench --json`` wrote; a run is called after its file.

    Raises:
        FacetteError: a file is missing, not such a report, or of another format.
    """
    if not paths:
        raise FacetteError("no run given; make one with: facette-run bench --bundle B --source S --json run.json")
    runs = []
    for path in paths:
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise FacetteError(f"{path} cannot be read: {error.strerror}") from None
        except ValueError:
            raise FacetteError(f"{path}: not JSON; expected what facette-run bench --json writes") from None
        if not isinstance(data, dict) or data.get("format") != REPORT_FORMAT:
            raise FacetteError(f"{path}: not a benchmark report of format {REPORT_FORMAT}, as facette-run bench --json writes it")
        runs.append(Run(path.stem, from_dict(Report, data, str(path))))
    return runs


def write_html(
    runs: Sequence[Run],
    output: Path,
    compiled: CompileReport | None = None,
    recognitions: Sequence[Recognition] = (),
    pictures: Sequence[Picture] = (),
    demo: bool = False,
) -> None:
    """Writes the page; it needs no other file and no network.

    Args:
        runs: at least one; several are compared side by side.
        output: the .html file.
        compiled: what the compiler tried for this bundle.
        recognitions: who was seen, by pass.
        pictures: marked frames, the best one first.
        demo: whether people were enrolled from the photos that were filmed, which the page then says.

    Raises:
        FacetteError: the file can't be written.
    """
    first = runs[0].report
    title = f"{first.bundle} on {first.target}" if len(runs) == 1 else f"{len(runs)} runs compared"
    parts = [
        sections.summary(title, runs),
        sections.pictures(pictures[:1]),
        *(sections.recognised(recognitions, demo) if recognitions else sections.names(runs)),
        sections.pictures(pictures[1:], small=True),
        *sections.times(runs),
        *sections.memory_and_start(runs),
        *(sections.candidates(compiled) if compiled else []),
        *sections.facts(runs),
    ]
    write_atomically(output, page(title, parts).encode())
