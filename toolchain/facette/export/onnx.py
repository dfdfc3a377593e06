"""ONNX for ONNX Runtime on CPUs, in each precision that it has."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from facette.calibration import Calibration
from facette.export.artifact import Artifact
from facette.export.onnx_front import fuse_normalisation
from facette.export.onnx_graph import float_onnx, layer_nodes
from facette.export.onnx_int8 import quantize_onnx
from facette.export.onnx_ranges import observe_onnx
from facette.export.onnx_weights import halve_weights, quantize_dynamically, quantize_weights
from facette.model import Model
from facette_runtime.errors import FacetteError
from facette_runtime.manifest import Precision

PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8", "int8-dynamic", "int8-weights")

STORED: Mapping[Precision, Callable[[bytes], bytes]] = {
    "fp32": lambda content: content,
    "fp16": halve_weights,
    "int8-weights": quantize_weights,
    "int8-dynamic": quantize_dynamically,
}
"""How a float graph becomes one that needs no calibration."""


def export_onnx(model: Model, precision: Precision, calibration: Calibration | None = None) -> Artifact:
    """Writes a model as ONNX. An embedder's batch is free, a detector's is one.

    "fp16" and "int8-weights" only store weights so, see `facette.export.onnx_weights`. "int8" computes in integers from the picture
    to the last convolution or linear layer, see `facette.export.onnx_int8`.

    Raises:
        FacetteError: another precision, int8 without a calibration, or a graph that the exporter can't write.
    """
    if precision not in PRECISIONS:
        raise FacetteError(f"onnxruntime: no kernels for precision {precision} on CPUs; known: {', '.join(PRECISIONS)}")
    if precision == "int8" and calibration is None:
        raise FacetteError(
            f"onnxruntime: int8 needs a calibration: faces of --data (utkface-128.zip), pictures of your own, or ranges"
            f" that were kept with {model.name}'s weights"
        )
    content = float_onnx(model)
    if precision == "int8":
        assert calibration is not None
        kept = layer_nodes(content, calibration.keep_float)
        content = quantize_onnx(content, observe_onnx(model, calibration), keep_float=kept)
    else:
        content = STORED[precision](fuse_normalisation(content))
    return Artifact("onnxruntime", precision, model.form, content)
