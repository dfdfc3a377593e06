"""OpenVINO: every precision close to torch, one file, nothing sent anywhere."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("openvino", reason="OpenVINO is not installed (extra [openvino])")

from facette.calibration import Calibration, RangeMethod
from facette.export import export, observe
from facette.model import Model
from facette.reference import reference_engine
from facette.verify import parity_on, shortfall
from facette_runtime.engines import open_engine
from facette_runtime.errors import EngineError, FacetteError
from facette_runtime.manifest import Precision
from facette_runtime.types import Image
from tests.toolchain.smooth import smooth_noise


def pictures(model: Model, picture: Image) -> list[Image]:
    turned = [picture, picture[::-1], picture[:, ::-1], picture[::-1, ::-1], 255 - picture, picture // 2]
    return [cv2.resize(view, model.image.size_wh) for view in turned]


def can_bf16() -> bool:
    from facette_runtime.engines.openvino import import_openvino

    return "BF16" in import_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


@pytest.mark.parametrize(("precision", "cosine"), [("fp32", 0.999999), ("fp16", 0.9999), ("bf16", 0.999)])
@pytest.mark.parametrize("role", [0, 1], ids=["detector", "embedder"])
def test_parity(precision: Precision, cosine: float, role: int, tiny_models: tuple[Model, Model], picture: Image) -> None:
    if precision == "bf16" and not can_bf16():
        pytest.skip("this processor does not compute in bf16")
    model = tiny_models[role]
    shown = pictures(model, picture)
    expected = [reference_engine(model).run({"image": image[None]}) for image in shown]
    engine = open_engine("openvino", export(model, "openvino", precision).model, 1)
    width, height = model.image.size_wh
    assert [(spec.name, spec.shape, spec.dtype) for spec in engine.inputs] == [("image", (1, height, width, 3), "uint8")]
    assert {spec.name: spec.dtype for spec in engine.outputs} == dict.fromkeys(model.output_names, "float32")
    parity = parity_on(engine, expected, shown)
    assert shortfall(parity, cosine) is None
    assert (max(value.max_abs for value in parity.values()) > 1e-5) == (precision != "fp32")


def test_half_weights_halve_the_file(tiny_models: tuple[Model, Model]) -> None:
    torch.manual_seed(0)
    # The tiny detector's own weights are too small for half floats, and OpenVINO then keeps single ones.
    model = replace(tiny_models[1], network=nn.Sequential(nn.Conv2d(3, 64, 16), nn.AvgPool2d(17), nn.Flatten()).eval())
    single, half = (len(export(model, "openvino", precision).model) for precision in ("fp32", "fp16"))
    assert half < 0.6 * single


def test_the_same_network_makes_the_same_file(tiny_models: tuple[Model, Model]) -> None:
    assert export(tiny_models[1], "openvino", "fp32").model == export(tiny_models[1], "openvino", "fp32").model


@pytest.mark.parametrize("method", ["min-max", "percentile"])
def test_int8_stays_close(method: RangeMethod, tiny_models: tuple[Model, Model]) -> None:
    pytest.importorskip("nncf", reason="NNCF is not installed (extra [openvino])")
    model = tiny_models[1]
    content = export(model, "openvino", "int8", Calibration(smooth_noise(model, 16), "smooth noise", method)).model
    shown = list(smooth_noise(model, 8, seed=1))
    expected = [reference_engine(model).run({"image": image[None]}) for image in shown]
    parity = parity_on(open_engine("openvino", content, 1), expected, shown)
    assert shortfall(parity, 0.99) is None
    assert parity["embedding"].cosine < 1 - 1e-7
    assert b"FakeQuantize" in _xml(content)


def test_layers_stay_in_float_where_the_calibration_says_so(tiny_models: tuple[Model, Model]) -> None:
    model = tiny_models[1]
    calibration = Calibration(smooth_noise(model, 16), "noise")
    whole, mixed = (
        _xml(export(model, "openvino", "int8", replace(calibration, keep_float=kept)).model)
        for kept in (frozenset[str](), frozenset({"conv2"}))
    )
    assert 0 < mixed.count(b'type="FakeQuantize"') < whole.count(b'type="FakeQuantize"')
    with pytest.raises(FacetteError, match="a layer to keep in float is not in the graph"):
        export(model, "openvino", "int8", replace(calibration, keep_float=frozenset({"conv9"})))


def test_int8_needs_pictures(tiny_models: tuple[Model, Model]) -> None:
    for calibration in (None, Calibration(None, "kept", ranges={"x": (0.0, 1.0)})):
        with pytest.raises(FacetteError, match="needs calibration pictures; ranges are too little"):
            export(tiny_models[1], "openvino", "int8", calibration)
    with pytest.raises(FacetteError, match="takes pictures, not ranges"):
        observe(tiny_models[1], "openvino", Calibration(None, "none"))


def test_refusals_name_the_choices(tiny_models: tuple[Model, Model]) -> None:
    model = tiny_models[1]
    with pytest.raises(FacetteError, match=r"known: fp32, fp16, bf16, int8$"):
        export(model, "openvino", "int8-dynamic")
    with pytest.raises(FacetteError, match="no range method mse; known: min-max, percentile"):
        export(model, "openvino", "int8", Calibration(np.zeros((1, 32, 32, 3), np.uint8), "black", "mse"))
    with pytest.raises(FacetteError, match="give the torch module"):
        export(replace(model, network=Path("users.onnx")), "openvino", "fp32")


def test_bf16_is_refused_where_the_processor_has_none(tiny_models: tuple[Model, Model], monkeypatch: pytest.MonkeyPatch) -> None:
    from facette_runtime.engines.openvino import import_openvino

    content = export(tiny_models[1], "openvino", "bf16").model
    monkeypatch.setattr(import_openvino().Core, "get_property", lambda self, device, name: ["FP32", "INT8"])
    with pytest.raises(EngineError, match="does not compute in bf16; compile the network for fp32"):
        open_engine("openvino", content, 1)


def test_nothing_is_reported_to_anybody() -> None:
    """OpenVINO and NNCF take their stubs, in a fresh process and with the package that would send installed or not."""
    program = (
        "from facette_runtime.engines.openvino import import_openvino\n"
        "import sys; import_openvino()\n"
        "from openvino.tools.ovc import telemetry_utils\n"
        "assert telemetry_utils.tm.__name__.endswith('telemetry_stub'), telemetry_utils.tm\n"
        "assert not [name for name in sys.modules if name.startswith('openvino_telemetry.')]\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


def _xml(content: bytes) -> bytes:
    return zipfile.ZipFile(io.BytesIO(content)).read("model.xml")
