"""RetinaFace with a MobileNet-0.25 backbone (Deng et al., 2019; layer names of the public PyTorch port's weights)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

FEATURES = 64
ANCHORS = 2


def _conv_bn(inputs: int, outputs: int, kernel: int, stride: int = 1, *, active: bool = True) -> nn.Sequential:
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
    ]
    return nn.Sequential(*layers, nn.ReLU()) if active else nn.Sequential(*layers)


def _separable(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs, bias=False),
        nn.BatchNorm2d(inputs),
        nn.ReLU(),
        nn.Conv2d(inputs, outputs, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


class MobileNetQuarter(nn.Module):
    """MobileNet v1 with a quarter of its channels; gives the features of strides 8, 16 and 32."""

    def __init__(self) -> None:
        super().__init__()
        self.stage1 = nn.Sequential(
            _conv_bn(3, 8, 3, 2),
            _separable(8, 16, 1),
            _separable(16, 32, 2),
            _separable(32, 32, 1),
            _separable(32, 64, 2),
            _separable(64, 64, 1),
        )
        self.stage2 = nn.Sequential(_separable(64, 128, 2), *[_separable(128, 128, 1) for _ in range(5)])
        self.stage3 = nn.Sequential(_separable(128, 256, 2), _separable(256, 256, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        fine = self.stage1(x)
        middle = self.stage2(fine)
        return fine, middle, self.stage3(middle)


class FeaturePyramid(nn.Module):
    """Top-down path with nearest upsampling (Lin et al., 2017, section 3)."""

    def __init__(self) -> None:
        super().__init__()
        self.output1 = _conv_bn(64, FEATURES, 1)
        self.output2 = _conv_bn(128, FEATURES, 1)
        self.output3 = _conv_bn(256, FEATURES, 1)
        self.merge1 = _conv_bn(FEATURES, FEATURES, 3)
        self.merge2 = _conv_bn(FEATURES, FEATURES, 3)

    def forward(self, fine: Tensor, middle: Tensor, coarse: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        fine, middle, coarse = self.output1(fine), self.output2(middle), self.output3(coarse)
        middle = self.merge2(middle + F.interpolate(coarse, size=middle.shape[2:], mode="nearest"))
        fine = self.merge1(fine + F.interpolate(middle, size=fine.shape[2:], mode="nearest"))
        return fine, middle, coarse


class ContextModule(nn.Module):
    """SSH's context module: 3×3, 5×5 and 7×7 fields from stacked 3×3 convolutions (Najibi et al., 2017, section 3.3)."""

    def __init__(self) -> None:
        super().__init__()
        quarter = FEATURES // 4
        self.conv3X3 = _conv_bn(FEATURES, FEATURES // 2, 3, active=False)
        self.conv5X5_1 = _conv_bn(FEATURES, quarter, 3)
        self.conv5X5_2 = _conv_bn(quarter, quarter, 3, active=False)
        self.conv7X7_2 = _conv_bn(quarter, quarter, 3)
        self.conv7x7_3 = _conv_bn(quarter, quarter, 3, active=False)

    def forward(self, x: Tensor) -> Tensor:
        middle = self.conv5X5_1(x)
        parts = [self.conv3X3(x), self.conv5X5_2(middle), self.conv7x7_3(self.conv7X7_2(middle))]
        return torch.relu(torch.cat(parts, dim=1))


class Head(nn.Module):
    """A 1×1 convolution, read cell by cell: [n, cells × ANCHORS, values]."""

    def __init__(self, values: int) -> None:
        super().__init__()
        self.values = values
        self.conv1x1 = nn.Conv2d(FEATURES, ANCHORS * values, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv1x1(x).permute(0, 2, 3, 1).flatten(1).unflatten(1, (-1, self.values))


class RetinaFace(nn.Module):
    """Input float32 [n, 3, h, w], BGR, pixel − (104, 117, 123).

    Output ``boxes`` [n, a, 4], ``scores`` [n, a] (softmax over face and background) and ``landmarks`` [n, a, 10], to be read with
    `facette_runtime.manifest.AnchorDecoder`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.body = MobileNetQuarter()
        self.fpn = FeaturePyramid()
        self.ssh1, self.ssh2, self.ssh3 = ContextModule(), ContextModule(), ContextModule()
        self.BboxHead = nn.ModuleList([Head(4) for _ in range(3)])
        self.ClassHead = nn.ModuleList([Head(2) for _ in range(3)])
        self.LandmarkHead = nn.ModuleList([Head(10) for _ in range(3)])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        fine, middle, coarse = self.fpn(*self.body(x))
        levels = [self.ssh1(fine), self.ssh2(middle), self.ssh3(coarse)]
        boxes = torch.cat([head(level) for head, level in zip(self.BboxHead, levels, strict=True)], dim=1)
        logits = torch.cat([head(level) for head, level in zip(self.ClassHead, levels, strict=True)], dim=1)
        landmarks = torch.cat([head(level) for head, level in zip(self.LandmarkHead, levels, strict=True)], dim=1)
        return boxes, logits.softmax(dim=-1)[..., 1], landmarks
