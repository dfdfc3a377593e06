"""MobileFaceNet "y1": depthwise-separable residual network for face embeddings (Chen et al., 2018; InsightFace's variant)."""

from __future__ import annotations

from torch import Tensor, nn


def _conv(
    inputs: int, outputs: int, kernel: int, stride: int = 1, padding: int = 0, groups: int = 1, *, active: bool = True
) -> nn.Sequential:
    """Convolution, batch norm and, unless linear, PReLU."""
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False),
        nn.BatchNorm2d(outputs, eps=1e-3),
    ]
    if active:
        layers.append(nn.PReLU(outputs))
    return nn.Sequential(*layers)


class Bottleneck(nn.Module):
    """1×1 up to ``width``, 3×3 depthwise, 1×1 linear down; with a residual when the shape stays."""

    def __init__(self, inputs: int, outputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.sep = _conv(inputs, width, 1)
        self.dw = _conv(width, width, 3, stride, 1, groups=width)
        self.proj = _conv(width, outputs, 1, active=False)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = self.proj(self.dw(self.sep(x)))
        return x + y if self.residual else y


class MobileFaceNet(nn.Module):
    """Input float32 [n, 3, 112, 112], RGB, (pixel − 127.5) / 128; output float32 [n, 128], not normalised."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _conv(3, 64, 3, 2, 1)
        self.stem_depthwise = _conv(64, 64, 3, 1, 1, groups=64)
        self.down3 = Bottleneck(64, 64, 128, 2)
        self.stage3 = nn.Sequential(*[Bottleneck(64, 64, 128, 1) for _ in range(4)])
        self.down4 = Bottleneck(64, 128, 256, 2)
        self.stage4 = nn.Sequential(*[Bottleneck(128, 128, 256, 1) for _ in range(6)])
        self.down5 = Bottleneck(128, 128, 512, 2)
        self.stage5 = nn.Sequential(*[Bottleneck(128, 128, 256, 1) for _ in range(2)])
        self.expand = _conv(128, 512, 1)
        self.global_depthwise = _conv(512, 512, 7, groups=512, active=False)
        self.embedding = nn.Linear(512, 128)
        self.embedding_bn = nn.BatchNorm1d(128, eps=2e-5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem_depthwise(self.stem(x))
        x = self.stage3(self.down3(x))
        x = self.stage4(self.down4(x))
        x = self.stage5(self.down5(x))
        x = self.global_depthwise(self.expand(x))
        return self.embedding_bn(self.embedding(x.flatten(1)))
