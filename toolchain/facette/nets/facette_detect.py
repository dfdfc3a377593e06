"""Facette's own detector: single shot, anchor-free, five landmarks, 0.2 M parameters.

The parts are known ones. Depthwise-separable convolutions as in MobileNet (Howard et al., 2017, section 3.1), with a shortcut
where the shape stays (He et al., 2016, section 3.2); a feature pyramid with nearest upsampling (Lin et al., 2017, section 3); and
per-cell distances instead of anchors (FCOS, Tian et al., 2019, section 3.1), with heads of one depthwise convolution each, as small
face detectors for CPUs have them (YuNet, Wu et al., 2023, section 3); landmarks alone get a bottom-up path (Liu et al., 2018,
section 3.1) and towers. Every activation is a ReLU behind a batch norm, so that the
exported graph is convolutions alone; channels come in eights, which is how CPU engines block them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

STRIDES = (8, 16, 32)
"""Pixels a cell, by level."""

MEAN = 127.0
SCALE = 1 / 128
"""The network takes (pixel - MEAN) * SCALE, channels in the order BGR. A whole mean lets ONNX Runtime read bytes in one pass."""

TOWER = 96
"""Channels of the landmarks' towers."""

INITIAL_SCORE = 0.01
"""What every cell says before training; keeps the many background cells from drowning the first steps (Lin et al., 2017b, 3.3)."""

INITIAL_DISTANCE = 2.0
"""Box distances before training, in strides: away from zero, where the ReLU would pass no gradient."""


@dataclass(frozen=True, slots=True)
class FacetteDetectConfig:
    """Widths; the default is what training begins with.

    Attributes:
        channels: of the stem (stride 2) and of the stages of strides 4, 8, 16 and 32. The third is also the pyramid's.
    """

    channels: tuple[int, ...] = (16, 32, 64, 96, 128)

    def __post_init__(self) -> None:
        if len(self.channels) != 5:
            raise ValueError(f"channels must be five numbers, but got {self.channels}")


def _conv_bn(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(outputs)]


