"""The self-test passes on a good device and names the stage of each kind of fault."""

from __future__ import annotations

import importlib
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facette_runtime.align import similarity_transform
from facette_runtime.bundle import Bundle
from facette_runtime.cli import main
from facette_runtime.errors import BundleError
from facette_runtime.manifest import Alignment, Golden, Letterbox
from facette_runtime.selftest import self_test
from facette_runtime.types import FloatArray
from tests.runtime import bundles

GOOD = bundles.manifest(bundles.bundle_files())
TEMPLATE = bundles.EMBEDDER.alignment.template_xy


def _failures(path: Path, **changes: Any) -> dict[str, str]:
    return {
        check.stage: check.finding for check in self_test(Bundle.open(bundles.write_bundle(path, **changes))) if not check.passed
    }


def test_passes_stage_by_stage(bundle: Bundle) -> None:
    checks = self_test(bundle)
    assert [(check.stage, check.passed) for check in checks] == [
        (stage, True) for stage in ("letterbox", "detect", "align", "embed", "end to end")
    ]
    assert checks[3].line() == "ok   embed: cosine 1.000000 >= 0.9999 (golden/0.png)"


def test_names_a_wrong_padding(tmp_path: Path) -> None:
    failures = _failures(tmp_path / "b", detector=replace(bundles.DETECTOR, letterbox=Letterbox((90, 90, 90))))
    assert list(failures) == ["letterbox"]
    assert "check resizing and padding" in failures["letterbox"]


def test_names_swapped_channels(tmp_path: Path) -> None:
    swapped = replace(bundles.EMBEDDER, input=replace(bundles.EMBEDDER.input, color_order="bgr"))
    failures = _failures(tmp_path / "b", embedder=swapped)
    assert list(failures) == ["embed", "end to end"]
    assert "the channels are swapped" in failures["embed"]


def test_names_a_wrong_template(tmp_path: Path) -> None:
    shifted = Alignment((16, 16), tuple((x + 30.0, y) for x, y in TEMPLATE))
    assert next(iter(_failures(tmp_path / "b", embedder=replace(bundles.EMBEDDER, alignment=shifted)))) == "align"


def test_names_a_detector_that_is_off(tmp_path: Path) -> None:
    face = GOOD.golden.faces[0]
    moved = replace(face, box_xyxy=tuple(value + 0.7 for value in face.box_xyxy))
    failures = _failures(tmp_path / "b", golden=Golden((moved,), GOOD.golden.tolerance))
    assert list(failures) == ["detect"]
    assert failures["detect"].startswith("box 0.700 px off (0.5 allowed)")


def test_names_a_detector_that_finds_nothing(tmp_path: Path) -> None:
    decoder = replace(bundles.DETECTOR.decoder, score_threshold=9.0)
    failures = _failures(tmp_path / "b", detector=replace(bundles.DETECTOR, decoder=decoder))
    assert list(failures) == ["detect", "end to end"]
    assert failures["detect"].startswith("no face found")


def test_names_a_wrong_embedding(tmp_path: Path) -> None:
    face = GOOD.golden.faces[0]
    turned = replace(face, embedding=tuple(-value for value in face.embedding))
    failures = _failures(tmp_path / "b", golden=Golden((turned,), GOOD.golden.tolerance))
    assert (
        failures["embed"] == "cosine -1.000000 < 0.9999: check colour order (rgb) and normalisation (mean 0, 0, 0; scale 1, 1, 1)"
    )


# Faults where devices and converters make them, in bundles with real graphs.


