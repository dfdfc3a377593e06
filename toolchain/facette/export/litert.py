"""TFLite for LiteRT: litert-torch's converter; fewer bits by ai-edge-quantizer."""

from __future__ import annotations

from typing import Any

from facette.calibration import Calibration
from facette.export.artifact import Artifact
from facette.export.litert_graph import float_graph, quantize
from facette.export.litert_int8 import static_int8
from facette.model import Model
from facette_runtime.errors import FacetteError
from facette_runtime.manifest import Precision

PRECISIONS = ("fp32", "fp16", "int8", "int8-dynamic", "int8-weights")


def export_litert(model: Model, precision: Precision, calibration: Calibration | None = None) -> Artifact:
    """Writes a model as TFLite with one picture a call.

    "fp16" and "int8-weights" shrink the file and compute in fp32 on CPUs; "int8-dynamic" multiplies in int8 and quantizes each
    layer's input anew for every picture; "int8" computes in int8 throughout.

    Raises:
        FacetteError: litert-torch is not installed, the network is an ONNX file, another precision, int8 without a calibration,
            or the quantizer refuses the graph.
    """
    if precision not in PRECISIONS:
        raise FacetteError(f"litert: has no precision {precision}; known: {', '.join(PRECISIONS)}")
    if precision == "int8" and calibration is None:
        raise FacetteError("litert: static int8 needs a calibration: pictures, or ranges that were taken from pictures")
    if calibration is not None and precision == "int8":
        return Artifact("litert", precision, model.form, static_int8(model, calibration))
    content = float_graph(model)
    if precision != "fp32":
        content = quantize(content, _weights_only(precision), {})
    return Artifact("litert", precision, model.form, content)


def _weights_only(precision: Precision) -> Any:
    """The quantizer's recipe for a precision that stores weights in fewer bits and fixes no activation's range."""
    from ai_edge_quantizer import qtyping, recipe_manager

    manager = recipe_manager.RecipeManager()
    scope = {"regex": ".*", "operation_name": qtyping.TFLOperationName.ALL_SUPPORTED}
    if precision == "int8-dynamic":
        manager.add_dynamic_config(**scope, num_bits=8)
    elif precision == "int8-weights":
        manager.add_weight_only_config(**scope, num_bits=8)
    else:
        halves = qtyping.OpQuantizationConfig(
            weight_tensor_config=qtyping.TensorQuantizationConfig(num_bits=16, dtype=qtyping.TensorDataType.FLOAT),
            compute_precision=qtyping.ComputePrecision.FLOAT,
            explicit_dequantize=True,
        )
        manager.add_quantization_config(**scope, op_config=halves, algorithm_key="float_casting")
    return manager
