"""Operators that a quantized network leaves in float are found and weighed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from facette.calibration import Calibration
from facette.export import export
from facette.islands import FloatIsland, float_islands
from facette.model import ImageSpec, Model
from facette_runtime.errors import FacetteError
from facette_runtime.manifest import EmbeddingDecoder

SIDE = 128
PICTURES = np.random.default_rng(0).integers(0, 256, (4, SIDE, SIDE, 3), np.uint8)


def quantized(engine: str) -> tuple[FloatIsland, ...]:
    """The islands of a network with an activation in its middle that no engine has in integers."""
    torch.manual_seed(0)
    layers = [
        nn.Conv2d(3, 8, 3, 2, 1),
        nn.Softplus(),
        nn.Conv2d(8, 16, 3, 2, 1),
        nn.ReLU(),
        nn.Conv2d(16, 8, 3, 2, 1),
        nn.Flatten(),
    ]
    model = Model(
        name="tiny",
        network=nn.Sequential(*layers, nn.Linear(8 * (SIDE // 8) ** 2, 8)).eval(),
        image=ImageSpec((SIDE, SIDE), "rgb", (127.5, 127.5, 127.5), (0.01, 0.01, 0.01)),
        decoder=EmbeddingDecoder("embedding", 8),
        letterbox=None,
        alignment=None,
        licences=(),
        digest="",
    )
    return float_islands(export(model, engine, "int8", Calibration(PICTURES, "noise")).model, engine)


def test_onnxruntime() -> None:
    islands = quantized("onnxruntime")
    assert {"DequantizeLinear", "QuantizeLinear", "Softplus"} <= {island.operator for island in islands}
    assert not any("Conv" in island.operator or "Gemm" in island.operator for island in islands)
    assert {island.engine for island in islands} == {"onnxruntime"}
    assert {island.elements for island in islands} == {8 * (SIDE // 2) ** 2}
    shares = [island.share for island in islands]
    assert all(share is not None and 0 < share < 1 for share in shares)
    assert sum(share or 0 for share in shares) < 1
    assert shares == sorted(shares, key=lambda share: -(share or 0))


def test_openvino() -> None:
    pytest.importorskip("openvino")
    pytest.importorskip("nncf")
    islands = quantized("openvino")
    assert [island.elements for island in islands if "softplus" in island.name.lower()] == [8 * (SIDE // 2) ** 2]
    assert all(island.engine == "openvino" and 0 < (island.share or 0) <= 1 for island in islands)


def test_unknown_engine_lists_the_known_ones() -> None:
    with pytest.raises(FacetteError, match="known: onnxruntime, litert, openvino"):
        float_islands(b"", "abacus")