def _report(path: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What `facette-run selftest` prints of a bundle that fails."""
    assert main(["selftest", "--bundle", str(path)]) == 1
    return capsys.readouterr().out.splitlines()


def _failed_stages(lines: list[str]) -> list[str]:
    return [line.split()[1].rstrip(":") for line in lines if line.startswith("FAIL ")]


def _mean_off(line: str) -> int:
    """By how much the report says that the mean is off; black pixels of a crop can't be made darker, so it may miss by one."""
    said = re.search(r"right with .*: the mean that the graph subtracts is about (\d+) too (large|small)", line)
    assert said is not None, line
    return int(said[1]) if said[2] == "large" else -int(said[1])


@pytest.fixture
def faulty() -> Any:
    """The module that builds such bundles; needs onnx to write graphs and ONNX Runtime to run them."""
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    return importlib.import_module("tests.runtime.faulty")


def test_real_graphs_pass(tmp_path: Path, faulty: Any) -> None:
    assert [check.stage for check in self_test(Bundle.open(faulty.write_bundle(tmp_path / "b"))) if not check.passed] == []


def test_names_channels_that_the_detectors_graph_swaps(tmp_path: Path, faulty: Any, capsys: pytest.CaptureFixture[str]) -> None:
    lines = _report(faulty.write_bundle(tmp_path / "b", detector=faulty.detector_graph(channels=(2, 1, 0))), capsys)
    assert _failed_stages(lines)[0] == "detect"
    assert "right with red and blue exchanged: the channels are swapped" in lines[1]
    assert lines[-1] == f"selftest FAILED: {len(_failed_stages(lines))} of 5 checks; the first that differs is detect"


def test_names_channels_that_the_embedders_graph_swaps(tmp_path: Path, faulty: Any, capsys: pytest.CaptureFixture[str]) -> None:
    lines = _report(faulty.write_bundle(tmp_path / "b", embedder=faulty.embedder_graph(channels=(2, 1, 0))), capsys)
    assert _failed_stages(lines) == ["embed", "end"]
    assert "right with red and blue exchanged: the channels are swapped" in lines[3]


@pytest.mark.parametrize("off", [12.0, -20.0])
def test_names_a_wrong_mean_in_the_detectors_graph(
    tmp_path: Path, faulty: Any, capsys: pytest.CaptureFixture[str], off: float
) -> None:
    graph = faulty.detector_graph(mean=tuple(value + off for value in faulty.MEAN))
    lines = _report(faulty.write_bundle(tmp_path / "b", detector=graph), capsys)
    assert _failed_stages(lines)[0] == "detect"
    assert _mean_off(lines[1]) == pytest.approx(off, abs=1)


@pytest.mark.parametrize("off", [12.0, -20.0])
def test_names_a_wrong_mean_in_the_embedders_graph(
    tmp_path: Path, faulty: Any, capsys: pytest.CaptureFixture[str], off: float
) -> None:
    graph = faulty.embedder_graph(mean=tuple(value + off for value in faulty.MEAN))
    lines = _report(faulty.write_bundle(tmp_path / "b", embedder=graph), capsys)
    assert _failed_stages(lines) == ["embed", "end"]
    assert _mean_off(lines[3]) == pytest.approx(off, abs=1)


@pytest.mark.parametrize(("x", "y"), [(0.5, 0.5), (-0.5, 0.0)])
def test_names_a_half_pixel_shift_of_the_alignment(
    tmp_path: Path, faulty: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, x: float, y: float
) -> None:
    def shifted(source_xy: FloatArray, target_xy: FloatArray) -> np.ndarray:
        return similarity_transform(source_xy, np.asarray(target_xy) + (x, y))

    path = faulty.write_bundle(tmp_path / "b")
    monkeypatch.setattr("facette_runtime.align.similarity_transform", shifted)
    lines = _report(path, capsys)
    assert _failed_stages(lines)[0] == "align"
    assert f"right when moved by ({0 - x:+g}, {0 - y:+g}): the crop is half a pixel off" in lines[2]


def test_a_graph_that_is_wrong_otherwise_gets_general_advice(tmp_path: Path, faulty: Any) -> None:
    graph = faulty.embedder_graph(mean=(104.0, 123.0, 117.0), channels=(1, 0, 2))
    checks = self_test(Bundle.open(faulty.write_bundle(tmp_path / "b", embedder=graph)))
    (embed,) = (check for check in checks if check.stage == "embed")
    assert not embed.passed
    assert embed.finding.endswith("check colour order (rgb) and normalisation (mean 123, 117, 104; scale 0.017, 0.0175, 0.018)")


def test_no_golden_faces_is_an_error(tmp_path: Path) -> None:
    path = bundles.write_bundle(tmp_path / "b", golden=Golden((), GOOD.golden.tolerance))
    with pytest.raises(BundleError, match="no golden faces"):
        self_test(Bundle.open(path))
