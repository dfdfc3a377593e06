"""Faces that a teacher detector sees in unlabelled photos, found once and kept in a file."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

from facette.data.geometry import iou, move_faces
from facette_runtime.detect import decode, non_maximum_suppression
from facette_runtime.errors import FacetteError
from facette_runtime.files import replacing
from facette_runtime.manifest import AnchorDecoder
from facette_runtime.types import Detections, Image

FAINTEST = 0.15
"""Teacher detections below this score are nobody's business; between it and the caller's own threshold they are doubtful."""

SAME, SURE = 0.5, 0.5
"""Overlap and score from which two views' detections are one face."""

TEACHER_MEAN_BGR = (104.0, 117.0, 123.0)
TEACHER_DECODER = AnchorDecoder(
    "anchors", (8, 16, 32), ((10, 20), (32, 64), (128, 256)), (0.1, 0.2), score_threshold=FAINTEST, iou_threshold=0.4
)


@dataclass(frozen=True, slots=True)
class View:
    """How a photo is shown to the teacher: enlarged by ``scale`` in the middle of a grey square, ``side`` pixels wide.

    Close crops need the margin: the teacher has learnt faces with something around them.
    """

    scale: float
    side: int


def read_image(archive: zipfile.ZipFile, name: str) -> Image:
    """Decodes one picture of a zip file: uint8 [h, w, 3], BGR.

    Raises:
        FacetteError: it is no picture.
    """
    image = cv2.imdecode(np.frombuffer(archive.read(name), np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise FacetteError(f"{archive.filename}: {name} cannot be decoded")
    return np.asarray(image, np.uint8)


@torch.inference_mode()
def detect_batch(teacher: nn.Module, images_bgr: Sequence[Image]) -> list[Detections]:
    """The teacher's faces in pictures of one size, sides multiples of 32; scores from `FAINTEST` up."""
    height, width = images_bgr[0].shape[:2]
    pixels = torch.from_numpy(np.stack(images_bgr)).permute(0, 3, 1, 2).float() - torch.tensor(TEACHER_MEAN_BGR).view(1, 3, 1, 1)
    outputs = [output.numpy() for output in teacher(pixels)]
    names = ("boxes", "scores", "landmarks")
    return [
        decode(
            {name: output[index : index + 1] for name, output in zip(names, outputs, strict=True)},
            TEACHER_DECODER,
            (width, height),
            1.0,
        )
        for index in range(len(images_bgr))
    ]


def detect_in_views(teacher: nn.Module, images_bgr: Sequence[Image], views: Sequence[View]) -> list[Detections]:
    """The teacher's faces in pixels of each photo; landmarks are the mean over all views, each seen also in a mirror.

    Boxes and scores are those of the first view. Other views and mirrors only join in where they see the same face
    (IoU ≥ `SAME`, score ≥ `SURE`): a teacher's landmarks move by a twentieth of the eyes' distance from one view to the next,
    and their mean by much less.
    """
    mirrors = [np.ascontiguousarray(image[:, ::-1]) for image in images_bgr]
    seen = [_detect_in_view(teacher, images_bgr, view) for view in views]
    for view in views:
        turned = _detect_in_view(teacher, mirrors, view)
        seen.append([_mirrored(faces, image.shape[1]) for faces, image in zip(turned, images_bgr, strict=True)])
    return [_joined(each) for each in zip(*seen, strict=True)]


def _joined(seen: Sequence[Detections]) -> Detections:
    first = seen[0]
    total, count = first.landmarks_xy.copy(), np.ones((len(first), 1, 1), np.float32)
    for other in seen[1:]:
        if len(first) and len(other):
            overlap = iou(first.boxes_xyxy, other.boxes_xyxy)
            match = overlap.argmax(axis=1)
            agrees = ((overlap.max(axis=1) >= SAME) & (other.scores[match] >= SURE))[:, None, None]
            total += agrees * other.landmarks_xy[match]
            count += agrees
    return Detections(first.boxes_xyxy, first.scores, (total / count).astype(np.float32))


def _mirrored(faces: Detections, width: int) -> Detections:
    flip = np.array([[-1.0, 0.0, width], [0.0, 1.0, 0.0]])
    boxes, landmarks = move_faces(faces.boxes_xyxy, faces.landmarks_xy, flip, mirror=True)
    return Detections(boxes, faces.scores, landmarks)


def _detect_in_view(teacher: nn.Module, images_bgr: Sequence[Image], view: View) -> list[Detections]:
    shown, offsets = [], []
    for image in images_bgr:
        scaled = cv2.resize(image, None, fx=view.scale, fy=view.scale, interpolation=cv2.INTER_LINEAR) if view.scale != 1 else image
        canvas = np.full((view.side, view.side, 3), 128, np.uint8)
        left, top = (view.side - scaled.shape[1]) // 2, (view.side - scaled.shape[0]) // 2
        if left < 0 or top < 0:
            raise FacetteError(
                f"a photo of {image.shape[1]}x{image.shape[0]} times {view.scale} does not fit into {view.side}x{view.side}"
            )
        canvas[top : top + scaled.shape[0], left : left + scaled.shape[1]] = scaled
        shown.append(canvas)
        offsets.append((left, top))
    found = detect_batch(teacher, shown)
    return [_moved(faces, -np.array(offset, np.float32), 1 / view.scale) for faces, offset in zip(found, offsets, strict=True)]


def detect_at_scales(teacher: nn.Module, image_bgr: Image, sides: Sequence[int]) -> Detections:
    """The teacher's faces in one photo, united over several sizes of it (its longer side in pixels)."""
    parts = []
    for side in sides:
        scale = side / max(image_bgr.shape[:2])
        scaled = cv2.resize(image_bgr, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        bottom, right = -scaled.shape[0] % 32, -scaled.shape[1] % 32
        padded = cv2.copyMakeBorder(scaled, 0, bottom, 0, right, cv2.BORDER_CONSTANT, value=(128, 128, 128))
        parts.append(_moved(detect_batch(teacher, [padded])[0], np.zeros(2, np.float32), 1 / scale))
    boxes = np.concatenate([part.boxes_xyxy for part in parts])
    scores = np.concatenate([part.scores for part in parts])
    landmarks = np.concatenate([part.landmarks_xy for part in parts])
    order = np.argsort(-scores, kind="stable")
    kept = order[non_maximum_suppression(boxes[order], 0.4)]
    return Detections(boxes[kept], scores[kept], landmarks[kept])


def _moved(faces: Detections, offset: NDArray[np.float32], scale: float) -> Detections:
    boxes = (faces.boxes_xyxy + np.tile(offset, 2)) * np.float32(scale)
    return Detections(
        boxes.astype(np.float32), faces.scores, ((faces.landmarks_xy + offset) * np.float32(scale)).astype(np.float32)
    )


def label_archive(
    path: Path,
    names: Sequence[str],
    label: Callable[[Sequence[Image]], list[Detections]],
    cache: Path,
    what: str,
    chunk: int = 32,
) -> list[Detections]:
    """Labels pictures of a zip file, or reads the labels of an earlier call.

    Args:
        path: the zip file.
        names: which pictures.
        label: gives the faces of some pictures.
        cache: folder for the labels.
        what: says how ``label`` works (teacher's digest, view): another text is another cache file.
        chunk: pictures a call of ``label``.

    Returns:
        One `Detections` a name, in pixels of the picture.
    """
    key = hashlib.sha256("\n".join([what, str(path.stat().st_size), *names]).encode()).hexdigest()[:16]
    file = cache / f"labels-{path.stem}-{key}.npz"
    if not file.exists():
        found: list[Detections] = []
        with zipfile.ZipFile(path) as archive:
            for first in tqdm(range(0, len(names), chunk), desc=f"labelling {path.name}", unit_scale=chunk, dynamic_ncols=True):
                found += label([read_image(archive, name) for name in names[first : first + chunk]])
        _write(file, found)
    return list(_read(file))


def _write(file: Path, found: Sequence[Detections]) -> None:
    with replacing(file) as temporary, temporary.open("wb") as stream:
        np.savez(
            stream,
            counts=np.array([len(faces) for faces in found]),
            boxes=np.concatenate([faces.boxes_xyxy for faces in found]),
            scores=np.concatenate([faces.scores for faces in found]),
            landmarks=np.concatenate([faces.landmarks_xy for faces in found]),
        )


def _read(file: Path) -> Iterator[Detections]:
    with np.load(file, allow_pickle=False) as arrays:
        boxes, scores, landmarks = arrays["boxes"], arrays["scores"], arrays["landmarks"]
        ends = np.cumsum(arrays["counts"])
    for end, count in zip(ends, np.diff(ends, prepend=0), strict=True):
        part = slice(end - count, end)
        yield Detections(boxes[part], scores[part], landmarks[part])
