"""Model → Artifact: one module an engine."""

from __future__ import annotations

from facette.calibration import Calibration, Ranges
from facette.export.artifact import Artifact
from facette.model import Model
from facette_runtime.errors import FacetteError
from facette_runtime.manifest import Precision

ENGINES = ("onnxruntime", "litert", "openvino", "tensorrt")


def export(model: Model, engine: str, precision: Precision, calibration: Calibration | None = None) -> Artifact:
    """Writes a network for an engine.

    Args:
        calibration: needed for "int8", unused otherwise.

    Raises:
        FacetteError: no exporter for the engine or the precision, its package is missing, no calibration for int8, or the network
            can't be written so.
    """
    # Imported here because litert-torch alone takes seconds to load.
    if engine == "onnxruntime":
        from facette.export.onnx import export_onnx

        return export_onnx(model, precision, calibration)
    if engine == "litert":
        from facette.export.litert import export_litert

        return export_litert(model, precision, calibration)
    if engine == "openvino":
        from facette.export.openvino import export_openvino

        return export_openvino(model, precision, calibration)
    if engine == "tensorrt":
        from facette.export.tensorrt import export_tensorrt

        return export_tensorrt(model, precision, calibration)
    raise FacetteError(f"no exporter for engine {engine!r}; known: {', '.join(ENGINES)}")


def observe(model: Model, engine: str, calibration: Calibration) -> Ranges:
    """The ranges that the pictures give in an engine's float graph: kept with the weights, they stand in for pictures.

    Raises:
        FacetteError: an engine whose quantizer takes pictures only.
    """
    if engine in ("onnxruntime", "tensorrt"):
        from facette.export.onnx_ranges import observe_onnx

        return observe_onnx(model, calibration)
    if engine == "litert":
        from facette.export.litert_int8 import observe_litert

        return observe_litert(model, calibration)
    raise FacetteError(f"{engine}: its quantizer takes pictures, not ranges; known: onnxruntime, litert, tensorrt")
