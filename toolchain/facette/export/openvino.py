"""OpenVINO's intermediate representation, as one file; int8 by NNCF."""

from __future__ import annotations

import io
import logging
import re
import tempfile
import zipfile
from functools import lru_cache
from pathlib import Path
from typing import Any

from torch import nn

from facette.calibration import Calibration, RangeMethod
from facette.export.artifact import Artifact
from facette.export.device_input import INPUT_NAME, DeviceNetwork, example_input
from facette.export.quiet import quiet
from facette.model import Model
from facette_runtime.engines.openvino import BIN, OUTPUTS_PATH, PRECISION_PATH, XML, import_openvino
from facette_runtime.errors import FacetteError
from facette_runtime.manifest import Precision
from facette_runtime.processor import cpu_features, int8_overflows
from facette_runtime.types import Image

PRECISIONS = ("fp32", "fp16", "bf16", "int8")
METHODS = ("min-max", "percentile")
OUTLIERS = 1e-4
"""Share of a picture's numbers that "percentile" leaves outside."""
INSTALL = "pip install 'facette[openvino]'"


def export_openvino(model: Model, precision: Precision, calibration: Calibration | None = None) -> Artifact:
    """Writes a model for OpenVINO with one picture a call.

    "fp16" halves the file and computes in fp32. "bf16" is the fp32 file with word to the runtime to compute in bf16, which it
    refuses on a processor without. "int8" is NNCF's post-training quantization: symmetric weights with a scale for each output
    channel, activations symmetric where they have negative values, and bias correction.

    Raises:
        FacetteError: OpenVINO or NNCF is not installed, the network is an ONNX file, another precision, or int8 without pictures.
    """
    if precision not in PRECISIONS:
        raise FacetteError(f"openvino: has no precision {precision}; known: {', '.join(PRECISIONS)}")
    if not isinstance(model.network, nn.Module):
        raise FacetteError("openvino: an ONNX file is not converted; give the torch module")
    network = _convert(model).clone()
    if precision == "int8":
        network = _quantize(network, calibration)
    network.set_rt_info("bf16" if precision == "bf16" else "f32", list(PRECISION_PATH))
    return Artifact("openvino", precision, model.form, _as_one_file(network, halves=precision == "fp16"))


@lru_cache(maxsize=1)  # all precisions of a form start from the same graph
def _convert(model: Model) -> Any:
    try:
        ov = import_openvino()
    except ImportError:
        raise FacetteError(f"openvino: is not installed; {INSTALL}") from None
    example = example_input(model.image, 1)
    with quiet():
        network = ov.convert_model(DeviceNetwork(model).eval(), example_input=example)
    network.reshape({INPUT_NAME: list(example.shape)})
    # A tensor may have other names when the file is read again; the order of the outputs stays.
    names = [next(iter(port.get_names() & set(model.output_names))) for port in network.outputs]
    network.set_rt_info(",".join(names), list(OUTPUTS_PATH))
    return network


def _quantize(network: Any, calibration: Calibration | None) -> Any:
    if calibration is None or calibration.pictures is None:
        raise FacetteError("openvino: int8 needs calibration pictures; ranges are too little, since NNCF corrects biases, too")
    if calibration.method not in METHODS:
        raise FacetteError(f"openvino: NNCF has no range method {calibration.method}; known: {', '.join(METHODS)}")
    try:
        with quiet():
            import nncf
    except ImportError:
        raise FacetteError(f"openvino: NNCF is not installed; {INSTALL}") from None
    nncf.set_log_level(logging.ERROR)
    # An operator is named after the module that it comes from, below `DeviceNetwork`.
    kept = [rf".*\bnetwork\.{re.escape(layer)}/.*" for layer in sorted(calibration.keep_float)]
    try:
        with quiet():
            return nncf.quantize(
                network,
                nncf.Dataset(calibration.pictures, _as_input),
                preset=nncf.QuantizationPreset.MIXED,
                subset_size=len(calibration.pictures),
                ignored_scope=nncf.IgnoredScope(patterns=kept),
                advanced_parameters=_parameters(calibration.method),
            )
    except nncf.ValidationError as error:
        raise FacetteError(f"openvino: a layer to keep in float is not in the graph: {str(error).splitlines()[0]}") from error


def _parameters(method: RangeMethod) -> Any:
    """NNCF's parameters: how activations' ranges follow from the pictures (one of `METHODS`), and how many bits weights have here.

    Its own choice, the mean over pictures of each picture's extremes, clips too much where pictures differ.
    """
    from nncf.quantization import advanced_parameters
    from nncf.quantization.range_estimator import (
        AggregatorType,
        RangeEstimatorParameters,
        StatisticsCollectorParameters,
        StatisticsType,
    )

    if method == "min-max":
        low = StatisticsCollectorParameters(StatisticsType.MIN, AggregatorType.MIN)
        high = StatisticsCollectorParameters(StatisticsType.MAX, AggregatorType.MAX)
    else:  # of each picture, then the widest of all pictures
        tail = OUTLIERS / 2
        low = StatisticsCollectorParameters(StatisticsType.QUANTILE, AggregatorType.MIN, quantile_outlier_prob=tail)
        high = StatisticsCollectorParameters(StatisticsType.QUANTILE, AggregatorType.MAX, quantile_outlier_prob=tail)
    estimator = RangeEstimatorParameters(low, high)
    # OpenVINO's kernels overflow where the processor does. Weights of seven bits never do; NNCF by itself gives them to the first
    # layer only.
    every, first = advanced_parameters.OverflowFix.ENABLE, advanced_parameters.OverflowFix.FIRST_LAYER
    fix = every if int8_overflows(cpu_features()) else first
    return advanced_parameters.AdvancedQuantizationParameters(overflow_fix=fix, activations_range_estimator_params=estimator)


def _as_input(picture: Image) -> dict[str, Image]:
    return {INPUT_NAME: picture[None]}


def _as_one_file(network: Any, *, halves: bool) -> bytes:
    ov = import_openvino()
    packed = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(packed, "w") as archive:
        ov.save_model(network, str(Path(folder) / XML), compress_to_fp16=halves)
        for name in (XML, BIN):
            # A ZipInfo of its own has a fixed date, so that the same network makes the same file.
            archive.writestr(zipfile.ZipInfo(name), (Path(folder) / name).read_bytes())
    return packed.getvalue()
