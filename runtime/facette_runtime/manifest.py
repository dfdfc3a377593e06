"""The bundle's contract: what the toolchain promises and the runtime relies on, defined once, here.

A manifest is JSON. ``MAJOR`` changes when an old runtime could no longer run a new bundle; ``MINOR`` when only new optional keys
were added.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ColorOrder = Literal["rgb", "bgr"]
Precision = Literal["fp32", "fp16", "bf16", "int8", "int8-dynamic", "int8-weights"]
"""Of the arithmetic: "int8" has weights and activations in int8 with ranges fixed beforehand, "int8-dynamic" finds the activations'
ranges while it runs, "int8-weights" stores int8 and computes in fp32."""

MAJOR = 1
MINOR = 0


@dataclass(frozen=True, slots=True)
class ImageInput:
    """What a network is fed: uint8 NHWC pixels; the normalisation is baked into the graph.

    Attributes:
        name: the graph's input.
        size_wh: width and height in pixels.
        color_order: order of the three channels.
        batch: how many pictures a call takes; None when any number.
        mean, scale: for people to read: the graph computes ``(pixel - mean) * scale``, in the order of ``color_order``.
    """

    name: str
    size_wh: tuple[int, int]
    color_order: ColorOrder
    batch: int | None
    mean: tuple[float, float, float]
    scale: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Letterbox:
    """How a picture of any size becomes the detector's input: scaled to fit, placed top left, the rest filled.

    Attributes:
        pad_bgr: the fill, BGR.
        upscale: whether a picture smaller than the input is enlarged.
    """

    pad_bgr: tuple[int, int, int] = (0, 0, 0)
    upscale: bool = True


@dataclass(frozen=True, slots=True)
class AnchorDecoder:
    """SSD-style heads with anchors, as in RetinaFace (Deng et al., 2019, section 3) and its public PyTorch port.

    The network gives ``boxes`` [1, a, 4], ``scores`` [1, a] in 0..1 and ``landmarks`` [1, a, 10], anchors in the order stride,
    row, column, size. Offsets are scaled by ``variances`` (centre and landmarks, then size).

    Attributes:
        strides: pixels a cell, by level.
        anchor_sizes: square anchors' sides in pixels, by level.
        score_threshold, iou_threshold: faces below the first are dropped; of two that overlap more than the second one stays.
    """

    kind: Literal["anchors"]
    strides: tuple[int, ...]
    anchor_sizes: tuple[tuple[int, ...], ...]
    variances: tuple[float, float]
    score_threshold: float = 0.5
    iou_threshold: float = 0.4


@dataclass(frozen=True, slots=True)
class PointDecoder:
    """Anchor-free heads: one prediction a cell, measured from the cell's centre in strides (FCOS, Tian et al., 2019, section 3).

    The network gives ``boxes`` [1, c, 4] (distances to left, top, right, bottom, not negative), ``scores`` [1, c] in 0..1 and
    ``landmarks`` [1, c, 10] (offsets), cells in the order stride, row, column.
    """

    kind: Literal["points"]
    strides: tuple[int, ...]
    score_threshold: float = 0.5
    iou_threshold: float = 0.4


@dataclass(frozen=True, slots=True)
class EmbeddingDecoder:
    """The network gives ``embedding`` [n, size]; the runtime L2-normalises it."""

    kind: Literal["embedding"]
    size: int


DetectorDecoder = AnchorDecoder | PointDecoder


@dataclass(frozen=True, slots=True)
class Alignment:
    """The crop that the embedder was trained on: a similarity transform of five landmarks onto ``template_xy``.

    Attributes:
        size_wh: the crop's width and height.
        template_xy: right eye, left eye, nose, right and left mouth corner in the crop's pixels.
    """

    size_wh: tuple[int, int]
    template_xy: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        if len(self.template_xy) != 5:
            raise ValueError(f"template_xy must have 5 points, but got {len(self.template_xy)}")


@dataclass(frozen=True, slots=True)
class Parity:
    """How far an exported network's output is from torch's on real pictures.

    Attributes:
        max_abs: largest absolute difference.
        cosine: smallest cosine over the pictures.
    """

    max_abs: float
    cosine: float


@dataclass(frozen=True, slots=True)
class NetworkEntry:
    """What a detector and an embedder have in common.

    Attributes:
        name: the network's name, for people.
        file: path inside the bundle.
        engine: which engine runs it.
        precision: of its arithmetic or, for fp16 on CPUs, of its weights.
        form: the graph form that won (see `facette inspect`).
        threads: intra-op threads it was measured with.
        source_digest: sha256 of the torch weights or the ONNX file that it came from.
        parameters, macs: of the torch network at the input size, MACs for one picture; None for a user's ONNX file.
        parity: by output.
        latency_ms: median measured while compiling, or None where the host can't stand in for the target.
    """

    name: str
    file: str
    engine: str
    precision: Precision
    form: str
    threads: int
    input: ImageInput
    source_digest: str
    parameters: int | None
    macs: int | None
    parity: dict[str, Parity]
    latency_ms: float | None


@dataclass(frozen=True, slots=True)
class DetectorEntry(NetworkEntry):
    decoder: DetectorDecoder
    letterbox: Letterbox


@dataclass(frozen=True, slots=True)
class EmbedderEntry(NetworkEntry):
    decoder: EmbeddingDecoder
    alignment: Alignment


@dataclass(frozen=True, slots=True)
class MatchRule:
    """When two templates are the same person.

    Attributes:
        threshold: cosine at or above which they match.
        source: where the threshold comes from: data, protocol and the engine it was measured with.
    """

    threshold: float
    source: str


@dataclass(frozen=True, slots=True)
class Licence:
    """One licence that travels with the bundle.

    Attributes:
        covers: "code", "weights: <network>" or "data: <network>".
        name: SPDX identifier where there is one.
        commercial_use: whether it allows commercial use.
        note: who says so, and what else matters.
    """

    covers: str
    name: str
    commercial_use: bool
    note: str = ""


@dataclass(frozen=True, slots=True)
class TargetFacts:
    """What the device must be for this bundle."""

    name: str
    architecture: str
    cpu_features: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class GoldenTolerance:
    """By how much a device may differ from the host, stage by stage.

    Attributes:
        letterbox_levels: mean absolute difference of the letterboxed picture, grey levels.
        box_px, landmark_px: largest difference in pixels of the picture.
        crop_levels: mean absolute difference of the aligned crop, grey levels.
        embedding_cosine: smallest cosine allowed, from the expected crop.
        end_to_end_cosine: smallest cosine allowed, from the picture, where the detector's own landmarks place the crop.
    """

    letterbox_levels: float = 1.0
    box_px: float = 0.5
    landmark_px: float = 0.5
    crop_levels: float = 1.0
    embedding_cosine: float = 0.9999
    end_to_end_cosine: float = 0.999


@dataclass(frozen=True, slots=True)
class GoldenFace:
    """Expected result of every stage for the best face of one picture in the bundle.

    Attributes:
        image: path of the picture (PNG) in the bundle.
        letterbox: path of the expected detector input (PNG, BGR) in the bundle.
        box_xyxy, landmarks_xy, score: what the detector must find.
        crop: path of the expected aligned crop (PNG, BGR) in the bundle.
        embedding: what the embedder must give for that crop, L2-normalised.
    """

    image: str
    letterbox: str
    box_xyxy: tuple[float, float, float, float]
    score: float
    landmarks_xy: tuple[tuple[float, float], ...]
    crop: str
    embedding: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Golden:
    """The certificate that `facette-run selftest` replays."""

    faces: tuple[GoldenFace, ...]
    tolerance: GoldenTolerance


@dataclass(frozen=True, slots=True)
class FileDigest:
    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything that the device needs to know; see the attributes' own types.

    Attributes:
        format: (major, minor).
        name: what the user calls this bundle.
        created: UTC, ISO 8601.
        tools: version by tool that made it.
        files: digest by path, for every other file of the bundle.
    """

    format: tuple[int, int]
    name: str
    created: str
    target: TargetFacts
    detector: DetectorEntry
    embedder: EmbedderEntry
    match: MatchRule
    golden: Golden
    licences: tuple[Licence, ...]
    tools: dict[str, str]
    files: dict[str, FileDigest]
