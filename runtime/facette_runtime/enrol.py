"""From photos to a gallery."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from facette_runtime.errors import SourceError
from facette_runtime.gallery import Gallery
from facette_runtime.pipeline import Pipeline
from facette_runtime.sources import Skipped, Source, list_pictures, open_source
from facette_runtime.types import Detections, Frame


@dataclass(slots=True)
class Enrolment:
    """What came of it.

    Attributes:
        gallery: with the new templates.
        added: templates by person.
        skipped: photos that were unreadable or show no face.
    """

    gallery: Gallery
    added: dict[str, int] = field(default_factory=dict)
    skipped: list[Skipped] = field(default_factory=list)


def enrol_person(pipeline: Pipeline, enrolment: Enrolment, name: str, source: Source) -> None:
    """Adds one template for each of the source's pictures that shows a face; of several faces it takes the `main_face`.

    Args:
        pipeline: makes the embeddings.
        enrolment: is added to.
        name: the person.
        source: their photos.

    Raises:
        SourceError: the source is a single photo, and it shows no face.
    """
    for frame in source:
        detections = pipeline.detect(frame.image_bgr)
        if not len(detections):
            if source.still:
                raise SourceError(f"{source.name}: no face found")
            enrolment.skipped.append(Skipped(f"{name}/{frame.name}", "no face found"))
            continue
        chosen = main_face(detections, frame)
        template = pipeline.embed(frame.image_bgr, detections.landmarks_xy[chosen : chosen + 1])[0]
        enrolment.gallery = enrolment.gallery.with_template(name, template)
        enrolment.added[name] = enrolment.added.get(name, 0) + 1
    enrolment.skipped.extend(Skipped(f"{name}/{item.name}", item.reason) for item in source.skipped)


def enrol_folder_of_people(pipeline: Pipeline, enrolment: Enrolment, folder: Path) -> None:
    """Enrols one person for each subfolder, which is named after them.

    Raises:
        SourceError: the folder has no subfolders with pictures.
    """
    folders = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    people = [path for path in folders if list_pictures(path)]
    if not people:
        raise SourceError(f"{folder} has no subfolder with pictures; give --name NAME, or one subfolder a person")
    for person in people:
        enrol_person(pipeline, enrolment, person.name, open_source(str(person)))


def main_face(detections: Detections, frame: Frame) -> int:
    """Index of the face that a portrait is of: large, and near the middle.

    A face counts with its height less its centre's distance from the picture's, so a bystander must be much larger than the
    person in the middle to be taken for the sitter.

    Args:
        detections: at least one face.
        frame: the picture.
    """
    boxes = detections.boxes_xyxy
    middle = np.array(frame.image_bgr.shape[1::-1]) / 2
    heights = boxes[:, 3] - boxes[:, 1]
    distances = np.linalg.norm((boxes[:, :2] + boxes[:, 2:]) / 2 - middle, axis=1)
    return int(np.argmax(heights - distances))
