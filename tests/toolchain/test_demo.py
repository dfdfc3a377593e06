"""The demo from film to report, with null engines that see a face in every bright frame."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from facette.demo.outcome import Outcome, false_alarms, outcome_of, read_recognition, shows
from facette.demo.run import DemoResult, describe, run_demo
from facette.demo.virtual_camera import Shot
from facette.report.data import Recognition, Sighting
from facette_runtime.errors import FacetteError
from tests.runtime import bundles

_EMPTY = np.zeros((480, 640, 0), np.uint8)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> DemoResult:
    folder = tmp_path_factory.mktemp("demo")
    return run_demo(folder / "out", bundles.write_bundle(folder / "null.facette"), frames=24)


def test_files(demo: DemoResult) -> None:
    still = cv2.imread(str(demo.still))
    capture = cv2.VideoCapture(str(demo.video))

    assert still is not None
    assert still.shape == (480, 640, 3)
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 24
    assert demo.html.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert not list(demo.html.parent.glob(".*")), "no temporary file stays behind"


def test_device_runtime_measured_it(demo: DemoResult) -> None:
    assert demo.report.frames == 24
    assert demo.report.bundle in describe(demo)
    assert demo.report.pipeline_fps > 0
    assert demo.report.memory.peak_mb is None or demo.report.memory.peak_mb < 200


def test_description_says_what_it_is_not(demo: DemoResult) -> None:
    text = describe(demo)

    assert "does not measure accuracy" in text
    assert "control, Eileen Collins not enrolled" in text


def test_outcome__counts_against_who_is_there(tmp_path: Path) -> None:
    shots = [
        Shot(_EMPTY, {"Ann": (100.0, 100.0), "Bob": (500.0, 300.0)}),
        Shot(_EMPTY, {"Ann": (5.0, 100.0), "Bob": (500.0, 300.0)}),
    ]
    face = '{{"name": {}, "similarity": {}, "box_xyxy": {}}}'
    ann, bob = "[50, 50, 150, 150]", "[450, 250, 550, 350]"
    lines = [
        f'{{"index": 0, "faces": [{face.format(chr(34) + "Ann" + chr(34), 0.9, ann)}, {face.format("null", 0.2, bob)}]}}',
        f'{{"index": 1, "faces": [{face.format(chr(34) + "Ann" + chr(34), 0.6, bob)}]}}',
    ]
    (tmp_path / "faces.jsonl").write_text("\n".join(lines))
    recognition = read_recognition("pass", tmp_path / "faces.jsonl", shots, 0.5)

    assert [sighting.truth for sighting in recognition.sightings] == ["Ann", "Bob", "Bob"]
    assert not shows(shots[1], "Ann")
    assert outcome_of("Ann", recognition, shots) == Outcome(shown=1, found=1, as_self=1, as_other=0, unknown=0)
    assert outcome_of("Bob", recognition, shots) == Outcome(shown=2, found=2, as_self=0, as_other=1, unknown=1)


def test_a_box_where_nobody_is_counts_as_a_false_alarm() -> None:
    sightings = (Sighting(0, "Ann", "Ann", 0.9), Sighting(0, None, None, 0.3), Sighting(1, None, "Ann", 0.7))
    assert false_alarms(Recognition("pass", 2, 0.5, sightings)) == (2, 1)


def test_the_device_runtimes_error_is_passed_on(tmp_path: Path) -> None:
    broken = tmp_path / "broken.facette"
    broken.write_bytes(b"no bundle")

    with pytest.raises(FacetteError, match="is not a bundle"):
        run_demo(tmp_path / "out", broken)
    with pytest.raises(FacetteError, match="at least 2 frames"):
        run_demo(tmp_path / "out", broken, frames=1)
