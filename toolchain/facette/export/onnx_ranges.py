"""The ranges of a float ONNX graph's tensors over pictures."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto

from facette.calibration import Calibration, Ranges
from facette.export.device_input import INPUT_NAME
from facette.export.onnx_graph import float_onnx
from facette.model import Model
from facette.ranges import Histogram, range_of
from facette_runtime.errors import FacetteError


def observe_onnx(model: Model, calibration: Calibration) -> Ranges:
    """Runs the float graph over the pictures, one at a time, and takes each float tensor's range by the calibration's method.

    Returns:
        Ranges by tensor name; those of ``calibration`` where it has some.

    Raises:
        FacetteError: neither ranges nor pictures, pictures of the wrong size, or numbers that aren't finite.
    """
    if calibration.ranges is not None:
        return calibration.ranges
    if calibration.pictures is None or not len(calibration.pictures):
        raise FacetteError(f"{model.name}: nothing to calibrate with: {calibration.source} has neither pictures nor ranges")
    width, height = model.image.size_wh
    if calibration.pictures.shape[1:] != (height, width, 3):
        got = "x".join(map(str, calibration.pictures.shape[1:]))
        raise FacetteError(f"{model.name}: calibration pictures must be {height}x{width}x3, but got {got}")
    session, names = _talkative(float_onnx(model))
    histograms = {name: Histogram() for name in names}
    for picture in calibration.pictures:
        for name, values in zip(names, session.run(names, {INPUT_NAME: picture[None]}), strict=True):
            _add(histograms[name], values, name)
    return {name: range_of(histogram, calibration.method) for name, histogram in histograms.items()}


def _add(histogram: Histogram, values: np.ndarray, name: str) -> None:
    try:
        histogram.add(values)
    except FacetteError as error:
        raise FacetteError(f"tensor {name!r}: {error}") from None


def _talkative(content: bytes) -> tuple[ort.InferenceSession, list[str]]:
    """A session of the graph with every float tensor among its outputs, and their names."""
    proto = onnx.shape_inference.infer_shapes(onnx.load_from_string(content))
    kinds = {value.name: value.type.tensor_type.elem_type for value in [*proto.graph.value_info, *proto.graph.output]}
    present = {value.name for value in proto.graph.output}
    computed = [name for node in proto.graph.node for name in node.output if kinds.get(name) == TensorProto.FLOAT]
    shown = [onnx.helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in computed if name not in present]
    proto.graph.output.extend(shown)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    return ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"]), computed
