"""LiteRT in fewer bits: bytes in, floats out, close to float, and no islands but those that are meant."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("litert_torch", reason="litert-torch is not installed (extra [litert])")

from ai_edge_litert.interpreter import Interpreter

from facette.calibration import Calibration, RangeMethod
from facette.export import export, litert_int8, observe
from facette.export.litert_graph import Graph, float_graph
from facette.islands.litert import litert_islands
from facette.model import ImageSpec, Model
from facette.passes.fold import fold_batch_norm
from facette.passes.lower import flip_steep_channels, lower_prelu
from facette.passes.trace import trace
from facette.reference import reference_engine
from facette_runtime.engines import open_engine
from facette_runtime.errors import FacetteError
from facette_runtime.manifest import EmbeddingDecoder, Precision
from tests.toolchain import tiny
from tests.toolchain.smooth import smooth_noise


def lowered(model: Model, form: str = "max") -> Model:
    traced = trace(model)
    assert traced is not None
    return lower_prelu(flip_steep_channels(fold_batch_norm(traced)), form)


def worst_cosine(model: Model, content: bytes) -> float:
    """On pictures that nothing was calibrated with."""
    engine, reference = open_engine("litert", content, 1), reference_engine(model)
    cosines = []
    for picture in smooth_noise(model, 8, seed=1):
        wanted, given = (each.run({"image": picture[None]})["embedding"][0] for each in (reference, engine))
        cosines.append(wanted @ given / np.linalg.norm(wanted) / np.linalg.norm(given))
    return float(min(cosines))


@pytest.fixture(scope="module")
def embedder() -> Model:
    """Each channel normalised in its own way; PReLUs as maxima. The same object for all tests, since converting takes seconds."""
    image = ImageSpec((32, 32), "rgb", (120.0, 110.0, 100.0), (0.01, 0.02, 0.03))
    return lowered(Model("tiny", tiny.embedder(), image, EmbeddingDecoder("embedding", 8), None, None, (), ""))


@pytest.fixture(scope="module")
def alike(embedder: Model) -> Model:
    """The same network with all channels normalised alike."""
    return replace(embedder, image=ImageSpec((32, 32), "rgb", (127.5, 127.5, 127.5), (0.01, 0.01, 0.01)))


@pytest.mark.parametrize("precision", ["fp16", "int8", "int8-dynamic", "int8-weights"])
def test_stays_close_to_float_with_bytes_in_and_floats_out(precision: Precision, embedder: Model) -> None:
    calibration = Calibration(smooth_noise(embedder, 16), "smooth noise")
    artifact = export(embedder, "litert", precision, calibration)
    assert (artifact.engine, artifact.precision, artifact.form) == ("litert", precision, "max")
    engine = open_engine("litert", artifact.model, 1)
    assert [(spec.name, spec.shape, spec.dtype) for spec in engine.inputs] == [("image", (1, 32, 32, 3), "uint8")]
    assert [(spec.name, spec.shape, spec.dtype) for spec in engine.outputs] == [("embedding", (1, 8), "float32")]
    assert 0.99 <= worst_cosine(embedder, artifact.model) < 1 - 1e-9


# Of a network this small with pictures this smooth, entropy clips more than it does of faces.
@pytest.mark.parametrize(("method", "least"), [("percentile", 0.98), ("entropy", 0.9), ("mse", 0.98)])
def test_other_ranges_stay_close_too_and_differ(method: RangeMethod, least: float, embedder: Model) -> None:
    shown = smooth_noise(embedder, 16)
    extremes = observe(embedder, "litert", Calibration(shown, "smooth noise"))
    ranges = observe(embedder, "litert", Calibration(shown, "smooth noise", method))
    assert ranges.keys() == extremes.keys()
    assert ranges != extremes
    slack = 1e-6
    assert all(extremes[name][0] - slack <= low <= 0 <= high <= extremes[name][1] + slack for name, (low, high) in ranges.items())
    content = export(embedder, "litert", "int8", Calibration(None, "kept", ranges=ranges)).model
    assert worst_cosine(embedder, content) >= least


def test_ranges_stand_in_for_the_pictures_bit_by_bit(embedder: Model) -> None:
    calibration = Calibration(smooth_noise(embedder, 4), "smooth noise")
    ranges = observe(embedder, "litert", calibration)
    from_ranges = export(embedder, "litert", "int8", Calibration(None, "kept", ranges=ranges)).model
    assert from_ranges == export(embedder, "litert", "int8", calibration).model
    darker = Calibration(smooth_noise(embedder, 4) // 4, "dark")
    assert from_ranges != export(embedder, "litert", "int8", darker).model


def test_ranges_are_those_of_the_float_network(embedder: Model) -> None:
    shown = smooth_noise(embedder, 4)
    ranges = observe(embedder, "litert", Calibration(shown, "smooth noise"))
    given = np.concatenate([reference_engine(embedder).run({"image": picture[None]})["embedding"] for picture in shown])
    wanted = (min(0, given.min()), max(0, given.max()))
    assert any(np.allclose(found, wanted, atol=1e-4) for found in ranges.values())


def test_nothing_but_the_output_is_float(embedder: Model, alike: Model) -> None:
    for model in (embedder, alike):
        content = export(model, "litert", "int8", Calibration(smooth_noise(model, 8), "smooth noise")).model
        assert [island.operator for island in litert_islands(content)] == ["DEQUANTIZE"]


def test_layers_stay_in_float_where_the_calibration_says_so(embedder: Model) -> None:
    """Found by their weights: dense, one channel a group, and linear."""
    whole = Calibration(smooth_noise(embedder, 16), "noise")
    for layer, kind in (("conv1", "CONV_2D"), ("conv2", "DEPTHWISE_CONV_2D"), ("embedding", "FULLY_CONNECTED")):
        content = export(embedder, "litert", "int8", replace(whole, keep_float=frozenset({layer}))).model
        assert kind in {island.operator for island in litert_islands(content)}
        assert worst_cosine(embedder, content) > 0.98
    other = replace(embedder, network=tiny.TinyEmbedder().eval())
    with pytest.raises(FacetteError, match="no operator for layer 'conv2'"):
        litert_int8._results_of(Graph(float_graph(embedder)), other, frozenset({"conv2"}))


def test_a_common_normalisation_is_the_inputs_quantization(alike: Model) -> None:
    grey = np.full((1, 32, 32, 3), 128, np.uint8)
    content = export(alike, "litert", "int8", Calibration(grey, "one grey picture")).model
    # Every level has its place, whatever the calibration saw.
    scale, zero = Interpreter(model_content=content).get_input_details()[0]["quantization"]
    assert (scale, zero) == (pytest.approx(0.01), 128)
    kinds = [Graph(content).kind(operator) for operator in Graph(content).graph.operators]
    assert "SUB" not in kinds
    assert worst_cosine(alike, export(alike, "litert", "int8", Calibration(smooth_noise(alike, 16), "smooth noise")).model) >= 0.99


def test_islands_name_an_operator_that_stays_in_float_with_its_cost(embedder: Model) -> None:
    class Waves(nn.Module):
        """A cosine, which has no integer kernel, between two convolutions."""

        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.before, self.after = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 8, 3, 2, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.after(torch.cos(self.before(x))).mean((2, 3))

    model = replace(embedder, network=Waves().eval())
    calibration = Calibration(smooth_noise(model, 4), "smooth noise")
    islands = {island.operator: island for island in litert_islands(export(model, "litert", "int8", calibration).model)}
    assert set(islands) == {"COS", "QUANTIZE", "DEQUANTIZE"}
    assert islands["COS"].elements == 16 * 16 * 4
    assert islands["COS"].engine == "litert"
    assert islands["COS"].share is not None
    assert 0 < islands["COS"].share <= 1
    assert litert_islands(export(model, "litert", "fp32").model) == ()


def test_maxima_and_concatenations_need_no_conversions(embedder: Model) -> None:
    class Joined(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.left, self.right = nn.Conv2d(3, 4, 3, 4), nn.Conv2d(3, 4, 3, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cat([self.left(x), 3 * self.right(x)], 1).mean((2, 3))

    for model in (embedder, replace(embedder, network=Joined().eval())):
        graph = Graph(export(model, "litert", "int8", Calibration(smooth_noise(model, 4), "smooth noise")).model)
        kinds = [graph.kind(operator) for operator in graph.graph.operators]
        assert {"MAXIMUM", "CONCATENATION"} & set(kinds)
        assert kinds.count("QUANTIZE") == 1  # the input's uint8 to int8


@pytest.mark.parametrize(
    ("calibration", "message"),
    [
        (None, "needs a calibration"),
        (Calibration(None, "nothing"), "needs calibration pictures, or ranges"),
        (Calibration(np.zeros((2, 8, 8, 3), np.uint8), "small"), r"must be \[n, 32, 32, 3\], but are \[2, 8, 8, 3\]"),
        (Calibration(None, "foreign", ranges={"conv": (0.0, 1.0)}), "those of another graph"),
    ],
)
def test_a_useless_calibration_is_refused(calibration: Calibration | None, message: str, embedder: Model) -> None:
    with pytest.raises(FacetteError, match=message):
        export(embedder, "litert", "int8", calibration)


def test_unknown_precision_lists_the_known_ones(embedder: Model) -> None:
    with pytest.raises(FacetteError, match="known: fp32, fp16, int8, int8-dynamic, int8-weights"):
        export(embedder, "litert", "bf16")
