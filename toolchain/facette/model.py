"""A network on its way to a device: the torch module, what it is fed, and how its outputs are read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from facette.zoo.statistics import Statistics
from facette_runtime.manifest import Alignment, ColorOrder, DetectorDecoder, EmbeddingDecoder, Letterbox, Licence

DETECTOR_OUTPUTS = ("boxes", "scores", "landmarks")
EMBEDDER_OUTPUTS = ("embedding",)


@dataclass(frozen=True, slots=True)
class ImageSpec:
    """What a network was trained on: float32 NCHW, ``(pixel - mean) * scale``, channels in ``color_order``.

    Attributes:
        size_wh: width and height in pixels.
        color_order: order of the three channels, and of ``mean`` and ``scale``.
        mean, scale: per channel, in pixel levels 0..255.
    """

    size_wh: tuple[int, int]
    color_order: ColorOrder
    mean: tuple[float, float, float]
    scale: tuple[float, float, float]

    @property
    def blank(self) -> Tensor:
        """One input of zeros, float32 [1, 3, h, w], for what only its shape decides."""
        width, height = self.size_wh
        return torch.zeros(1, 3, height, width)


@dataclass(frozen=True)
class Model:
    """A network and everything that must stay true about it through every pass.

    Attributes:
        name: for people and file names.
        network: a torch module in eval mode taking float32 [n, 3, h, w], or the path of a user's ONNX file that takes the same.
        image: its input.
        decoder: how its outputs are read; a detector gives `DETECTOR_OUTPUTS`, an embedder `EMBEDDER_OUTPUTS`.
        letterbox: a detector's; None for an embedder.
        alignment: an embedder's; None for a detector.
        licences: of its weights and of the data that they were trained on.
        digest: sha256 of the weights file that it came from.
        form: how its graph differs from the stock network, e.g. "stock", "dw2".
        match_threshold: the cosine threshold on the network's card, if it has one, and where it was measured.
        statistics: activation ranges kept with the weights, for int8 without data; None where there are none, and after a pass that
            changes what the network computes.
        onnx_outputs: names of a user's ONNX outputs in the order of `output_names`; empty when the file has them in that order.
    """

    name: str
    network: nn.Module | Path
    image: ImageSpec
    decoder: DetectorDecoder | EmbeddingDecoder
    letterbox: Letterbox | None
    alignment: Alignment | None
    licences: tuple[Licence, ...]
    digest: str
    form: str = "stock"
    match_threshold: tuple[float, str] | None = None
    statistics: Statistics | None = None
    onnx_outputs: tuple[str, ...] = ()

    @property
    def output_names(self) -> tuple[str, ...]:
        """Names of the graph's outputs, in order."""
        return EMBEDDER_OUTPUTS if isinstance(self.decoder, EmbeddingDecoder) else DETECTOR_OUTPUTS
