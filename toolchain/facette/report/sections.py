"""The report's sections, each from data to HTML."""

from __future__ import annotations

from collections.abc import Sequence

from facette.compile_report import GATE_HEADERS, CandidateRow, CompileReport, gate_cells
from facette.report.data import Picture, Recognition, Run
from facette.report.elements import card, grid, heading, note, picture_card, section, table, tiles
from facette.report.figures import (
    candidates_figure,
    memory_figure,
    pareto_figure,
    similarity_figure,
    stage_figure,
    start_figure,
)
from facette_runtime.report import NetworkRun

_DEMO = (
    "People are enrolled from the very photos that the virtual camera films, so this shows the machinery at work and is no measure"
    " of accuracy. As a control one person is left out of the gallery and must come out as unknown."
)
_COLUMNS = (
    "All candidates of a network take turns in one run, batch 1, medians. “× stock”: times faster than the same network exported"
    " without changes, fp32, on ONNX Runtime. “cosine”: smallest agreement with the uncompiled network on real pictures. “over all"
    " pairs”: accuracy and TAR of every pair that the photos of LFW's folds 1 to 5 make, by which a loss is judged."
)


def summary(title: str, runs: Sequence[Run]) -> str:
    """The page's head: the figures that matter most, or a table of them for several runs."""
    first = runs[0].report
    when = f"{first.created[:16].replace('T', ' ')} UTC"
    if len(runs) > 1:
        return heading(title, when) + card(_comparison(runs))
    machine = first.machine.model or first.machine.architecture
    frame, cold, memory = first.stages["frame"], first.cold_start, first.memory
    start_s = ((cold.start_ms or 0.0) + cold.load_ms + cold.first_frame_ms) / 1000
    figures = [
        (f"{first.pipeline_fps:.0f}", "FPS", f"pipeline alone; {first.fps:.0f} with reading the source"),
        (f"{frame.p50:.1f}", "ms", f"a frame, p50; p95 {frame.p95:.1f}, p99 {frame.p99:.1f}"),
        ("–" if memory.peak_mb is None else f"{memory.peak_mb:.0f}", "MB", "peak resident memory"),
        (
            f"{start_s:.2f}",
            "s",
            "from start to first frame recognised" if cold.start_ms else "to load and recognise the first frame",
        ),
    ]
    return heading(title, f"{machine}, {_threads(first.detector)} · {when}") + tiles(figures)


def _comparison(runs: Sequence[Run]) -> str:
    headers = ["run", "FPS", "frame p50 ms", "p95", "p99", "peak RSS MB", "load ms", "threads"]
    rows = []
    for run in runs:
        frame, memory = run.report.stages["frame"], run.report.memory
        figures = [run.report.pipeline_fps, frame.p50, frame.p95, frame.p99, memory.peak_mb, run.report.cold_start.load_ms]
        cells = ["–" if value is None else f"{value:.{digits}f}" for value, digits in zip(figures, (1, 2, 2, 2, 0, 0), strict=True)]
        rows.append([run.label, *cells, str(run.report.detector.threads)])
    return table(headers, rows)


def recognised(recognitions: Sequence[Recognition], demo: bool) -> list[str]:
    """Similarity over the frames and a table, by pass."""
    cards = []
    for recognition in recognitions:
        rows, series = [], []
        for person in sorted({sighting.truth for sighting in recognition.sightings if sighting.truth is not None}):
            own = [sighting for sighting in recognition.sightings if sighting.truth == person]
            right, unknown = sum(s.name == person for s in own), sum(s.name is None for s in own)
            rows.append([person, str(len(own)), str(right), str(unknown), str(len(own) - right - unknown)])
            series.append((person, [s.frame for s in own], [s.similarity for s in own]))
        alarms = [sighting for sighting in recognition.sightings if sighting.truth is None]
        if alarms:
            unknown = sum(alarm.name is None for alarm in alarms)
            rows.append(["no face is there", str(len(alarms)), "–", str(unknown), str(len(alarms) - unknown)])
        figure = similarity_figure(series, recognition.frames, recognition.threshold) if series else ""
        cards.append(card(figure + table(["face of", "found", "right", "unknown", "wrong"], rows), recognition.title))
    return [section("Who was recognised"), grid(cards), note(_DEMO) if demo else ""]


def names(runs: Sequence[Run]) -> list[str]:
    """Recognised faces by person; nothing where nobody was."""
    rows = [[run.label, name, str(count)] for run in runs for name, count in run.report.recognised.items()]
    return [section("Who was recognised"), card(table(["run", "person", "faces"], rows))] if rows else []


def pictures(chosen: Sequence[Picture], small: bool = False) -> str:
    """Marked frames."""
    return grid([picture_card(picture.image_bgr, picture.caption) for picture in chosen], small)


