"""TFLite for LiteRT: litert-torch's converter; fp16 weights by ai-edge-quantizer."""

from __future__ import annotations

import tempfile
from functools import lru_cache
from pathlib import Path

from torch import nn

from facette.calibration import Calibration
from facette.export.artifact import Artifact
from facette.export.device_input import INPUT_NAME, DeviceNetwork, example_input
from facette.export.quiet import quiet
from facette.model import Model
from facette_runtime.errors import FacetteError
from facette_runtime.manifest import Precision

SIGNATURE = "serving_default"


def export_litert(model: Model, precision: Precision, calibration: Calibration | None = None) -> Artifact:
    """Writes a model as TFLite with one picture a call.

    fp16 halves the file: weights are stored as half floats and the arithmetic stays fp32 on CPUs.

    Raises:
        FacetteError: litert-torch is not installed, the network is an ONNX file, or a precision other than fp32 and fp16.
    """
    if precision not in ("fp32", "fp16"):
        raise FacetteError(f"litert: precision {precision} is not exported yet; known: fp32, fp16")
    if not isinstance(model.network, nn.Module):
        raise FacetteError("litert: an ONNX file can't be converted; give the torch module")
    content = _convert(model)
    return Artifact("litert", precision, model.form, content if precision == "fp32" else _half_weights(content))


@lru_cache(maxsize=1)  # both precisions of a model are asked for one after the other, and converting takes ten seconds
def _convert(model: Model) -> bytes:
    try:
        with quiet():
            import litert_torch
    except ImportError:
        raise FacetteError("litert: the converter is not installed; pip install 'facette[litert]'") from None
    example = {INPUT_NAME: example_input(model.image, 1)}
    with quiet(), tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.tflite"
        network = DeviceNetwork(model).eval()
        litert_torch.signature(SIGNATURE, network, sample_kwargs=example).convert().export(str(path))
        return path.read_bytes()


def _half_weights(content: bytes) -> bytes:
    with quiet():
        from ai_edge_quantizer import qtyping, quantizer, recipe_manager

        manager = recipe_manager.RecipeManager()
        manager.add_quantization_config(
            regex=".*",
            operation_name=qtyping.TFLOperationName.ALL_SUPPORTED,
            op_config=qtyping.OpQuantizationConfig(
                weight_tensor_config=qtyping.TensorQuantizationConfig(num_bits=16, dtype=qtyping.TensorDataType.FLOAT),
                compute_precision=qtyping.ComputePrecision.FLOAT,
                explicit_dequantize=True,
            ),
            algorithm_key="float_casting",
        )
        halved = quantizer.Quantizer(bytearray(content), manager.get_quantization_recipe()).quantize().quantized_model
    assert halved is not None
    return bytes(halved)
