"""dlib's face-recognition ResNet (dlib_face_recognition_resnet_model_v1), with every width and rank free so that pruned and
factorised versions fit too.

He et al., 2016, section 3.3, option A: shortcuts have no parameters; where a level halves the picture the shortcut is
a 2×2 average pooling and missing channels are zeros. dlib follows each convolution by a fixed affine layer; here it
is folded into the convolution, whose bias it becomes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from facette_runtime.manifest import Alignment

_ALONE_LEVEL = 4  # its first convolution makes one position of 4 × 4


@dataclass(frozen=True, slots=True)
class DlibResNetConfig:
    """Widths; the default is the original network: 5.61 M parameters, 271 M MACs.

    Attributes:
        streams: channels of the residual stream, by level. The first is also the stem's. They never shrink.
        blocks: residual blocks, by level. From the second level on, the first block halves the picture.
        inners: channels between a block's two convolutions, block by block through all levels.
        size: length of the embedding.
        ranks: through how few channels each convolution goes: the stem's, then two numbers a block; 0 leaves one whole. The stem
            becomes a 7×7 convolution and a 1×1 after it, all others a 1×1 and the 3×3 after it; another 1×1 where a single position
            is left, whose neighbours are all padding. Empty: all are whole.
    """

    streams: tuple[int, ...] = (32, 64, 128, 256, 256)
    blocks: tuple[int, ...] = (3, 4, 3, 3, 1)
    inners: tuple[int, ...] = (32,) * 3 + (64,) * 4 + (128,) * 3 + (256,) * 4
    size: int = 128
    ranks: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if len(self.streams) != len(self.blocks):
            raise ValueError(f"streams and blocks must be as many, but got {self.streams} and {self.blocks}")
        if list(self.streams) != sorted(self.streams):
            raise ValueError(f"streams must not shrink, but got {self.streams}")
        if not all(self.blocks[1:]):
            raise ValueError(f"blocks: each level after the first needs one, but got {self.blocks}")
        if len(self.inners) != sum(self.blocks):
            raise ValueError(f"inners must have one number for each of {sum(self.blocks)} blocks, but got {self.inners}")
        if len(self.ranks) not in (0, 1 + 2 * len(self.inners)):
            raise ValueError(f"ranks must have one number for the stem and two for each block, or none, but got {self.ranks}")

    def inners_of(self, level: int) -> tuple[int, ...]:
        """The part of ``inners`` that belongs to a level, counted from 0."""
        start = sum(self.blocks[:level])
        return self.inners[start : start + self.blocks[level]]

    def ranks_of(self, level: int) -> tuple[tuple[int, int], ...]:
        """The ranks of a level's blocks, counted from 0."""
        ranks = self.ranks or (0,) * (1 + 2 * len(self.inners))
        start = sum(self.blocks[:level])
        return tuple((ranks[1 + 2 * block], ranks[2 + 2 * block]) for block in range(start, start + self.blocks[level]))


class Block(nn.Module):
    """relu(shortcut(x) + conv(relu(conv(x)))); with ``down`` the first convolution strides 2 without padding.

    ``alone``: it leaves a single position.
    """

    def __init__(
        self, inputs: int, inner: int, outputs: int, *, down: bool, alone: bool = False, ranks: tuple[int, int] = (0, 0)
    ) -> None:
        super().__init__()
        self.down = down
        self.missing = outputs - inputs
        self.conv1 = conv3x3(inputs, inner, 2 if down else 1, 0 if down else 1, ranks[0])
        self.conv2 = conv1x1(inner, outputs, ranks[1]) if alone and ranks[1] else conv3x3(inner, outputs, 1, 1, ranks[1])

    def forward(self, x: Tensor) -> Tensor:
        return self.before_relu(x).relu()

    def before_relu(self, x: Tensor) -> Tensor:
        """The sum of shortcut and convolutions."""
        shortcut = self.shortcut(x)
        return shortcut + fill_up(self.conv2(self.conv1(x).relu()), shortcut)

    def shortcut(self, x: Tensor) -> Tensor:
        """What is added to the block's second convolution: x, or x pooled 2×2 and filled up with channels of zeros."""
        if self.down:
            x = F.avg_pool2d(x, 2)
        return F.pad(x, (0, 0, 0, 0, 0, self.missing)) if self.missing else x


