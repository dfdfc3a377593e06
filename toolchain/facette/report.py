"""One page that stands alone: what the device runtime measured, whom it recognised, and what the compiler tried."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2

from facette.compile_report import CandidateRow, CompileReport
from facette.report_figures import candidates_figure, memory_figure, similarity_figure, stage_figure, start_figure
from facette_runtime import __version__
from facette_runtime.errors import FacetteError
from facette_runtime.files import write_atomically
from facette_runtime.report import REPORT_FORMAT, NetworkRun, Report
from facette_runtime.schema import from_dict
from facette_runtime.types import Image

_CSS = Path(__file__).with_name("report.css")


@dataclass(frozen=True, slots=True)
class Run:
    """One benchmark and what to call it."""

    label: str
    report: Report


@dataclass(frozen=True, slots=True)
class Sighting:
    """One face in one frame.

    Attributes:
        frame: its number.
        truth: who it really is; None where that isn't known.
        name: what the gallery said; None for unknown.
        similarity: cosine of the gallery's best template.
    """

    frame: int
    truth: str | None
    name: str | None
    similarity: float


@dataclass(frozen=True, slots=True)
class Recognition:
    """Who was seen in one pass over a source.

    Attributes:
        title: what was special about the pass.
        frames: of the source.
        threshold: cosine of a match.
        sightings: every face.
    """

    title: str
    frames: int
    threshold: float
    sightings: tuple[Sighting, ...]


@dataclass(frozen=True, slots=True)
class Picture:
    """A marked frame: uint8 [h, w, 3], BGR."""

    caption: str
    image_bgr: Image


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
    pairs = [(run.label, run.report) for run in runs]
    first = runs[0].report
    title = f"{first.bundle} on {first.target}" if len(runs) == 1 else f"{len(runs)} runs compared"
    parts = [
        _header(title, runs),
        _pictures(pictures[:1]),
        *(_recognition(recognitions, demo) if recognitions else _names(runs)),
        _pictures(pictures[1:]),
        "<h2>Where the time goes</h2>",
        _grid([_card(stage_figure(pairs), "Time by stage"), _stage_table(runs)]),
        '<p class="note">“read” fetches the frame from the source; “frame” is the whole pipeline, the sum of the stages above it.</p>',
        "<h2>Memory and cold start</h2>",
        _grid([_card(figure, name) for name, figure in (("Resident memory", memory_figure(pairs)), ("Cold start", start_figure(pairs))) if figure]),
        _memory_words(runs),
        *(_candidates(compiled) if compiled else []),
        "<h2>What ran, and where</h2>",
        _card(_facts(runs)),
        f"<footer>Written by facette {html.escape(__version__)}. Percentiles are of single frames after warm-up, linearly interpolated.</footer>",
    ]
    page = (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{html.escape(title)}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>\n{_CSS.read_text(encoding='utf-8')}</style>\n</head>\n<body>\n<main>\n" + "\n".join(parts) + "\n</main>\n</body>\n</html>\n"
    )
    write_atomically(output, page.encode())


def _header(title: str, runs: Sequence[Run]) -> str:
    first = runs[0].report
    where = f"{first.machine.model or first.machine.architecture}, {_threads(first.detector)}" if len(runs) == 1 else ", ".join(r.label for r in runs)
    heading = f"<header><h1>{html.escape(title)}</h1><p>{html.escape(where)} · {html.escape(first.created[:16].replace('T', ' '))} UTC</p></header>"
    if len(runs) > 1:
        return heading + _card(_comparison(runs))
    frame, cold = first.stages["frame"], first.cold_start
    tiles = [
        (f"{first.pipeline_fps:.0f}", "FPS", f"pipeline; {first.fps:.0f} with reading the source"),
        (f"{frame.p50:.1f}", "ms", f"a frame, p50; p95 {frame.p95:.1f}, p99 {frame.p99:.1f}"),
    ]
    if first.memory.peak_mb is not None:
        tiles.append((f"{first.memory.peak_mb:.0f}", "MB", "peak resident memory"))
    start = (cold.start_ms or 0.0) + cold.load_ms + cold.first_frame_ms
    tiles.append((f"{start / 1000:.2f}", "s", "from start to the first recognised frame" if cold.start_ms else "load and first frame"))
    return heading + '<div class="tiles">' + "".join(
        f'<div class="tile"><b>{value} <small>{unit}</small></b><span>{html.escape(what)}</span></div>' for value, unit, what in tiles
    ) + "</div>"


def _comparison(runs: Sequence[Run]) -> str:
    headers = ["run", "FPS", "frame p50 ms", "p95", "p99", "peak RSS MB", "load ms", "threads"]
    rows = []
    for run in runs:
        frame, memory = run.report.stages["frame"], run.report.memory
        figures = [run.report.pipeline_fps, frame.p50, frame.p95, frame.p99, memory.peak_mb, run.report.cold_start.load_ms]
        cells = ["–" if value is None else f"{value:.{digits}f}" for value, digits in zip(figures, (1, 2, 2, 2, 0, 0), strict=True)]
        rows.append([run.label, *cells, str(run.report.detector.threads)])
    return _table(headers, rows)


def _recognition(recognitions: Sequence[Recognition], demo: bool) -> list[str]:
    cards = []
    for recognition in recognitions:
        people = sorted({s.truth for s in recognition.sightings if s.truth is not None})
        rows, series = [], []
        for person in people:
            own = [s for s in recognition.sightings if s.truth == person]
            right, unknown = sum(s.name == person for s in own), sum(s.name is None for s in own)
            rows.append([person, str(len(own)), str(right), str(unknown), str(len(own) - right - unknown)])
            series.append((person, [s.frame for s in own], [s.similarity for s in own]))
        table = _table(["face of", "seen", "named rightly", "unknown", "named wrongly"], rows)
        figure = similarity_figure(series, recognition.frames, recognition.threshold) if series else ""
        cards.append(_card(figure + table, recognition.title[:1].upper() + recognition.title[1:]))
    words = (
        "People are enrolled from the very photos that the virtual camera films, so this shows the machinery at work"
        " and is no measure of accuracy. As a control one person is left out of the gallery and must come out as unknown."
    )
    return ["<h2>Who was recognised</h2>", _grid(cards), f'<p class="note">{words}</p>' if demo else ""]


def _names(runs: Sequence[Run]) -> list[str]:
    rows = [[run.label, name, str(count)] for run in runs for name, count in run.report.recognised.items()]
    return ["<h2>Who was recognised</h2>", _card(_table(["run", "person", "faces"], rows))] if rows else []


def _pictures(pictures: Sequence[Picture]) -> str:
    figures = []
    for picture in pictures:
        encoded, data = cv2.imencode(".jpg", picture.image_bgr, [cv2.IMWRITE_JPEG_QUALITY, 88])
        assert encoded
        source = "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()
        caption = html.escape(picture.caption)
        figures.append(f'<figure class="card"><img src="{source}" alt="{caption}, faces marked"><figcaption>{caption}</figcaption></figure>')
    return _grid(figures, "margin-top:.75rem") if figures else ""


def _stage_table(runs: Sequence[Run]) -> str:
    several = len(runs) > 1
    rows = [
        [*([run.label] if several else []), stage, *(f"{value:.2f}" for value in (times.mean, times.p50, times.p95, times.p99))]
        for run in runs
        for stage, times in run.report.stages.items()
    ]
    return _card(_table([*(["run"] if several else []), "stage, ms", "mean", "p50", "p95", "p99"], rows))


def _memory_words(runs: Sequence[Run]) -> str:
    lines = []
    for run in runs:
        trend, climate = run.report.memory.trend, run.report.climate
        slope = "" if trend.slope_mb_per_1000_frames is None else f", {trend.slope_mb_per_1000_frames:+.2f} MB per 1000 frames"
        heat = "" if climate.end_c is None else f" Temperature {climate.end_c:.0f} °C at the end."
        throttled = "" if not climate.throttling else f" Throttling: {', '.join(climate.throttling)}."
        name = f"{run.label}: " if len(runs) > 1 else ""
        lines.append(f"{name}Memory is {trend.verdict}{slope} (over {run.report.frames} frames).{heat}{throttled}")
    return "".join(f'<p class="note">{html.escape(line)}</p>' for line in lines)


def _candidates(compiled: CompileReport) -> list[str]:
    roles = list(dict.fromkeys(row.role for row in compiled.rows))
    figures = []
    for role in roles:
        figure = candidates_figure([row for row in compiled.rows if row.role == role])
        if figure:
            figures.append(_card(figure, role.capitalize()))
    threads = f"{compiled.threads} thread{'s' if compiled.threads > 1 else ''}"
    headers = ["network", "candidate", "KB", "ms", "× stock", "cosine", "verdict"]
    table = _table(headers, [_candidate(row) for row in compiled.rows], [row.verdict == "shipped" for row in compiled.rows])
    return [
        "<h2>What the compiler tried</h2>",
        f'<p class="note">Every candidate of a network in turn in one run, {threads}, batch 1; medians. “× stock”: times faster than the same'
        " network exported without changes, fp32, on ONNX Runtime. “cosine”: smallest agreement with torch on real pictures.</p>",
        _grid(figures),
        _card(table),
    ]


def _candidate(row: CandidateRow) -> list[str]:
    cosine = min((parity.cosine for parity in row.parity.values()), default=None) if row.parity else None
    return [
        row.role,
        f"{row.engine} {row.precision} {row.form}",
        "" if row.bytes is None else f"{row.bytes / 1024:.0f}",
        "" if row.latency_ms is None else f"{row.latency_ms:.2f}",
        "" if row.speedup is None else f"{row.speedup:.2f}",
        "" if cosine is None else f"{cosine:.6f}",
        row.verdict,
    ]


def _facts(runs: Sequence[Run]) -> str:
    rows = []
    for run in runs:
        report, machine = run.report, run.report.machine
        memory = "" if machine.memory_mb is None else f", {machine.memory_mb / 1024:.1f} GB memory"
        rows += [
            [run.label, "machine", f"{machine.model or 'unknown CPU'}, {machine.architecture}, {machine.cores} cores{memory}"],
            ["", "system", f"{machine.system}, Python {machine.python}, facette-runtime {report.runtime}"],
            ["", "detector", _network(report.detector)],
            ["", "embedder", _network(report.embedder)],
            ["", "source", f"{report.source}: {report.frames} frames after {report.warmup} to warm up, {report.faces} faces, {report.skipped} skipped"],
        ]
    return _table(["run", "", ""], rows)


def _network(run: NetworkRun) -> str:
    return f"{run.name}, {run.engine} {run.precision}, {_threads(run)}"


def _threads(run: NetworkRun) -> str:
    return f"{run.threads} thread{'s' if run.threads > 1 else ''}"


def _grid(cards: Sequence[str], style: str = "") -> str:
    return f'<div class="grid"{f" style={chr(34)}{style}{chr(34)}" if style else ""}>{"".join(cards)}</div>' if cards else ""


def _card(content: str, title: str = "") -> str:
    heading = f"<h3>{html.escape(title)}</h3>" if title else ""
    return f'<div class="card">{heading}{content}</div>'


def _table(headers: Sequence[str], rows: Sequence[Sequence[str]], marked: Sequence[bool] = ()) -> str:
    numeric = [bool(rows) and all(_is_number(row[column]) for row in rows if row[column]) for column in range(len(headers))]
    kinds = [' class="n"' if number and any(row[column] for row in rows) else "" for column, number in enumerate(numeric)]
    head = "".join(f"<th{kind}>{html.escape(text)}</th>" for text, kind in zip(headers, kinds, strict=True))
    body = []
    for place, row in enumerate(rows):
        cells = "".join(f"<td{kind}>{html.escape(text)}</td>" for text, kind in zip(row, kinds, strict=True))
        body.append(f"<tr{' class=' + chr(34) + 'shipped' + chr(34) if marked and marked[place] else ''}>{cells}</tr>")
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(body)}</tbody></table></div>'


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return text == "–"
    return True
