"""Compares a bundle with ``golden-faces.json``: 40 photos with RetinaFace's boxes and landmarks and MobileFaceNet's embeddings."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from facette.data.lfw import ALIGNED, RAW, Photos
from facette.evaluation.embed_photos import Networks
from facette_runtime.bundle import Bundle
from facette_runtime.detect import Detector
from facette_runtime.engines import open_engine
from facette_runtime.errors import FacetteError

GOLDEN = "golden-faces.json"


@dataclass(frozen=True, slots=True)
class GoldenDifference:
    """How far a bundle is from the recorded values on one photo.

    Attributes:
        photo: its name.
        box_px, landmark_px: largest difference, pixels of the photo.
        score: absolute difference.
        cosine: of the embedding of the recorded crop with the recorded embedding.
    """

    photo: str
    box_px: float
    landmark_px: float
    score: float
    cosine: float


def compare_with_golden(bundle: Path, data_dir: Path) -> tuple[GoldenDifference, ...]:
    """Runs both networks on the recorded photos.

    The recorded detections were picked from the network's candidates before any of them was suppressed, at the photo's own
    250×250 pixels. So suppression is off here too, the bundle's detector should take 250×250 without enlarging, and the
    candidate nearest to the recorded box is compared.

    Args:
        bundle: with RetinaFace-MobileNet0.25 and MobileFaceNet-y1.
        data_dir: with ``golden-faces.json`` and both photo archives.

    Raises:
        FacetteError: data are missing.
    """
    path = data_dir / GOLDEN
    if not path.is_file():
        raise FacetteError(f"{path}: not found; expected the recorded detections and embeddings of 40 photos")
    opened = Bundle.open(bundle, check_target=False)
    raw, aligned = Photos(data_dir, RAW), Photos(data_dir, ALIGNED)
    networks = Networks.load(opened)
    entry = networks.detector_entry
    every_candidate = replace(entry, decoder=replace(entry.decoder, iou_threshold=1.0, score_threshold=0.5))
    detector = Detector(open_engine(entry.engine, opened.read(entry.file), 1), every_candidate)
    differences = []
    for face in json.loads(path.read_text())["faces"]:
        found = detector(raw.read(face["image"]))
        if not len(found):
            raise FacetteError(f"{face['image']}: no candidate scores above 0.5, but {GOLDEN} has a face there")
        box_px = np.abs(found.boxes_xyxy - np.array(face["box_xyxy"])).max(axis=1)
        nearest = int(np.argmin(box_px))
        landmark_px = np.abs(found.landmarks_xy[nearest] - np.array(face["landmarks_xy"]).reshape(5, 2)).max()
        embedding = networks.embedder([aligned.read(face["image"])])[0]
        differences.append(
            GoldenDifference(
                photo=face["image"],
                box_px=float(box_px[nearest]),
                landmark_px=float(landmark_px),
                score=abs(float(found.scores[nearest]) - face["score"]),
                cosine=float(embedding @ np.array(face["embedding"])),
            )
        )
    return tuple(differences)
