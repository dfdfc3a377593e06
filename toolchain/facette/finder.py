"""A detector that works for the toolchain itself: it cuts the faces that other networks are calibrated, trained and judged with."""

from __future__ import annotations

from functools import lru_cache

from facette.entries import REFERENCE, detector_entry
from facette.export import export
from facette.model import Model
from facette.reference import reference_engine
from facette_runtime.detect import Detector
from facette_runtime.engines import open_engine
from facette_runtime.errors import FacetteError


@lru_cache(maxsize=2)
def find_with(model: Model) -> Detector:
    """The network in ONNX Runtime, fp32: the same faces as torch finds, several times as fast; in torch where that can't be had."""
    try:
        engine = open_engine("onnxruntime", export(model, "onnxruntime", "fp32").model, 1)
    except FacetteError:
        engine = reference_engine(model)
    return Detector(engine, detector_entry(model, REFERENCE))
