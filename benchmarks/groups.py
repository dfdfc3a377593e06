"""Does a bundle treat people alike? Faces found, and how far embeddings move under disturbance, by age, gender and race group.

UTKFace's file names give age, gender and race as its authors estimated them; it names nobody, so recognition accuracy by group
can't be measured with it. Facette's own networks saw these pictures in training, without their labels: differences between groups
say something, the level says less.

    python benchmarks/groups.py BUNDLE --data FOLDER [--photos 3000] [--json FILE]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from facette.commands.common import folder_option
from facette.data.faces import open_faces
from facette.evaluation.embed_photos import Networks
from facette.tables import table
from facette_runtime.bundle import Bundle
from facette_runtime.errors import FacetteError
from facette_runtime.machine import Machine, describe_machine
from facette_runtime.types import Image
from harness import new_parser, run_benchmark

FACES = "utkface-128.zip"
AGES = ((0, 3), (4, 12), (13, 19), (20, 39), (40, 59), (60, 200))
GENDERS = ("male", "female")
RACES = ("White", "Black", "Asian", "Indian", "other")
BORDER = 32
"""Pixels round each photo: UTKFace is cut so close that a detector has no room."""


@dataclass(frozen=True, slots=True)
class Group:
    """One group of people.

    Attributes:
        name: e.g. "age 4-12".
        photos: how many.
        recall: share of them in which a face is found at the photo's middle.
        stability: mean cosine of a face's embedding with that of the disturbed photo's.
        still_matching: share of the faces found twice whose two embeddings match by the bundle's threshold.
    """

    name: str
    photos: int
    recall: float
    stability: float
    still_matching: float


@dataclass(frozen=True)
class Result:
    """All groups, everybody first."""

    bundle: str
    threshold: float
    machine: Machine
    groups: list[Group]


def main() -> int:
    """Runs the benchmark."""
    parser = new_parser(__doc__)
    parser.add_argument("bundle", type=Path, metavar="BUNDLE")
    parser.add_argument("--data", type=Path, metavar="FOLDER", help=f"holds {FACES} (or FACETTE_DATA)")
    parser.add_argument("--photos", type=int, default=3000, help="evenly spread over the data set (default: 3000)")
    return run_benchmark(parser, run, print_result)


def run(arguments: argparse.Namespace) -> Result:
    """Sends every photo through the bundle's pipeline twice, as it is and disturbed."""
    data = folder_option(arguments.data, "FACETTE_DATA")
    if data is None or arguments.photos < 1:
        raise FacetteError(f"--data: needed (or FACETTE_DATA), with {FACES}; --photos: at least 1")
    faces = open_faces(data / FACES)
    bundle = Bundle.open(arguments.bundle, check_target=False)
    networks = Networks.load(bundle)
    chosen = np.unique(np.linspace(0, len(faces) - 1, arguments.photos).astype(int))
    labelled = [(index, labels) for index in chosen if (labels := labels_of(faces.names[index])) is not None]
    cosines = [
        similarity(networks, faces.picture(int(index)), int(index))
        for index, _ in tqdm(labelled, desc="photos", unit="photo", disable=None)
    ]
    groups_of = [names for _, names in labelled]
    groups = ["everybody", *(f"age {low}-{high}" for low, high in AGES), *GENDERS, *RACES]
    threshold = bundle.manifest.match.threshold
    rows = [summary(name, [c for c, own in zip(cosines, groups_of, strict=True) if name in own], threshold) for name in groups]
    return Result(bundle.manifest.name, threshold, describe_machine(), [row for row in rows if row.photos])


def labels_of(name: str) -> frozenset[str] | None:
    """The groups of a picture named ``age_gender_race_date.jpg``; None for the few whose names lack a part."""
    parts = Path(name).name.split("_")
    if len(parts) < 4 or not all(part.isdigit() for part in parts[:3]):
        return None
    age, gender, race = map(int, parts[:3])
    if gender >= len(GENDERS) or race >= len(RACES):
        return None
    years = next(f"age {low}-{high}" for low, high in AGES if low <= age <= high)
    return frozenset({"everybody", years, GENDERS[gender], RACES[race]})


def similarity(networks: Networks, photo: Image, seed: int) -> float | None:
    """Cosine of the face with itself disturbed; None where the photo shows no face to the detector, NaN where only the second."""
    rng = np.random.default_rng(seed)
    views = [
        cv2.copyMakeBorder(view, BORDER, BORDER, BORDER, BORDER, cv2.BORDER_REPLICATE) for view in (photo, disturb(photo, rng))
    ]
    crops = [networks.central_crop(np.asarray(view, np.uint8)) for view in views]
    if crops[0] is None:
        return None
    if crops[1] is None:
        return float("nan")
    first, second = networks.embed([crops[0], crops[1]], flip=False)
    return float(first @ second)


def with_border(photo: Image) -> Image:
    """The photo with `BORDER` pixels of its own edge all round."""
    return np.asarray(cv2.copyMakeBorder(photo, BORDER, BORDER, BORDER, BORDER, cv2.BORDER_REPLICATE), np.uint8)


def disturb(photo: Image, rng: np.random.Generator) -> Image:
    """What a cheap camera does: turned a little, half the resolution, other light, strong compression. uint8 [h, w, 3], BGR."""
    height, width = photo.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), float(rng.uniform(-8, 8)), 1.0)
    view = cv2.warpAffine(photo, turn, (width, height), borderMode=cv2.BORDER_REPLICATE)
    view = cv2.resize(cv2.resize(view, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), (width, height))
    light = rng.uniform(0.6, 1.4)
    view = np.clip(view.astype(np.float32) * light, 0, 255).astype(np.uint8)
    decoded = cv2.imdecode(cv2.imencode(".jpg", view, [cv2.IMWRITE_JPEG_QUALITY, 40])[1], cv2.IMREAD_COLOR)
    assert decoded is not None
    return np.asarray(decoded, np.uint8)


def summary(name: str, cosines: Sequence[float | None], threshold: float) -> Group:
    """One group's figures."""
    found = np.array([c for c in cosines if c is not None])
    both = found[~np.isnan(found)]
    return Group(name, len(cosines), len(found) / max(len(cosines), 1), _mean(both), _mean(both >= threshold))


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")


def print_result(result: Result) -> None:
    """A table."""
    print(f"{result.bundle}, match threshold {result.threshold:.4f}, UTKFace")
    rows = [
        [g.name, str(g.photos), f"{g.recall * 100:.1f}", f"{g.stability:.3f}", f"{g.still_matching * 100:.1f}"]
        for g in result.groups
    ]
    print(table(["group", "photos", "face found %", "cosine under disturbance", "still matching %"], rows))


if __name__ == "__main__":
    sys.exit(main())
