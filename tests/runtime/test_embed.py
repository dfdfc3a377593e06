"""Batching must not change what comes out."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from facette_runtime.embed import Embedder, normalize
from facette_runtime.engines import open_engine
from tests.runtime import bundles

CROPS = list(np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), dtype=np.uint8))


def _embedder(batch: int | None) -> Embedder:
    network = {
        "inputs": [{**bundles.EMBEDDER_NETWORK["inputs"][0], "shape": [batch, 16, 16, 3]}],
        "outputs": [{**bundles.EMBEDDER_NETWORK["outputs"][0], "shape": [batch, 8]}],
    }
    entry = replace(bundles.EMBEDDER, input=replace(bundles.EMBEDDER.input, batch=batch))
    return Embedder(open_engine("null", json.dumps(network).encode(), 1), entry)


@pytest.mark.parametrize("batch", [None, 1, 2, 5, 8])
@pytest.mark.parametrize("count", [0, 1, 4, 5])
def test_any_batch_gives_the_same_rows(batch: int | None, count: int) -> None:
    rows = _embedder(batch)(CROPS[:count])
    assert rows.shape == (count, 8)
    assert rows.dtype == np.float32
    for row, crop in zip(rows, CROPS, strict=False):
        np.testing.assert_allclose(row, _embedder(1)([crop])[0], rtol=1e-6)


def test_rows_have_length_one_and_zero_stays_zero() -> None:
    rows = normalize(np.array([[3, 4], [0, 0]], np.float32))
    np.testing.assert_allclose(rows, [[0.6, 0.8], [0, 0]])
