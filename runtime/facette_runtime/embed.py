"""From aligned crops to templates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from facette_runtime.engines.base import Engine
from facette_runtime.manifest import EmbedderEntry
from facette_runtime.preprocess import to_network
from facette_runtime.types import FloatArray, Image


class Embedder:
    """Turns aligned crops into L2-normalised embeddings.

    Args:
        engine: a network with one output, ``embedding`` [n, d].
        entry: its manifest entry.
    """

    def __init__(self, engine: Engine, entry: EmbedderEntry) -> None:
        self._engine = engine
        self._entry = entry

    @property
    def engine(self) -> str:
        """The name of what runs the network."""
        return self._engine.name

    def __call__(self, crops_bgr: Sequence[Image]) -> FloatArray:
        """Embeds n crops, as many a call as the network takes.

        Args:
            crops_bgr: uint8 [crop height, crop width, 3] each, BGR.

        Returns:
            float32 [n, d], each row of length one.
        """
        if not crops_bgr:
            return np.zeros((0, self._entry.decoder.size), np.float32)
        pixels = np.stack([to_network(crop, self._entry.input.color_order) for crop in crops_bgr])
        step = self._entry.input.batch or len(pixels)
        chunks = [self._run(pixels[start : start + step], step) for start in range(0, len(pixels), step)]
        return normalize(np.concatenate(chunks))

    def _run(self, pixels: Image, batch: int) -> FloatArray:
        count = len(pixels)
        if count < batch:  # a fixed batch is filled up, and what the filling gives is dropped
            pixels = np.concatenate([pixels, np.zeros((batch - count, *pixels.shape[1:]), np.uint8)])
        return self._engine.run({self._entry.input.name: pixels})["embedding"][:count]


def normalize(embeddings: FloatArray) -> FloatArray:
    """Scales each row of float [n, d] to length one; a row of zeros stays zero."""
    lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
    return (embeddings / np.maximum(lengths, 1e-12)).astype(np.float32)
