"""Real pictures through the reference networks, stage by stage: what every engine and every device must give again."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from facette.entries import REFERENCE, detector_entry, embedder_entry
from facette.model import Model
from facette.reference import reference_engine
from facette_runtime.align import align
from facette_runtime.detect import Detector
from facette_runtime.embed import Embedder
from facette_runtime.engines.base import Engine
from facette_runtime.errors import FacetteError
from facette_runtime.manifest import Golden, GoldenFace, GoldenTolerance
from facette_runtime.preprocess import to_network
from facette_runtime.types import Detections, FloatArray, Image

MAX_SIDE = 320
"""Golden pictures are scaled down to this, so that they stay a small part of the bundle."""

SLACK = 1.25
"""A device's rounding is its own: this much more than the host's is allowed."""

ADDED_UP = 10
"""Small errors of the earlier stages add up in the embedding: end to end, this many times the embedder's own share is allowed."""


@dataclass(frozen=True)
class Stages:
    """One picture's way through the reference.

    Attributes:
        name: of the picture.
        image, letterboxed, crop: uint8 [h, w, 3], BGR.
        faces: what the detector finds; the first is the one cut out.
        detector_outputs, embedder_outputs: raw.
        embedding: float32 [d], L2-normalised.
    """

    name: str
    image: Image
    letterboxed: Image
    faces: Detections
    crop: Image
    detector_outputs: dict[str, np.ndarray]
    embedder_outputs: dict[str, np.ndarray]
    embedding: FloatArray


def run_reference(detector: Model, embedder: Model, photos: Sequence[tuple[str, Image]]) -> list[Stages]:
    """Runs the uncompiled networks.

    Args:
        photos: name and picture (uint8 [h, w, 3], BGR) of each.

    Raises:
        FacetteError: the detector finds no face in one of them.
    """
    find_engine, embed_engine = reference_engine(detector), reference_engine(embedder)
    find_entry, embed_entry = detector_entry(detector, REFERENCE), embedder_entry(embedder, REFERENCE)
    find, embed = Detector(find_engine, find_entry), Embedder(embed_engine, embed_entry)
    stages = []
    for name, photo in photos:
        image = _shrink(photo)
        letterboxed, scale = find.prepare(image)
        outputs = find.infer(letterboxed)
        faces = find.decode(outputs, scale)
        if not len(faces):
            raise FacetteError(f"golden picture {name!r}: {detector.name} finds no face in it; give other ones with --photos")
        crop = align(image, faces.landmarks_xy[0], embed_entry.alignment)
        pixels = to_network(crop, embedder.image.color_order)[None]
        raw = embed_engine.run({embed_entry.input.name: pixels})
        stages.append(Stages(name, image, letterboxed, faces, crop, outputs, raw, embed([crop])[0]))
    return stages


def golden_files(stages: Sequence[Stages], tolerance: GoldenTolerance) -> tuple[Golden, dict[str, bytes]]:
    """The certificate and its pictures, by path inside the bundle."""
    faces, files = [], {}
    for number, stage in enumerate(stages, start=1):
        plain_name = re.sub("[^a-z0-9]+", "-", Path(stage.name).stem.lower()).strip("-")
        paths = {part: f"golden/{number}-{plain_name}-{part}.png" for part in ("image", "letterbox", "crop")}
        for path, image in zip(paths.values(), (stage.image, stage.letterboxed, stage.crop), strict=True):
            files[path] = cv2.imencode(".png", image)[1].tobytes()
        left, top, right, bottom = (float(value) for value in stage.faces.boxes_xyxy[0])
        faces.append(
            GoldenFace(
                image=paths["image"],
                letterbox=paths["letterbox"],
                box_xyxy=(left, top, right, bottom),
                score=float(stage.faces.scores[0]),
                landmarks_xy=tuple((float(x), float(y)) for x, y in stage.faces.landmarks_xy[0]),
                crop=paths["crop"],
                embedding=tuple(float(value) for value in stage.embedding),
            )
        )
    return Golden(tuple(faces), tolerance), files


def tolerance_of(
    stages: Sequence[Stages], detector: tuple[Model, Engine], embedder: tuple[Model, Engine], floor: GoldenTolerance
) -> GoldenTolerance:
    """What a device may be off: what the engines that ship are off here, and a quarter more, but at least ``floor``.

    Rounded networks differ from torch's; a device that differs as much as the host does is in order. End to end a rounded
    detector's landmarks move the crop, so that is measured too.

    Args:
        stages: the reference's.
        detector, embedder: network and the engine that ships it.
        floor: for float networks.
    """
    entry = embedder_entry(embedder[0], REFERENCE)
    find, embed = Detector(detector[1], detector_entry(detector[0], REFERENCE)), Embedder(embedder[1], entry)
    box = landmark = drift = whole_drift = 0.0
    for stage in stages:
        found = find(stage.image)
        if not len(found):
            raise FacetteError(f"golden picture {stage.name!r}: the compiled {detector[0].name} finds no face in it")
        box = max(box, float(np.abs(found.boxes_xyxy[0] - stage.faces.boxes_xyxy[0]).max()))
        landmark = max(landmark, float(np.abs(found.landmarks_xy[0] - stage.faces.landmarks_xy[0]).max()))
        own_crop = align(stage.image, found.landmarks_xy[0], entry.alignment)
        cosine, whole_cosine = (embed([crop])[0] @ stage.embedding for crop in (stage.crop, own_crop))
        drift, whole_drift = max(drift, 1 - float(cosine)), max(whole_drift, 1 - float(whole_cosine))
    least = min(floor.embedding_cosine, 1 - SLACK * drift)
    return replace(
        floor,
        box_px=max(floor.box_px, SLACK * box),
        landmark_px=max(floor.landmark_px, SLACK * landmark),
        embedding_cosine=least,
        end_to_end_cosine=min(floor.end_to_end_cosine, 1 - ADDED_UP * (1 - least), 1 - SLACK * whole_drift),
    )


def _shrink(image: Image) -> Image:
    scale = MAX_SIDE / max(image.shape[:2])
    return image if scale >= 1 else cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