def times(runs: Sequence[Run]) -> list[str]:
    """Where the time goes."""
    pairs = [(run.label, run.report) for run in runs]
    several = len(runs) > 1
    rows = [
        [*([run.label] if several else []), stage, *(f"{value:.2f}" for value in (spent.mean, spent.p50, spent.p95, spent.p99))]
        for run in runs
        for stage, spent in run.report.stages.items()
    ]
    headers = [*(["run"] if several else []), "stage, ms", "mean", "p50", "p95", "p99"]
    return [
        section("Where the time goes"),
        grid([card(stage_figure(pairs), "Time by stage"), card(table(headers, rows))]),
        note("“read” fetches the frame from the source; “frame” is the whole pipeline, from letterbox to match."),
    ]


def memory_and_start(runs: Sequence[Run]) -> list[str]:
    """Resident memory, cold start, temperature."""
    pairs = [(run.label, run.report) for run in runs]
    figures = (("Resident memory", memory_figure(pairs)), ("Cold start", start_figure(pairs)))
    notes = []
    for run in runs:
        trend, climate = run.report.memory.trend, run.report.climate
        slope = "" if trend.slope_mb_per_1000_frames is None else f", {trend.slope_mb_per_1000_frames:+.2f} MB per 1000 frames"
        heat = "" if climate.end_c is None else f" Temperature {climate.end_c:.0f} °C at the end."
        throttled = f" Throttling: {', '.join(climate.throttling)}." if climate.throttling else ""
        name = f"{run.label}: " if len(runs) > 1 else ""
        notes.append(note(f"{name}Memory trend over {run.report.frames} frames: {trend.verdict}{slope}.{heat}{throttled}"))
    return [section("Memory and cold start"), grid([card(figure, title) for title, figure in figures if figure]), *notes]


def candidates(compiled: CompileReport) -> list[str]:
    """What the compiler tried and why it chose."""
    figures = []
    for role in dict.fromkeys(row.role for row in compiled.rows):
        figure = candidates_figure([row for row in compiled.rows if row.role == role])
        if figure:
            figures.append(card(figure, role.capitalize()))
    front = pareto_figure(compiled.rows)
    if front:
        figures.append(card(front, "Accuracy against latency"))
    headers = ["network", "candidate", "KB", "ms", "× stock", "cosine", *GATE_HEADERS, "verdict"]
    rows, shipped = [_candidate(row) for row in compiled.rows], [row.verdict == "shipped" for row in compiled.rows]
    threads = f"{compiled.threads} thread{'s' if compiled.threads > 1 else ''}. "
    return [
        section("What the compiler tried"),
        note(threads + _COLUMNS),
        *_passes(compiled),
        grid(figures),
        card(table(headers, rows, shipped)),
    ]


def _passes(compiled: CompileReport) -> list[str]:
    if not compiled.passes:
        return []
    headers = ["network", "pass", "settings", "M MACs", "K parameters", "ms, fp32", *GATE_HEADERS, "verdict"]
    rows = [
        [
            row.role,
            row.name,
            row.settings,
            "" if row.macs is None else f"{row.macs / 1e6:.1f}",
            "" if row.parameters is None else f"{row.parameters / 1e3:.0f}",
            "" if row.latency_ms is None else f"{row.latency_ms:.2f}",
            *gate_cells(row),
            row.verdict,
        ]
        for row in compiled.passes
    ]
    return [card(table(headers, rows), "What each pass did")]


def _candidate(row: CandidateRow) -> list[str]:
    cosine = min((parity.cosine for parity in row.parity.values()), default=None) if row.parity else None
    return [
        row.role,
        f"{row.engine} {row.precision} {row.form}" + (f", {row.ranges}" if row.ranges else ""),
        "" if row.bytes is None else f"{row.bytes / 1024:.0f}",
        "" if row.latency_ms is None else f"{row.latency_ms:.2f}",
        "" if row.speedup is None else f"{row.speedup:.2f}",
        "" if cosine is None else f"{cosine:.6f}",
        *gate_cells(row),
        row.verdict,
    ]


def facts(runs: Sequence[Run]) -> list[str]:
    """Machine, versions, networks, source."""
    rows = []
    for run in runs:
        report, machine = run.report, run.report.machine
        memory = "" if machine.memory_mb is None else f", {machine.memory_mb / 1024:.1f} GB memory"
        source = f"{report.source}: {report.frames} frames after {report.warmup} to warm up, {report.faces} faces"
        rows += [
            [run.label, "machine", f"{machine.name}, {machine.architecture}, {machine.cores} cores{memory}"],
            ["", "system", f"{machine.system}, Python {machine.python}, facette-runtime {report.runtime}"],
            ["", "detector", _network(report.detector)],
            ["", "embedder", _network(report.embedder)],
            ["", "source", f"{source}, {report.skipped} pictures skipped"],
        ]
    return [section("What ran, and where"), card(table(["run", "", ""], rows))]


def _network(run: NetworkRun) -> str:
    return f"{run.name}, {run.engine} {run.precision}, {_threads(run)}"


def _threads(run: NetworkRun) -> str:
    return f"{run.threads} thread{'s' if run.threads > 1 else ''}"
