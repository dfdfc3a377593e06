"""A network in an engine's own format."""

from __future__ import annotations

from dataclasses import dataclass

from facette_runtime.manifest import Precision

SUFFIX = {"onnxruntime": ".onnx", "litert": ".tflite", "openvino": ".openvino", "tensorrt": ".trt.onnx"}
"""File name ending by engine."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """What an exporter gives.

    Attributes:
        engine: which runs it.
        precision, form: how it was written.
        model: the file's bytes. Its input ``image`` is uint8 [n, height, width, 3]; its outputs are named as the model's.
    """

    engine: str
    precision: Precision
    form: str
    model: bytes

    @property
    def label(self) -> str:
        """A short name for tables."""
        return f"{self.engine} {self.precision} {self.form}"
