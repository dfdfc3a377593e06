"""The demo: two people, a moving virtual camera, and the device runtime in a process of its own.

It shows the machinery, and is no accuracy test: people are enrolled from the very photos that the camera films.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from facette.compile_report import read_compile_report
from facette.data.photos import Portrait, portraits
from facette.demo.outcome import Outcome, false_alarms, outcome_of, read_recognition, stills
from facette.demo.virtual_camera import Shot, build_scene, film
from facette.report.data import Run
from facette.report.page import write_html
from facette_runtime.bundle import Bundle
from facette_runtime.errors import FacetteError
from facette_runtime.files import replacing, write_atomically
from facette_runtime.report import Report, to_table
from facette_runtime.schema import from_dict
from facette_runtime.types import Image

Tell = Callable[[str], None]

_FPS = 25.0


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What the demo found and wrote.

    Attributes:
        report: of the benchmark, by the device runtime.
        everybody: outcome by person, all of them enrolled.
        control: outcome by person, the last one left out of the gallery; must be unknown.
        left_out: that person.
        false_alarms: detections where nobody's face is, and how many of them were named.
        html, still, video: files written.
    """

    report: Report
    everybody: dict[str, Outcome]
    control: dict[str, Outcome]
    left_out: str
    false_alarms: tuple[int, int]
    html: Path
    still: Path
    video: Path


def run_demo(output: Path, bundle: Path, frames: int = 300, tell: Tell = lambda line: None) -> DemoResult:
    """Films the portraits, recognises them with ``bundle``, and writes ``report.html``, ``demo.png`` and ``demo.mp4``.

    Everything on the device's side runs through its own command line in a process of its own, so that speed and memory are the
    runtime's alone.

    Args:
        output: a folder, made if missing.
        bundle: compiled for this machine.
        frames: of the film.
        tell: is called with a line before each step.

    Raises:
        FacetteError: the bundle doesn't run here, a sample photo is missing, or the folder can't be written.
    """
    if frames < 2:
        raise FacetteError(f"the demo needs at least 2 frames, but got {frames}")
    opened = Bundle.open(bundle)
    people = portraits()
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FacetteError(f"{output} cannot be made: {error.strerror}") from None
    tell("filming the portraits")
    camera = output / "camera.avi"
    shots = _write_film(camera, people, frames)
    tell("enrolling")
    gallery, control = output / "people.npz", output / "people-control.npz"
    _enrol(bundle, gallery, people, output)
    _enrol(bundle, control, people[:-1], output)
    tell("measuring the device runtime")
    run_json = output / "run.json"
    _device("bench", bundle, "--gallery", gallery, "--source", camera, "--json", run_json)
    tell("marking the film")
    video = output / "demo.mp4"
    seen, seen_control = output / "faces.jsonl", output / "faces-control.jsonl"
    _device("identify", bundle, "--gallery", gallery, "--source", camera, "--output", video, "--json", seen)
    tell("recognising again without one person")
    _device("identify", bundle, "--gallery", control, "--source", camera, "--json", seen_control)
    tell("writing the report")
    threshold = opened.manifest.match.threshold
    recognition = read_recognition("Everybody enrolled", seen, shots, threshold)
    without = read_recognition(f"Control: {people[-1].name} left out of the gallery", seen_control, shots, threshold)
    report = from_dict(Report, json.loads(run_json.read_text()), str(run_json))
    pictures = stills(video, shots)
    still = output / "demo.png"
    _write_png(still, pictures[0].image_bgr)
    html = output / "report.html"
    write_html([Run(opened.manifest.name, report)], html, read_compile_report(opened), [recognition, without], pictures, demo=True)
    names = [portrait.name for portrait in people]
    return DemoResult(
        report=report,
        everybody={name: outcome_of(name, recognition, shots) for name in names},
        control={name: outcome_of(name, without, shots) for name in names},
        left_out=names[-1],
        false_alarms=false_alarms(recognition),
        html=html,
        still=still,
        video=video,
    )


def describe(result: DemoResult) -> str:
    """The outcome for people: the runtime's own table, then who was recognised."""
    lines = [to_table(result.report), ""]
    for name, outcome in result.everybody.items():
        lines.append(f"{name}: recognised in {outcome.as_self} of {outcome.shown} frames that show the face{_slips(outcome)}")
    outcome = result.control[result.left_out]
    lines += [
        f"control, {result.left_out} not enrolled: unknown in {outcome.unknown} of {outcome.found} frames with the face,"
        f" taken for somebody else in {outcome.as_other}",
        f"false alarms: {result.false_alarms[0]} boxes where nobody's face is, {result.false_alarms[1]} of them named",
        "People are enrolled from the photos that are filmed: this shows the machinery, it does not measure accuracy.",
        "",
        *(f"wrote {path}" for path in (result.html, result.still, result.video)),
    ]
    return "\n".join(lines)


def _slips(outcome: Outcome) -> str:
    slips = [
        f"{count} {what}"
        for count, what in (
            (outcome.shown - outcome.found, "not found"),
            (outcome.unknown, "unknown"),
            (outcome.as_other, "taken for somebody else"),
        )
        if count
    ]
    return f" ({', '.join(slips)})" if slips else ""


def _write_film(path: Path, people: Sequence[Portrait], frames: int) -> list[Shot]:
    """Writes the film and returns its shots, in memory without their pictures."""
    shots = []
    writer: cv2.VideoWriter | None = None
    with replacing(path) as temporary:
        for shot in film(build_scene(people), frames):
            if writer is None:
                height, width = shot.image_bgr.shape[:2]
                writer = cv2.VideoWriter(str(temporary), cv2.VideoWriter.fourcc(*"MJPG"), _FPS, (width, height))
                if not writer.isOpened():
                    raise FacetteError(f"{path}: this OpenCV cannot write MJPG videos here")
                empty = np.zeros((height, width, 0), np.uint8)
            writer.write(shot.image_bgr)
            shots.append(Shot(empty, shot.faces_xy))
        assert writer is not None
        writer.release()
    return shots


def _enrol(bundle: Path, gallery: Path, people: Sequence[Portrait], output: Path) -> None:
    gallery.unlink(missing_ok=True)
    for portrait in people:
        photo = output / "people" / portrait.name / "photo.png"
        photo.parent.mkdir(parents=True, exist_ok=True)
        _write_png(photo, portrait.image_bgr)
        _device("enroll", bundle, "--gallery", gallery, "--name", portrait.name, "--source", photo)


def _device(command: str, bundle: Path, *arguments: str | Path) -> None:
    """Runs facette-run in a process of its own; its one-line error becomes ours."""
    words = [sys.executable, "-m", "facette_runtime", command, "--bundle", bundle, *arguments]
    done = subprocess.run([os.fspath(word) for word in words], capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise FacetteError(f"facette-run {command}: {lines[-1].removeprefix('facette-run: error: ')}")


def _write_png(path: Path, image_bgr: Image) -> None:
    encoded, data = cv2.imencode(".png", image_bgr)
    assert encoded
    write_atomically(path, data.tobytes())
