"""Smaller pictures: an embedder is fed fewer pixels, so that every layer that slides over them multiplies less.

The second of MobileNet's two multipliers (Howard et al., "MobileNets", 2017, section 3.4). No weight is lost, so the network
recovers sooner than from a cut to the same cost, and stays as large in memory. Training follows (`facette.passes.distil`): the
teacher goes on seeing the large pictures.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from facette.model import Model
from facette.pruning.feed import watching
from facette.resample import in_pixels
from facette_runtime.errors import FacetteError


@dataclass(frozen=True, slots=True)
class ShrinkInput:
    """Settings of `shrink_input`.

    Attributes:
        side: of the new picture, in pixels.
    """

    side: int
    kind: Literal["shrink-input"] = "shrink-input"


def shrink_input(model: Model, settings: ShrinkInput) -> Model:
    """Feeds an embedder the same crop in fewer pixels.

    A convolution whose kernel covers the whole of its picture (a global depthwise one) gets a smaller kernel of the same sum;
    layers that slide, and pooling, stay as they are.

    Args:
        model: an embedder in torch with square pictures.
        settings: how small.

    Returns:
        A model with a new network, input size and alignment; the old one is left as it was.

    Raises:
        FacetteError: the network is a detector or an ONNX file, its picture isn't square or no larger than ``side``, or a layer
            has weights for each place of its picture and is no convolution.
    """
    if model.alignment is None:
        raise FacetteError(f"{model.name}: is a detector, whose pictures are made smaller by the recipe's input_size")
    if not isinstance(model.network, nn.Module):
        raise FacetteError(f"{model.name}: only a torch network can take smaller pictures, not an ONNX file")
    width, height = model.image.size_wh
    if width != height or not 0 < settings.side < width:
        raise FacetteError(
            f"{model.name}: its pictures are {width}x{height}; shrink-input makes square ones smaller, side 1 to {width - 1}"
        )
    network = copy.deepcopy(model.network).eval()
    image = replace(model.image, size_wh=(settings.side, settings.side))
    covering = _covering(network, model.image.blank)
    try:
        with torch.no_grad(), _resampling(covering):
            network(image.blank)
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise FacetteError(f"{model.name}: does not work on pictures of {settings.side}x{settings.side}: {reason}") from error
    return replace(model, network=network, image=image, alignment=in_pixels(model.alignment, settings.side), statistics=None)


def _covering(network: nn.Module, picture: Tensor) -> list[nn.Conv2d]:
    """The convolutions that see all of their picture at once."""
    found: list[nn.Conv2d] = []

    def look(_name: str, layer: nn.Module, given: Tensor, _output: Tensor) -> None:
        assert isinstance(layer, nn.Conv2d)
        if layer.kernel_size == tuple(given.shape[2:]) != (1, 1) and layer.padding in ((0, 0), "valid"):
            found.append(layer)

    with torch.no_grad(), watching(network, (nn.Conv2d,), look):
        network(picture)
    return found


@contextmanager
def _resampling(layers: Sequence[nn.Conv2d]) -> Iterator[None]:
    """Gives each of these layers a kernel of the size of its picture when it is about to run."""
    handles = [layer.register_forward_pre_hook(_resample) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _resample(layer: nn.Conv2d, given: tuple[Tensor]) -> None:
    """Gives the layer the kernel that answers to a small picture as the old one did to the same picture made large again."""
    height, width = given[0].shape[2:]
    single = torch.eye(height * width).view(-1, 1, height, width)
    enlarged = F.interpolate(single, layer.kernel_size, mode="bilinear")[:, 0]
    kernel = torch.einsum("oihw,phw->oip", layer.weight, enlarged)
    layer.weight = nn.Parameter(kernel.reshape(*kernel.shape[:2], height, width))
    layer.kernel_size = (height, width)
