"""From a detector's tensors to faces: anchors or cell points, a score cut, non-maximum suppression."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

import numpy as np

from facette_runtime.engines.base import Engine
from facette_runtime.manifest import AnchorDecoder, DetectorDecoder, DetectorEntry
from facette_runtime.preprocess import letterbox, to_network
from facette_runtime.types import Detections, FloatArray, Image


class Detector:
    """Finds faces in one picture.

    Args:
        engine: a network with the outputs that ``entry.decoder`` documents.
        entry: its manifest entry.
    """

    def __init__(self, engine: Engine, entry: DetectorEntry) -> None:
        self._engine = engine
        self._entry = entry

    @property
    def engine(self) -> str:
        """The name of what runs the network."""
        return self._engine.name

    def prepare(self, image_bgr: Image) -> tuple[Image, float]:
        """The letterboxed picture (BGR) and its scale; see `facette_runtime.preprocess.letterbox`."""
        return letterbox(image_bgr, self._entry.input.size_wh, self._entry.letterbox)

    def infer(self, letterboxed_bgr: Image) -> dict[str, np.ndarray]:
        """The network's raw outputs for one letterboxed picture."""
        pixels = to_network(letterboxed_bgr, self._entry.input.color_order)
        return self._engine.run({self._entry.input.name: pixels[None]})

    def decode(self, outputs: Mapping[str, np.ndarray], scale: float) -> Detections:
        """Faces in pixels of the original picture, best first."""
        return decode(outputs, self._entry.decoder, self._entry.input.size_wh, scale)

    def __call__(self, image_bgr: Image) -> Detections:
        """Finds all faces of a picture: uint8 [h, w, 3], BGR."""
        letterboxed, scale = self.prepare(image_bgr)
        return self.decode(self.infer(letterboxed), scale)


def decode(outputs: Mapping[str, np.ndarray], decoder: DetectorDecoder, size_wh: tuple[int, int], scale: float) -> Detections:
    """Turns a detector's outputs for one picture into faces.

    Args:
        outputs: ``boxes`` [1, c, 4], ``scores`` [1, c], ``landmarks`` [1, c, 10], as ``decoder`` documents them.
        decoder: how to read them.
        size_wh: the network's input size.
        scale: of the letterbox.

    Returns:
        Faces in pixels of the original picture, best first.
    """
    scores = outputs["scores"][0]
    keep = np.flatnonzero(scores >= decoder.score_threshold)
    keep = keep[np.argsort(-scores[keep], kind="stable")]
    boxes, landmarks = outputs["boxes"][0][keep], outputs["landmarks"][0][keep].reshape(-1, 5, 2)
    priors = _priors(decoder, size_wh)[keep]
    if isinstance(decoder, AnchorDecoder):
        boxes_xyxy, landmarks_xy = _decode_anchors(boxes, landmarks, priors, decoder.variances)
    else:
        boxes_xyxy, landmarks_xy = _decode_points(boxes, landmarks, priors)
    kept = non_maximum_suppression(boxes_xyxy, decoder.iou_threshold)
    return Detections(
        (boxes_xyxy[kept] / scale).astype(np.float32),
        scores[keep][kept].astype(np.float32),
        (landmarks_xy[kept] / scale).astype(np.float32),
    )


def _decode_anchors(
    boxes: FloatArray, landmarks: FloatArray, priors: FloatArray, variances: tuple[float, float]
) -> tuple[FloatArray, FloatArray]:
    centre, size = priors[:, :2], priors[:, 2:]
    box_centre = centre + boxes[:, :2] * variances[0] * size
    half = size * np.exp(boxes[:, 2:] * variances[1]) / 2
    boxes_xyxy = np.concatenate([box_centre - half, box_centre + half], axis=1)
    return boxes_xyxy, centre[:, None] + landmarks * variances[0] * size[:, None]


def _decode_points(boxes: FloatArray, landmarks: FloatArray, priors: FloatArray) -> tuple[FloatArray, FloatArray]:
    centre, stride = priors[:, :2], priors[:, 2:]
    boxes_xyxy = np.concatenate([centre - boxes[:, :2] * stride, centre + boxes[:, 2:] * stride], axis=1)
    return boxes_xyxy, centre[:, None] + landmarks * stride[:, None]


@lru_cache(maxsize=8)
def _priors(decoder: DetectorDecoder, size_wh: tuple[int, int]) -> FloatArray:
    """float32 [c, 4]: cell centre x, y and the width and height that offsets are measured in, pixels of the network's input."""
    width, height = size_wh
    levels = []
    for level, stride in enumerate(decoder.strides):
        sizes = decoder.anchor_sizes[level] if isinstance(decoder, AnchorDecoder) else (stride,)
        rows, columns = np.meshgrid(np.arange(-(-height // stride)), np.arange(-(-width // stride)), indexing="ij")
        centres = (np.stack([columns, rows], axis=-1).reshape(-1, 1, 2) + 0.5) * stride
        shape = (len(centres), len(sizes), 2)
        sides = np.array(sizes)[None, :, None]
        cells = np.concatenate([np.broadcast_to(centres, shape), np.broadcast_to(sides, shape)], axis=-1)
        levels.append(cells.reshape(-1, 4))
    return np.concatenate(levels).astype(np.float32)


def non_maximum_suppression(boxes_xyxy: FloatArray, iou_threshold: float) -> np.ndarray:
    """Greedy suppression: of boxes that overlap more than ``iou_threshold`` the first stays.

    Args:
        boxes_xyxy: float [n, 4], best first.
        iou_threshold: intersection over union.

    Returns:
        int [k]: indices of the boxes that stay, in order.
    """
    sides = np.maximum(boxes_xyxy[:, 2:] - boxes_xyxy[:, :2], 0)
    areas = sides[:, 0] * sides[:, 1]
    alive = np.ones(len(boxes_xyxy), bool)
    for index in range(len(boxes_xyxy)):
        if not alive[index]:
            continue
        rest = slice(index + 1, None)
        corner_low = np.maximum(boxes_xyxy[index, :2], boxes_xyxy[rest, :2])
        corner_high = np.minimum(boxes_xyxy[index, 2:], boxes_xyxy[rest, 2:])
        overlap = np.prod(np.maximum(corner_high - corner_low, 0), axis=1)
        union = np.maximum(areas[index] + areas[rest] - overlap, 1e-9)
        alive[rest] &= overlap / union <= iou_threshold
    return np.flatnonzero(alive)
