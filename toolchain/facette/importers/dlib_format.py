"""Reads the file that dlib's C++ ``serialize`` writes for a neural network, without dlib.

The format is not documented; what follows was learnt from files. Integers are a control byte (low four bits: how many
bytes follow; high bit: negative) and little-endian magnitude. Floats are an integer mantissa and an integer power of
two. Booleans are the characters ``0`` and ``1``. Strings are a length and bytes. A tensor is a version (2), four
dimensions and raw float32. A network nests like its C++ type, loss first, and each layer writes the one below it
before itself: so the layers' parameters lie in the order in which a picture passes them.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

from facette_runtime.errors import FacetteError
from facette_runtime.types import FloatArray

# What each layer writes after its name: T its parameters, i an integer setting, a a view into the parameters (filters, biases),
# f a learning-rate or weight-decay multiplier.
_LAYOUTS = {
    "con_4": "Tiiiiiiiaaffff",
    "affine_": "Taai",
    "fc_2": "iiTaaiffff",
    "max_pool_2": "iiiiii",
    "avg_pool_2": "iiiiii",
    "relu_": "",
    "add_prev_": "",
}


@dataclass(frozen=True, slots=True)
class Layer:
    """One computing layer.

    Attributes:
        name: dlib's name with its version, e.g. "con_4", "affine_", "relu_".
        parameters: float32 [n], flat as in the file; empty for a layer without any.
        settings: its integer settings in the file's order, e.g. filters, kernel, stride and padding of a convolution.
    """

    name: str
    parameters: FloatArray
    settings: tuple[int, ...]


class DlibFile:
    """A cursor over the file's bytes.

    Args:
        data: the whole file.

    Every method raises FacetteError where the bytes are not what the format asks for.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def integer(self) -> int:
        control = self._take(1)[0]
        if control & 0x70 or not 1 <= control & 0x0F <= 8:
            raise FacetteError(f"not a dlib network file: no integer at byte {self._at - 1}")
        value = int.from_bytes(self._take(control & 0x0F), "little")
        return -value if control & 0x80 else value

    def integers(self, count: int) -> tuple[int, ...]:
        return tuple(self.integer() for _ in range(count))

    def floating(self) -> float:
        mantissa, exponent = self.integers(2)
        return mantissa * 2.0**exponent

    def boolean(self) -> bool:
        value = self._take(1)
        if value not in (b"0", b"1"):
            raise FacetteError(f"not a dlib network file: no boolean at byte {self._at - 1}")
        return value == b"1"

    def text(self) -> str:
        return self._take(self.integer()).decode("ascii", "replace")

    def tensor(self) -> FloatArray:
        self._version(2)
        count = int(np.prod(self.integers(4)))
        return np.array(struct.unpack(f"<{count}f", self._take(4 * count)), np.float32)

    def network(self) -> tuple[Layer, ...]:
        """All computing layers from input to output; loss, tags and training state are passed over."""
        self._version(1)
        if self.text() != "loss_metric_2":
            raise FacetteError("not dlib's face-recognition network: its loss is not loss_metric_2")
        self.floating(), self.floating()  # margin and distance threshold
        layers: list[Layer] = []
        self._subnet(layers)
        if self._at != len(self._data):
            raise FacetteError(f"not dlib's face-recognition network: {len(self._data) - self._at} bytes too many")
        return tuple(layers)

    def _subnet(self, layers: list[Layer]) -> None:
        version = self.integer()
        if version == 1:  # a tag, or a skip to one: names a point of the graph and holds nothing
            self._subnet(layers)
            return
        if version == 3:  # the first layer, on the picture itself
            self._input()
        elif version == 2:
            self._subnet(layers)
        else:
            raise FacetteError(f"not a dlib network file: layer version {version}")
        layers.append(self._layer())
        self.boolean(), self.boolean(), self.boolean()  # set up, gradient stale, gradient disabled
        self.tensor(), self.tensor(), self.tensor()  # gradients and cached output, empty in a released file
        if version == 3:
            self.integer()  # sample expansion

    def _input(self) -> None:
        if self.text() != "input_rgb_image_sized":
            raise FacetteError("not dlib's face-recognition network: its input is not input_rgb_image_sized")
        mean = tuple(round(self.floating(), 3) for _ in range(3))
        size = self.integers(2)
        if mean != (122.782, 117.001, 104.298) or size != (150, 150):
            raise FacetteError(f"not dlib's face-recognition network: mean {mean}, size {size}")

    def _layer(self) -> Layer:
        name = self.text()
        if name not in _LAYOUTS:
            raise FacetteError(f"dlib layer {name!r} is not known; known: {', '.join(_LAYOUTS)}")
        parameters = np.zeros(0, np.float32)
        settings = []
        for kind in _LAYOUTS[name]:
            if kind == "T":
                parameters = self.tensor()
            elif kind == "i":
                settings.append(self.integer())
            elif kind == "f":
                self.floating()
            else:
                self._alias()
        return Layer(name, parameters, tuple(settings))

    def _alias(self) -> None:
        self._version(1)
        self.integers(4)

    def _version(self, wanted: int) -> None:
        found = self.integer()
        if found != wanted:
            raise FacetteError(f"not a dlib network file: version {found} before byte {self._at}, expected {wanted}")

    def _take(self, count: int) -> bytes:
        if self._at + count > len(self._data):
            raise FacetteError("dlib network file: truncated")
        self._at += count
        return self._data[self._at - count : self._at]
