"""The page: complete, self-contained, and honest about what it was given."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from facette.compile_report import CandidateRow, CompileReport
from facette.report.data import Picture, Recognition, Run, Sighting
from facette.report.elements import table
from facette.report.page import read_runs, write_html
from facette_runtime.errors import FacetteError
from facette_runtime.machine import Machine
from facette_runtime.manifest import Parity
from facette_runtime.meter import MemoryTrend, StageTimes
from facette_runtime.report import REPORT_FORMAT, Climate, ColdStart, Memory, NetworkRun, Report


def make_report() -> Report:
    stages = {name: StageTimes(10, ms, ms, 2 * ms, 3 * ms) for name, ms in (("read", 1.0), ("detect", 2.0), ("frame", 3.0))}
    return Report(
        format=REPORT_FORMAT,
        created="2026-01-02T03:04:05+00:00",
        runtime="0.1.0",
        bundle="door <b>",
        target="x86-cpu",
        source="door.mp4",
        detector=NetworkRun("det", "onnxruntime", "fp32", 1),
        embedder=NetworkRun("emb", "litert", "int8", 1),
        frames=10,
        warmup=2,
        faces=9,
        recognised={"Ann": 7},
        skipped=0,
        fps=250.0,
        pipeline_fps=333.0,
        stages=stages,
        cold_start=ColdStart(200.0, 50.0, 10.0),
        memory=Memory(80.0, 95.0, MemoryTrend(0.5, "steady", "rule")),
        climate=Climate(None, 61.0, ("throttled now",)),
        machine=Machine("Board 5", "aarch64", 4, 8192.0, "Linux", "3.11"),
    )


class _Page(HTMLParser):
    """Collects tags and attributes; every opened element must be closed."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.text = ""
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value for name, value in attrs if name in ("src", "href", "srcset") and value]
        if tag not in ("meta", "img", "br"):
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self._open:
            self.text += data + "\n"

    def close(self) -> None:
        super().close()
        assert self._open == []


def read_page(path: Path) -> _Page:
    page = _Page()
    page.feed(path.read_text(encoding="utf-8"))
    page.close()
    return page


def test_everything_on_one_page(tmp_path: Path) -> None:
    rows = (
        CandidateRow("embedder", "litert", "int8", "max", 2048, 1.5, 1.4, 1.6, 4.0, {"embedding": Parity(0.01, 0.9995)}, "shipped"),
        CandidateRow(
            "embedder", "onnxruntime", "fp32", "stock", 4096, 6.0, 5.9, 6.1, 1.0, None, "4.00× the time of the one shipped"
        ),
        CandidateRow("embedder", "litert", "fp16", "max", None, None, None, None, None, None, "engine is not installed"),
    )
    sightings = (
        Sighting(0, "Ann", "Ann", 0.8),
        Sighting(1, "Bob", None, 0.1),
        Sighting(2, "Bob", "Ann", 0.5),
        Sighting(3, None, None, 0.0),
    )
    write_html(
        [Run("door", make_report())],
        tmp_path / "report.html",
        CompileReport("x86-cpu", 1, rows, 0, 3),
        [Recognition("Everybody enrolled", 10, 0.4, sightings)],
        [Picture("frame 3", np.full((48, 64, 3), 90, np.uint8))],
        demo=True,
    )
    page = read_page(tmp_path / "report.html")

    assert "door <b> on x86-cpu" in page.text  # escaped, or it would be a tag
    for figure in (
        "333",
        "3.0",
        "95",
        "0.26",
        "p50",
        "throttled now",
        "no measure of accuracy",
        "engine is not installed",
        "4.00",
        "no face is there",
    ):
        assert figure in page.text
    assert all(link.startswith(("data:image/jpeg;base64,", "#")) for link in page.links)
    assert "@import" not in (tmp_path / "report.html").read_text()


def test_runs_side_by_side(tmp_path: Path) -> None:
    runs = [
        Run("pi5", make_report()),
        Run("x86", replace(make_report(), pipeline_fps=99.5, memory=Memory(None, None, MemoryTrend(None, "too short to say", "")))),
    ]
    write_html(runs, tmp_path / "report.html")
    page = read_page(tmp_path / "report.html")

    assert "2 runs compared" in page.text
    for words in ("pi5", "x86", "333.0", "99.5", "–", "x86: Memory trend over 10 frames: too short to say."):
        assert words in page.text
    assert "What the compiler tried" not in page.text


def test_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.html", "b.html"):
        write_html([Run("door", make_report())], tmp_path / name)

    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_read_runs(tmp_path: Path) -> None:
    (tmp_path / "pi5.json").write_text(make_report().to_json())

    assert read_runs([tmp_path / "pi5.json"]) == [Run("pi5", make_report())]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (None, "cannot be read"),
        ("{", "not JSON"),
        ("[]", "not a benchmark report"),
        ('{"format": 99}', "not a benchmark report of format"),
    ],
)
def test_read_runs__bad_file_is_one_line(tmp_path: Path, content: str | None, line: str) -> None:
    path = tmp_path / "run.json"
    if content is not None:
        path.write_text(content)

    with pytest.raises(FacetteError, match=line):
        read_runs([path])
    with pytest.raises(FacetteError, match="no run given"):
        read_runs([])


def test_table__numbers_are_aligned_right_and_text_is_escaped() -> None:
    html = table(["name", "ms"], [["<a>", "1.5"], ["b", "–"]], [True, False])

    assert '<td class="n">1.5</td>' in html
    assert "<td>&lt;a&gt;</td>" in html
    assert html.count('<tr class="marked">') == 1
