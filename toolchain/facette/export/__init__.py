"""Model → Artifact: one module an engine."""

from __future__ import annotations

from facette.export.artifact import Artifact
from facette.model import Model
from facette_runtime.errors import FacetteError
from facette_runtime.manifest import Precision

ENGINES = ("onnxruntime", "litert")


def export(model: Model, engine: str, precision: Precision) -> Artifact:
    """Writes a network for an engine.

    Raises:
        FacetteError: no exporter for the engine or the precision, its package is missing, or the network can't be written so.
    """
    # Imported here because litert-torch alone takes seconds to load.
    if engine == "onnxruntime":
        from facette.export.onnx import export_onnx

        return export_onnx(model, precision)
    if engine == "litert":
        from facette.export.litert import export_litert

        return export_litert(model, precision)
    raise FacetteError(f"no exporter for engine {engine!r}; known: {', '.join(ENGINES)}")
