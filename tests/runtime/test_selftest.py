"""The self-test passes on a good device and names the stage of each kind of fault."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from facette_runtime.bundle import Bundle
from facette_runtime.errors import BundleError
from facette_runtime.manifest import Alignment, Golden, Letterbox
from facette_runtime.selftest import self_test
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
    assert failures["embed"] == "cosine -1.000000 < 0.9999: check colour order and normalisation"


def test_no_golden_faces_is_an_error(tmp_path: Path) -> None:
    path = bundles.write_bundle(tmp_path / "b", golden=Golden((), GOOD.golden.tolerance))
    with pytest.raises(BundleError, match="no golden faces"):
        self_test(Bundle.open(path))
