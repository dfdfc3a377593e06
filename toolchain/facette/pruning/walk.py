"""Goes through the uncut and the cut network side by side, layer by layer, without starting anew at the picture each time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from facette.pruning.cut import is_depthwise
from facette.pruning.feed import capture, watching
from facette.pruning.resume import find_checkpoints, finishing_order, resumed


class Walk:
    """Two networks at the same place.

    Args:
        networks: the uncut and the cut one, with the same names for the same modules.
        chunks: float32 [m, 3, h, w], the pictures in parts.
        x: float32 [1, 3, h, w], to find out how the networks run.

    Attributes:
        networks: both.
        positions: output pixels of each convolution and linear layer of the cut network, in the order in which they run; grouped
            convolutions that aren't depthwise are left out.
        pictures: how many there are.
    """

    def __init__(self, networks: tuple[nn.Module, nn.Module], chunks: Sequence[Tensor], x: Tensor) -> None:
        self.networks = networks
        self.pictures = sum(map(len, chunks))
        self.positions = _positions(networks[1], x)
        self._orders = [list(finishing_order(network, x)) for network in networks]
        both = set(find_checkpoints(networks[0], x))
        self._checkpoints = [name for name in find_checkpoints(networks[1], x) if name in both]
        self._at: str | None = None
        self._chunks = chunks
        self._values: list[list[Tensor]] = [[], []]

    def skipped_before(self, layer: str) -> bool:
        """Whether the uncut network has run layers by then that the cut one has no more."""
        earlier = self._orders[0][: self._orders[0].index(layer)]
        ours = set(self._orders[1])
        return any(name not in ours for name in earlier)

    def go_to(self, layer: str) -> None:
        """Moves to the last checkpoint before a layer."""
        earlier = set(self._orders[1][: self._orders[1].index(layer)])
        passed = [name for name in self._checkpoints if name in earlier]
        if passed and passed[-1] != self._at:
            values = [
                [self.see(which, chunk, {}, {"value": passed[-1]})["value"] for chunk in range(len(self._chunks))]
                for which in range(len(self.networks))
            ]
            self._at, self._values = passed[-1], values

    def see(self, which: int, chunk: int, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> dict[str, Tensor]:
        """What modules after the present place are given and give, by label.

        Args:
            which: 0 for the uncut network, 1 for the cut one.
            chunk: number of the part of the pictures.
            inputs, outputs: names of modules by label.
        """
        network = self.networks[which]
        wanted = [{label: network.get_submodule(name) for label, name in names.items()} for names in (inputs, outputs)]
        if self._at is None:
            return capture(network, self._chunks[chunk], *wanted)
        with resumed(network, self._orders[which], self._at, self._values[which][chunk]):
            return capture(network, self._chunks[chunk], *wanted)


def _positions(network: nn.Module, x: Tensor) -> dict[str, int]:
    """Output pixels of each convolution and linear layer, in the order in which they run; grouped ones are left as they are."""
    found: dict[str, int] = {}

    def observe(name: str, layer: nn.Module, _x: Tensor, y: Tensor) -> None:
        if not isinstance(layer, nn.Conv2d) or layer.groups == 1 or is_depthwise(layer):
            found[name] = y.shape[2] * y.shape[3] if y.ndim == 4 else 1

    with watching(network, (nn.Conv2d, nn.Linear), observe):
        network(x)
    return found
