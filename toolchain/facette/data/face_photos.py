"""The photos that train a detector, each with the faces in it: pseudo-labels, joined with people's boxes where there are some."""

from __future__ import annotations

import hashlib
import xml.etree.ElementTree as ElementTree
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import nn

from facette.data.geometry import iou
from facette.data.pseudo_labels import View, detect_at_scales, detect_in_views, label_archive, read_image
from facette_runtime.errors import FacetteError
from facette_runtime.types import Detections, FloatArray, Image

FACEMASK_SIDES = (512, 1024)
"""Sizes (longer side) at which the teacher sees a crowd photo: large for the small faces, small for the large ones."""


@dataclass(frozen=True, slots=True)
class FacePhoto:
    """A photo and its faces, in pixels of the photo.

    Attributes:
        image_bgr: uint8 [h, w, 3], BGR.
        boxes_xyxy: float32 [n, 4].
        landmarks_xy: float32 [n, 5, 2] in the order of `Detections`; NaN where nobody knows.
        doubtful_xyxy: float32 [m, 4], regions that may hold a face: neither learnt as face nor as background.
    """

    image_bgr: Image
    boxes_xyxy: FloatArray
    landmarks_xy: FloatArray
    doubtful_xyxy: FloatArray


def from_detections(image_bgr: Image, faces: Detections, sure: float) -> FacePhoto:
    """Detections from the score ``sure`` up are faces, the others doubtful."""
    keep = faces.scores >= sure
    return FacePhoto(image_bgr, faces.boxes_xyxy[keep], faces.landmarks_xy[keep], faces.boxes_xyxy[~keep])


def load_portraits(
    path: Path, views: Sequence[View], sure: float, teacher: nn.Module, digest: str, cache: Path, limit: int
) -> list[FacePhoto]:
    """The photos of a zip file of portraits in which the teacher is sure of a face.

    Args:
        path: the zip file.
        views: how the teacher sees them: see `detect_in_views`.
        sure: the score from which a detection is a face.
        teacher: RetinaFace, on the CPU, in eval mode.
        digest: of the teacher's weights.
        cache: folder of the labels' cache.
        limit: how many photos to take, evenly spread; 0 for all.

    Raises:
        FacetteError: the zip file is missing.
    """
    names = _pictures(path)
    if limit and limit < len(names):
        names = [names[index * len(names) // limit] for index in range(limit)]
    found = label_archive(path, names, lambda images: detect_in_views(teacher, images, views), cache, f"{digest} {views}")
    with zipfile.ZipFile(path) as archive:
        sure_ones = [(name, faces) for name, faces in zip(names, found, strict=True) if (faces.scores >= sure).any()]
        return [from_detections(read_image(archive, name), faces, sure) for name, faces in sure_ones]


def is_training_half(name: str) -> bool:
    """Splits facemask853 in two by a hash of the picture's bare name, the same on every machine."""
    return hashlib.sha256(Path(name).stem.encode()).digest()[0] < 128


def facemask_names(path: Path, *, training: bool) -> list[str]:
    """Paths in the zip of the pictures in one half of facemask853; see `is_training_half`."""
    return [name for name in _pictures(path) if is_training_half(name) == training]


def facemask_boxes(archive: zipfile.ZipFile, picture: str) -> FloatArray:
    """People's boxes (Pascal VOC) for a picture: float32 [n, 4], pixels."""
    root = ElementTree.fromstring(archive.read(f"annotations/{Path(picture).stem}.xml"))
    corners = ("xmin", "ymin", "xmax", "ymax")
    rows = [[float(box.findtext(corner, "nan")) for corner in corners] for box in root.iter("bndbox")]
    return np.array(rows, np.float32).reshape(-1, 4)


def load_facemask(path: Path, sure: float, teacher: nn.Module, digest: str, cache: Path, limit: int) -> list[FacePhoto]:
    """facemask853's training half: people's boxes, the teacher's landmarks in them, and faces that only the teacher saw."""
    names = facemask_names(path, training=True)
    names = names[:limit] if limit else names
    found = label_archive(
        path,
        names,
        lambda images: [detect_at_scales(teacher, image, FACEMASK_SIDES) for image in images],
        cache,
        f"{digest} {FACEMASK_SIDES}",
    )
    with zipfile.ZipFile(path) as archive:
        return [
            merge(read_image(archive, name), facemask_boxes(archive, name), faces, sure)
            for name, faces in zip(names, found, strict=True)
        ]


def merge(image_bgr: Image, boxes_xyxy: FloatArray, faces: Detections, sure: float) -> FacePhoto:
    """Joins people's boxes with a teacher's detections.

    A person's box always counts, with the landmarks of the detection that overlaps it best (IoU ≥ 0.4), if any. Of the other
    detections the sure ones are faces that people overlooked and the rest is doubtful.
    """
    overlap = iou(boxes_xyxy, faces.boxes_xyxy)
    landmarks = np.full((len(boxes_xyxy), 5, 2), np.nan, np.float32)
    for index, row in enumerate(overlap):
        if row.size and row.max() >= 0.4:
            landmarks[index] = faces.landmarks_xy[row.argmax()]
    free = ~(overlap >= 0.3).any(axis=0)
    rest = Detections(faces.boxes_xyxy[free], faces.scores[free], faces.landmarks_xy[free])
    extra = from_detections(image_bgr, rest, sure)
    return FacePhoto(
        image_bgr,
        np.concatenate([boxes_xyxy, extra.boxes_xyxy]),
        np.concatenate([landmarks, extra.landmarks_xy]),
        extra.doubtful_xyxy,
    )


def _pictures(path: Path) -> list[str]:
    if not path.is_file():
        raise FacetteError(f"{path}: no such file")
    with zipfile.ZipFile(path) as archive:
        names: Sequence[str] = archive.namelist()
    return sorted(name for name in names if name.lower().endswith((".jpg", ".jpeg", ".png")))
