"""What a quantizer hands to the exporters: ranges, repaired weights, and the layers that stay in float."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from facette.calibration import Quantization
from facette.forms import graph_forms
from facette.model import Model
from facette.quantizer import Quantizer
from facette_runtime.errors import FacetteError
from tests.toolchain.quantizing import layers, pictures


def ignore(line: str) -> None:
    """For what is told on the way."""


@pytest.fixture
def quantizer(tiny_models: tuple[Model, Model], monkeypatch: pytest.MonkeyPatch) -> Quantizer:
    faces = pictures(16, seed=1)
    monkeypatch.setattr("facette.quantizer.calibration_pictures", lambda *given, **named: faces)
    return Quantizer(tiny_models[1], None, Path("faces.zip"), 16, ignore)


def test_the_share_names_layers_of_every_graph_form(quantizer: Quantizer, tiny_models: tuple[Model, Model]) -> None:
    sizes = []
    for share in (0.0, 0.3, 1.0):
        for form in graph_forms(tiny_models[1]):
            kept = quantizer.calibrate(form, "onnxruntime", Quantization("min-max", float_share=share)).keep_float
            assert kept <= layers(form).keys()
        sizes.append(len(kept))
    assert sizes[0] == 0 < sizes[1] < sizes[2]


def test_layers_in_float_need_faces_and_a_torch_module(tiny_models: tuple[Model, Model], quantizer: Quantizer) -> None:
    form, mixed = graph_forms(tiny_models[1])[0], Quantization("min-max", float_share=0.3)
    with pytest.raises(FacetteError, match="30% float: needs faces"):
        Quantizer(tiny_models[1], None, None, 16, ignore).calibrate(form, "onnxruntime", mixed)
    file = replace(tiny_models[1], network=Path("network.onnx"))
    with pytest.raises(FacetteError, match="layers of an ONNX file can't be kept in float"):
        Quantizer(file, None, Path("faces.zip"), 16, ignore).calibrate(form, "onnxruntime", mixed)
