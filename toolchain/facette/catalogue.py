"""The networks that Facette knows by name: how each is built, fed and read, and under which licence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from torch import nn

from facette.model import ImageSpec
from facette.nets.dlib_resnet import CHIP_SIZE, IMAGE_MEAN_RGB, IMAGE_SCALE, DlibResNet, DlibResNetConfig, chip_alignment
from facette.nets.facette_detect import MEAN, SCALE, FacetteDetect, FacetteDetectConfig
from facette.nets.mobilefacenet import MobileFaceNet
from facette.nets.retinaface import RetinaFace
from facette.nets.vgg import Vgg16
from facette.zoo import load_card
from facette_runtime.manifest import Alignment, AnchorDecoder, EmbeddingDecoder, Letterbox, Licence, PointDecoder
from facette_runtime.schema import from_dict

T = TypeVar("T")

ARCFACE_112 = Alignment(
    size_wh=(112, 112),
    template_xy=((38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)),
)
"""The usual 112×112 template (Deng et al., "ArcFace", 2019; InsightFace's coordinates)."""

DLIB_IMAGE = ImageSpec((CHIP_SIZE, CHIP_SIZE), "rgb", IMAGE_MEAN_RGB, (IMAGE_SCALE, IMAGE_SCALE, IMAGE_SCALE))
"""What dlib's network and those made from it are fed."""


@dataclass(frozen=True)
class Entry:
    """One known network.

    Attributes:
        build: gives the module with random weights.
        image, decoder: how it is fed and read.
        letterbox: a detector's.
        alignment: an embedder's.
        licences: of the weights that usually go with it, where they don't come with Facette.
        in_zoo: whether its weights and card come with Facette.
    """

    build: Callable[[], nn.Module]
    image: ImageSpec
    decoder: AnchorDecoder | PointDecoder | EmbeddingDecoder
    letterbox: Letterbox | None = None
    alignment: Alignment | None = None
    licences: tuple[Licence, ...] = ()
    in_zoo: bool = False


def _widths(cls: type[T], name: str) -> T:
    """The configuration on a card."""
    return from_dict(cls, load_card(name).widths, f"{name}'s card: widths")


def _cut_dlib(name: str) -> Entry:
    """dlib's network with the widths on a card."""
    return Entry(
        build=lambda: DlibResNet(_widths(DlibResNetConfig, name)),
        image=DLIB_IMAGE,
        decoder=EmbeddingDecoder("embedding", 128),
        alignment=chip_alignment(),
        in_zoo=True,
    )


CATALOGUE: dict[str, Entry] = {
    "facette-detect": Entry(
        build=lambda: FacetteDetect(_widths(FacetteDetectConfig, "facette-detect")),
        image=ImageSpec((320, 240), "bgr", (MEAN, MEAN, MEAN), (SCALE, SCALE, SCALE)),
        decoder=PointDecoder("points", strides=(8, 16, 32)),
        letterbox=Letterbox(pad_bgr=(127, 127, 127)),
        in_zoo=True,
    ),
    "facette-embed": _cut_dlib("facette-embed"),
    "facette-embed-xs": _cut_dlib("facette-embed-xs"),
    "retinaface-mobilenet025": Entry(
        build=RetinaFace,
        image=ImageSpec((320, 320), "bgr", (104.0, 117.0, 123.0), (1.0, 1.0, 1.0)),
        decoder=AnchorDecoder("anchors", (8, 16, 32), ((10, 20), (32, 64), (128, 256)), (0.1, 0.2)),
        letterbox=Letterbox(pad_bgr=(104, 117, 123), upscale=False),
        licences=(
            Licence("weights: retinaface-mobilenet025", "MIT", True, "the public PyTorch port's weights"),
            Licence("data: retinaface-mobilenet025", "WIDER FACE", False, "photographs from the web, for research"),
        ),
    ),
    "mobilefacenet-y1": Entry(
        build=MobileFaceNet,
        image=ImageSpec((112, 112), "rgb", (127.5, 127.5, 127.5), (1 / 128, 1 / 128, 1 / 128)),
        decoder=EmbeddingDecoder("embedding", 128),
        alignment=ARCFACE_112,
        licences=(
            Licence("weights: mobilefacenet-y1", "InsightFace model licence", False, "non-commercial research only"),
            Licence("data: mobilefacenet-y1", "MS1M", False, "photographs of celebrities from the web, for research"),
        ),
    ),
    "dlib-resnet": Entry(
        build=DlibResNet,
        image=DLIB_IMAGE,
        decoder=EmbeddingDecoder("embedding", 128),
        alignment=chip_alignment(),
        licences=(Licence("weights: dlib-resnet", "CC0-1.0", True, "Davis King put the model into the public domain"),),
    ),
    "vgg16-face": Entry(
        build=Vgg16,
        image=ImageSpec((224, 224), "rgb", (129.2, 104.8, 93.6), (1.0, 1.0, 1.0)),
        decoder=EmbeddingDecoder("embedding", 4096),
        alignment=Alignment((224, 224), tuple((2 * x, 2 * y) for x, y in ARCFACE_112.template_xy)),
    ),
}
