"""The demo: two people, a moving virtual camera, and the device runtime in a process of its own.

It shows the machinery, and is no accuracy test: people are enrolled from the very photos that the camera films.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from facette.compile_report import COMPILE_REPORT_FILE, CompileReport
from facette.data.photos import Portrait, portraits
from facette.report import Picture, Recognition, Run, Sighting, write_html
from facette.virtual_camera import Shot, build_scene, film
from facette_runtime.bundle import Bundle
from facette_runtime.errors import FacetteError
from facette_runtime.files import replacing, write_atomically
from facette_runtime.report import Report, to_table
from facette_runtime.schema import from_dict
from facette_runtime.types import Image

Tell = Callable[[str], None]

_FPS = 25.0
_EDGE_PX = 12  # a face nearer to the frame's edge than this counts as out of the picture


@dataclass(frozen=True, slots=True)
class Outcome:
    """How often one person was named, over the frames that show their face.

    Attributes:
        shown: frames that show it.
        found: of those, frames in which the detector found it.
        as_self, as_other, unknown: what the gallery said of the faces found.
    """

    shown: int
    found: int
    as_self: int
    as_other: int
    unknown: int


@dataclass(frozen=True, slots=True)
class DemoResult:
    """What the demo found and wrote.

    Attributes:
        report: of the benchmark, by the device runtime.
        everybody: outcome by person, all of them enrolled.
        control: outcome by person, the last one left out of the gallery; must be unknown.
        left_out: that person.
        html, still, video: files written.
    """

    report: Report
    everybody: dict[str, Outcome]
    control: dict[str, Outcome]
    left_out: str
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
    recognition = _recognition("everybody enrolled", seen, shots, opened)
    without = _recognition(f"{people[-1].name} left out of the gallery", seen_control, shots, opened)
    report = from_dict(Report, json.loads(run_json.read_text()), str(run_json))
    pictures = _stills(video, shots)
    still = output / "demo.png"
    _write_png(still, pictures[0].image_bgr)
    html = output / "report.html"
    write_html([Run(opened.manifest.name, report)], html, _compile_report(opened), [recognition, without], pictures, demo=True)
    names = [portrait.name for portrait in people]
    everybody = {name: _outcome(name, recognition, shots) for name in names}
    result = DemoResult(report, everybody, {n: _outcome(n, without, shots) for n in names}, names[-1], html, still, video)
    return result


def describe(result: DemoResult) -> str:
    """The outcome for people: the runtime's own table, then who was recognised."""
    lines = [to_table(result.report), ""]
    for name, outcome in result.everybody.items():
        lines.append(f"{name}: recognised in {outcome.as_self} of {outcome.shown} frames that show the face{_slips(outcome)}")
    outcome = result.control[result.left_out]
    lines += [
        f"control, {result.left_out} not enrolled: unknown in {outcome.unknown} of {outcome.found} frames with the face,"
        f" taken for somebody else in {outcome.as_other}",
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


def _recognition(title: str, path: Path, shots: Sequence[Shot], bundle: Bundle) -> Recognition:
    """The runtime's answers, each face assigned to the person who is really there."""
    sightings = []
    for line in path.read_text(encoding="utf-8").splitlines():
        frame = json.loads(line)
        for face in frame["faces"]:
            truth = _who_is_there(shots[frame["index"]], face["box_xyxy"])
            sightings.append(Sighting(frame["index"], truth, face["name"], face["similarity"]))
    return Recognition(title, len(shots), bundle.manifest.match.threshold, tuple(sightings))


def _who_is_there(shot: Shot, box_xyxy: Sequence[float]) -> str | None:
    left, top, right, bottom = box_xyxy
    return next((name for name, (x, y) in shot.faces_xy.items() if left <= x <= right and top <= y <= bottom), None)


def _outcome(name: str, recognition: Recognition, shots: Sequence[Shot]) -> Outcome:
    shown = {index for index, shot in enumerate(shots) if _shows(shot, name)}
    said = {sighting.frame: sighting.name for sighting in recognition.sightings if sighting.truth == name and sighting.frame in shown}
    answers = Counter("as_self" if answer == name else "unknown" if answer is None else "as_other" for answer in said.values())
    return Outcome(len(shown), len(said), answers["as_self"], answers["as_other"], answers["unknown"])


def _shows(shot: Shot, name: str) -> bool:
    height, width = shot.image_bgr.shape[:2]
    x, y = shot.faces_xy[name]
    return _EDGE_PX <= x < width - _EDGE_PX and _EDGE_PX <= y < height - _EDGE_PX


def _stills(video: Path, shots: Sequence[Shot]) -> list[Picture]:
    """Four marked frames: first the one with everybody, as large and as central as they get together."""
    together = [i for i, shot in enumerate(shots) if all(_shows(shot, name) for name in shot.faces_xy)]
    apart = {i: float(np.ptp([x for x, _ in shots[i].faces_xy.values()])) for i in together}
    first = max(apart, key=lambda i: apart[i]) if apart else 0
    chosen = [first, *(len(shots) * part // 8 for part in (1, 3, 6))]
    capture = cv2.VideoCapture(str(video))
    images: dict[int, Image] = {}
    for index in range(len(shots)):
        read, image = capture.read()
        if read and index in chosen:
            images[index] = image
    capture.release()
    if first not in images:
        raise FacetteError(f"{video}: cannot be read back")
    return [Picture(f"frame {index}", images[index]) for index in chosen if index in images]


def _compile_report(bundle: Bundle) -> CompileReport | None:
    if COMPILE_REPORT_FILE not in bundle.manifest.files:
        return None
    return from_dict(CompileReport, json.loads(bundle.read(COMPILE_REPORT_FILE)), COMPILE_REPORT_FILE)


def _write_png(path: Path, image_bgr: Image) -> None:
    encoded, data = cv2.imencode(".png", image_bgr)
    assert encoded
    write_atomically(path, data.tobytes())
