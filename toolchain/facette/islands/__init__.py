"""What a quantized network leaves in float, and what it costs."""

from __future__ import annotations

from facette.islands.island import FloatIsland
from facette_runtime.errors import FacetteError

__all__ = ["FloatIsland", "float_islands"]


def float_islands(content: bytes, engine: str) -> tuple[FloatIsland, ...]:
    """Every operator of a quantized network that computes in float, or only converts between float and integers; dearest first.

    Args:
        content: an exported network.
        engine: which runs it.

    Raises:
        FacetteError: an engine that does not tell what it runs, or one that refuses the network.
    """
    # Imported here because each needs its engine.
    if engine == "onnxruntime":
        from facette.islands.onnx import onnx_islands

        return onnx_islands(content)
    if engine == "litert":
        from facette.islands.litert import litert_islands

        return litert_islands(content)
    if engine == "openvino":
        from facette.islands.openvino import openvino_islands

        return openvino_islands(content)
    raise FacetteError(f"no list of float operators for engine {engine!r}; known: onnxruntime, litert, openvino")
