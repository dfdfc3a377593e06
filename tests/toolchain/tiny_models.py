"""The tiny networks as models, made once for a whole run: what is exported from them is kept by the exporters' own cache."""

from __future__ import annotations

from functools import cache

from facette.model import ImageSpec, Model
from facette_runtime.manifest import Alignment, EmbeddingDecoder, Letterbox, PointDecoder
from tests.toolchain import tiny


@cache
def tiny_detector() -> Model:
    """64×64 in, one cell level."""
    return Model(
        name="tiny-detector",
        network=tiny.detector().eval(),
        image=ImageSpec((64, 64), "bgr", (127.5, 127.5, 127.5), (0.01, 0.01, 0.01)),
        decoder=PointDecoder("points", (32,)),
        letterbox=Letterbox(),
        alignment=None,
        licences=(),
        digest="detector",
    )


@cache
def tiny_embedder() -> Model:
    """32×32 in, eight numbers out; the normalisation differs by channel."""
    template = ((10.0, 12.0), (22.0, 12.0), (16.0, 18.0), (12.0, 24.0), (20.0, 24.0))
    return Model(
        name="tiny-embedder",
        network=tiny.embedder(),
        image=ImageSpec((32, 32), "rgb", (120.0, 110.0, 100.0), (0.01, 0.02, 0.03)),
        decoder=EmbeddingDecoder("embedding", 8),
        letterbox=None,
        alignment=Alignment((32, 32), template),
        licences=(),
        digest="embedder",
    )