class Separable(nn.Module):
    """3×3 depthwise, ReLU, 1×1, shortcut where the shape stays, ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.depthwise = nn.Sequential(*_conv_bn(inputs, inputs, 3, stride, groups=inputs), nn.ReLU())
        self.pointwise = nn.Sequential(*_conv_bn(inputs, outputs, 1))
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = self.pointwise(self.depthwise(x))
        return torch.relu(x + y if self.residual else y)


class Backbone(nn.Module):
    """Features of strides 8, 16 and 32."""

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        stem, quarter, fine, middle, coarse = channels
        self.stem = nn.Sequential(*_conv_bn(3, stem, 3, 2), nn.ReLU())
        self.stage4 = nn.Sequential(Separable(stem, quarter, 2), Separable(quarter, quarter))
        self.stage8 = nn.Sequential(Separable(quarter, fine, 2), Separable(fine, fine), Separable(fine, fine))
        self.stage16 = nn.Sequential(Separable(fine, middle, 2), Separable(middle, middle), Separable(middle, middle))
        self.stage32 = nn.Sequential(Separable(middle, coarse, 2), Separable(coarse, coarse), Separable(coarse, coarse))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        fine = self.stage8(self.stage4(self.stem(x)))
        middle = self.stage16(fine)
        return fine, middle, self.stage32(middle)


class Pyramid(nn.Module):
    """Top-down path; all three levels leave with as many channels as the finest has."""

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        _, _, width, middle, coarse = channels
        self.lateral16 = nn.Sequential(*_conv_bn(middle, width, 1), nn.ReLU())
        self.lateral32 = nn.Sequential(*_conv_bn(coarse, width, 1), nn.ReLU())
        self.merge8, self.merge16, self.merge32 = (Separable(width, width) for _ in range(3))

    def forward(self, fine: Tensor, middle: Tensor, coarse: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        coarse = self.merge32(self.lateral32(coarse))
        lateral = self.lateral16(middle)
        middle = self.merge16(lateral + _double(coarse, like=lateral))
        return self.merge8(fine + _double(middle, like=fine)), middle, coarse


def _double(x: Tensor, like: Tensor) -> Tensor:
    """Nearest upsampling by exactly two, cut to ``like``'s size.

    A resize to that size would do too, but where a side is odd (240 rows at stride 16 are 15) it would shift the rows against
    each other in a way that never occurs while training on multiples of 32.
    """
    y = F.interpolate(x, scale_factor=2.0, mode="nearest")
    return y if y.shape[2:] == like.shape[2:] else y[:, :, : like.shape[2], : like.shape[3]]


fx.wrap("_double")  # it asks for shapes, so a trace must take it as it stands


class Head(nn.Module):
    """One 3×3 depthwise and one 1×1 convolution, read cell by cell: [n, cells, values]; about ``start`` before training."""

    def __init__(self, inputs: int, values: int, start: float) -> None:
        super().__init__()
        self.depthwise = nn.Sequential(*_conv_bn(inputs, inputs, 3, groups=inputs), nn.ReLU())
        self.output = nn.Conv2d(inputs, values, 1)
        nn.init.normal_(self.output.weight, std=0.01)
        assert self.output.bias is not None
        nn.init.constant_(self.output.bias, start)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.depthwise(x)).permute(0, 2, 3, 1).flatten(1, 2)


class LandmarkHeads(nn.Module):
    """The five landmarks of every cell, [n, cells, 10].

    Landmarks want finer features and more layers than boxes do. Faces that are large enough to show them are found on the two
    coarser levels, where layers cost least; the finest level makes do with a plain head.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.down16, self.down32 = (Separable(width, width, 2) for _ in range(2))
        self.head8 = Head(width, 10, 0.0)
        self.head16, self.head32 = (
            nn.Sequential(Separable(width, TOWER), Separable(TOWER, TOWER), Separable(TOWER, TOWER), Head(TOWER, 10, 0.0))
            for _ in range(2)
        )

    def forward(self, fine: Tensor, middle: Tensor, coarse: Tensor) -> Tensor:
        middle = middle + self.down16(fine)
        coarse = coarse + self.down32(middle)
        return torch.cat([self.head8(fine), self.head16(middle), self.head32(coarse)], dim=1)


class FacetteDetect(nn.Module):
    """Input float32 [n, 3, h, w], BGR, (pixel − 127) / 128; sides from 128 to 640.

    Output ``boxes`` [n, c, 4] (distances to left, top, right and bottom from the cell's centre, in strides, not negative),
    ``scores`` [n, c] in 0..1 and ``landmarks`` [n, c, 10] (offsets x, y from the cell's centre, in strides), cells in the order
    stride, row, column: to be read with `facette_runtime.manifest.PointDecoder`.
    """

    def __init__(self, config: FacetteDetectConfig | None = None) -> None:
        super().__init__()
        channels = (config or FacetteDetectConfig()).channels
        width = channels[2]
        self.backbone = Backbone(channels)
        self.pyramid = Pyramid(channels)
        prior = float(torch.logit(torch.tensor(INITIAL_SCORE)))
        self.score_heads = nn.ModuleList([Head(width, 1, prior) for _ in STRIDES])
        self.box_heads = nn.ModuleList([Head(width, 4, INITIAL_DISTANCE) for _ in STRIDES])
        self.landmark_heads = LandmarkHeads(width)

    def predict(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As `forward`, but scores as logits, which is what a loss wants."""
        levels = self.pyramid(*self.backbone(x))
        logits, boxes = (
            torch.cat([head(level) for head, level in zip(heads, levels, strict=True)], dim=1)
            for heads in (self.score_heads, self.box_heads)
        )
        return torch.relu(boxes), logits.squeeze(-1), self.landmark_heads(*levels)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        boxes, logits, landmarks = self.predict(x)
        return boxes, torch.sigmoid(logits), landmarks