def stem7x7(outputs: int, rank: int) -> nn.Conv2d | nn.Sequential:
    """The first convolution, of whose ``rank`` channels a 1×1 convolution makes the outputs; 0: of the outputs themselves."""
    if not rank:
        return nn.Conv2d(3, outputs, 7, 2)
    return nn.Sequential(nn.Conv2d(3, rank, 7, 2, bias=False), nn.Conv2d(rank, outputs, 1))


def conv3x3(inputs: int, outputs: int, stride: int, padding: int, rank: int) -> nn.Conv2d | nn.Sequential:
    """A 3×3 convolution, of ``rank`` channels that a 1×1 convolution makes of the inputs; 0: of the inputs themselves."""
    if not rank:
        return nn.Conv2d(inputs, outputs, 3, stride, padding)
    return nn.Sequential(nn.Conv2d(inputs, rank, 1, bias=False), nn.Conv2d(rank, outputs, 3, stride, padding))


def conv1x1(inputs: int, outputs: int, rank: int) -> nn.Sequential:
    """What is left of a 3×3 convolution of ``rank`` channels where there is a single position: only its middle meets a value."""
    return nn.Sequential(nn.Conv2d(inputs, rank, 1, bias=False), nn.Conv2d(rank, outputs, 1))


def filters(layer: nn.Module) -> Tensor:
    """The filters [outputs, inputs, k, k] of a convolution, or of the one that two in a row amount to."""
    if isinstance(layer, nn.Conv2d):
        return layer.weight
    assert isinstance(layer, nn.Sequential)
    first, second = layer[0].weight, layer[1].weight
    # One of the two is 1×1, so its position sums away.
    return torch.einsum("orab,ricd->oiacbd", second, first).flatten(4, 5).flatten(2, 3)


def fill_up(y: Tensor, shortcut: Tensor) -> Tensor:
    """Fills y up with zeros, right and below: 8 pixels become 3 by convolution but 4 by pooling."""
    below, right = shortcut.shape[2] - y.shape[2], shortcut.shape[3] - y.shape[3]
    return F.pad(y, (0, right, 0, below)) if below or right else y


fx.wrap("fill_up")  # it asks for shapes, so a trace must take it as it stands


class DlibResNet(nn.Module):
    """Input float32 [n, 3, 150, 150], RGB, (pixel − (122.782, 117.001, 104.298)) / 256; output float32 [n, size], not
    normalised.

    dlib compares un-normalised embeddings by Euclidean distance: below 0.6 two faces are taken for the same person.
    """

    def __init__(self, config: DlibResNetConfig = DlibResNetConfig()) -> None:
        super().__init__()
        self.config = config
        self.stem = stem7x7(config.streams[0], config.ranks[0] if config.ranks else 0)
        self.levels = nn.ModuleList()
        inputs = config.streams[0]
        for level, outputs in enumerate(config.streams):
            blocks = nn.Sequential()
            for index, (inner, ranks) in enumerate(zip(config.inners_of(level), config.ranks_of(level), strict=True)):
                down = level > 0 and index == 0
                blocks.append(Block(inputs, inner, outputs, down=down, alone=down and level == _ALONE_LEVEL, ranks=ranks))
                inputs = outputs
            self.levels.append(blocks)
        self.embedding = nn.Linear(inputs, config.size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        embedding: Tensor = self.embedding(self.stream(x, len(self.levels)).mean((2, 3)))
        return embedding

    def stream(self, x: Tensor, levels: int) -> Tensor:
        """The residual stream after the first ``levels`` levels: 35, 35, 17, 8, 4 and at last 2 pixels wide."""
        x = F.max_pool2d(self.stem(x).relu(), 3, 2)
        for level in self.levels[:levels]:
            x = level(x)
        return x


IMAGE_MEAN_RGB = (122.782, 117.001, 104.298)
IMAGE_SCALE = 1 / 256
CHIP_SIZE = 150
CHIP_PADDING = 0.25
# dlib's mean face in the unit square: eye centres, nose tip, mouth corners; the subject's right side first.
MEAN_FACE_XY = ((0.2255, 0.2160), (0.7548, 0.2160), (0.4901, 0.5156), (0.2541, 0.7802), (0.7261, 0.7802))


def chip_alignment(size: int = CHIP_SIZE, padding: float = CHIP_PADDING) -> Alignment:
    """Where dlib's face chip has the five landmarks.

    Args:
        size: side of the square crop in pixels.
        padding: border on each side, as a part of the unit face.
    """
    scale = size / (1 + 2 * padding)
    template = tuple(((padding + x) * scale, (padding + y) * scale) for x, y in MEAN_FACE_XY)
    return Alignment((size, size), template)
