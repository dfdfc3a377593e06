"""The whole pipeline on a null bundle."""

from __future__ import annotations

import numpy as np
import pytest

from facette_runtime.bundle import Bundle
from facette_runtime.errors import FacetteError
from facette_runtime.gallery import Gallery
from facette_runtime.pipeline import STAGES, Pipeline
from facette_runtime.types import Frame
from tests.runtime import bundles


def _frame(colour: tuple[int, int, int]) -> Frame:
    return Frame(0, "x", bundles.picture(colour))


def test_recognises_who_is_enrolled(bundle: Bundle) -> None:
    stranger = Pipeline.load(bundle)
    (red,) = stranger.process(_frame(bundles.RED))
    assert red.match.name is None
    assert red.match.similarity == -1
    gallery = Gallery.empty(bundle.manifest.embedder).with_template("Red", red.embedding)
    pipeline = Pipeline.load(bundle, gallery)
    assert pipeline.process(_frame(bundles.RED))[0].match.name == "Red"
    assert pipeline.process(_frame(bundles.BLUE))[0].match.name is None
    assert Pipeline.load(bundle, gallery, threshold=-1).process(_frame(bundles.BLUE))[0].match.name == "Red"


def test_a_face_is_in_pixels_of_the_picture(bundle: Bundle) -> None:
    (face,) = Pipeline.load(bundle).process(_frame(bundles.RED))
    # The network sees a 100x80 picture at scale 0.64; the face is 25.6 pixels wide there, around (16, 16).
    np.testing.assert_allclose(face.box_xyxy, np.array([3.2, 3.2, 28.8, 28.8]) / 0.64, rtol=1e-5)
    np.testing.assert_allclose(face.landmarks_xy[2], np.array([16, 16]) / 0.64, rtol=1e-5)
    assert np.linalg.norm(face.embedding) == pytest.approx(1)


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1), (64, 64), (3, 2000)])
def test_any_shape_of_picture_goes_through(bundle: Bundle, shape: tuple[int, int]) -> None:
    pipeline = Pipeline.load(bundle)
    assert len(pipeline.process(Frame(0, "x", np.full((*shape, 3), 255, np.uint8)))) <= 1
    assert pipeline.process(Frame(0, "x", np.zeros((*shape, 3), np.uint8))) == []


def test_every_stage_is_timed_once_a_frame(bundle: Bundle) -> None:
    pipeline = Pipeline.load(bundle)
    for colour in (bundles.RED, bundles.BLACK):
        pipeline.process(_frame(colour))
    assert {name: times.count for name, times in pipeline.meter.stages().items()} == dict.fromkeys(STAGES, 2)


def test_another_networks_gallery_is_refused(bundle: Bundle) -> None:
    with pytest.raises(FacetteError, match="enrol the people again"):
        Pipeline.load(bundle, Gallery("other", "f" * 64, (), np.zeros((0, 8), np.float32)))
