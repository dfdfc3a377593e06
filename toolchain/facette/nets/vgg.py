"""VGG16 with a face-classifier head.

Simonyan & Zisserman, 2015, table 1, configuration D; used on faces by Parkhi et al., "Deep face recognition", 2015.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

LEVELS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


@dataclass(frozen=True, slots=True)
class VggConfig:
    """Size of the network.

    Attributes:
        identities: classes of the classifier head.
        embedding_size: width of the two fully connected layers; the second one's output is the embedding.
        input_size: side of the square input in pixels, a multiple of 32.
    """

    identities: int = 2622
    embedding_size: int = 4096
    input_size: int = 224

    def __post_init__(self) -> None:
        if self.input_size % 32:
            raise ValueError(f"input_size must be a multiple of 32, but got {self.input_size}")


class Vgg16(nn.Module):
    """Input float32 [n, 3, input_size, input_size]; output float32 [n, embedding_size], not normalised.

    The classifier head serves training only: `classify` gives its logits, and `forward` leaves it out.
    """

    def __init__(self, config: VggConfig = VggConfig()) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3
        for widths in LEVELS:
            for width in widths:
                layers += [nn.Conv2d(inputs, width, 3, 1, 1), nn.ReLU()]
                inputs = width
            layers.append(nn.MaxPool2d(2, 2))
        self.features = nn.Sequential(*layers)
        cells = (config.input_size // 2 ** len(LEVELS)) ** 2
        self.fc6 = nn.Linear(inputs * cells, config.embedding_size)
        self.fc7 = nn.Linear(config.embedding_size, config.embedding_size)
        self.dropout = nn.Dropout(0.5)
        self.classifier = nn.Linear(config.embedding_size, config.identities)

    def forward(self, x: Tensor) -> Tensor:
        x = self.dropout(self.fc6(self.features(x).flatten(1)).relu())
        embedding: Tensor = self.fc7(x)
        return embedding

    def classify(self, x: Tensor) -> Tensor:
        """Logits, float32 [n, identities]."""
        logits: Tensor = self.classifier(self.dropout(self(x).relu()))
        return logits
