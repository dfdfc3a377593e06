"""Small valid bundles with null engines, so that the whole runtime can be tested without a model.

The detector finds one face, always at the same place of its input, in every picture that is bright enough; the embedder tells
pictures apart by their mean colour.
"""

from __future__ import annotations

import hashlib
import json
import platform
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from facette_runtime.align import align
from facette_runtime.detect import Detector
from facette_runtime.embed import Embedder
from facette_runtime.engines import open_engine
from facette_runtime.manifest import (
    Alignment,
    DetectorEntry,
    EmbedderEntry,
    EmbeddingDecoder,
    FileDigest,
    Golden,
    GoldenFace,
    GoldenTolerance,
    ImageInput,
    Letterbox,
    Licence,
    Manifest,
    MatchRule,
    PointDecoder,
    TargetFacts,
)
from facette_runtime.schema import to_dict
from facette_runtime.types import Image

RED, BLUE, BLACK = (40, 60, 250), (250, 90, 40), (0, 0, 0)

_ZEROS = [0.0] * 3
_FACE_LANDMARKS = [-0.2, -0.2, 0.2, -0.2, 0.0, 0.0, -0.2, 0.2, 0.2, 0.2]

DETECTOR_NETWORK = {
    "inputs": [{"name": "image", "shape": [1, 64, 64, 3], "dtype": "uint8"}],
    "outputs": [
        {"kind": "brightness", "name": "scores", "shape": [1, 4], "values": [2.0, *_ZEROS]},
        {"kind": "constant", "name": "boxes", "shape": [1, 4, 4], "values": [0.4] * 16},
        {"kind": "constant", "name": "landmarks", "shape": [1, 4, 10], "values": _FACE_LANDMARKS * 4},
    ],
}
EMBEDDER_NETWORK = {
    "inputs": [{"name": "image", "shape": [None, 16, 16, 3], "dtype": "uint8"}],
    "outputs": [{"kind": "colour", "name": "embedding", "shape": [None, 8], "seed": 5}],
}

_ENTRY = {
    "engine": "null",
    "precision": "fp32",
    "form": "stock",
    "threads": 1,
    "parameters": None,
    "macs": None,
    "parity": {},
    "latency_ms": None,
}
_NORMAL = {"mean": (0.0, 0.0, 0.0), "scale": (1.0, 1.0, 1.0)}

DETECTOR = DetectorEntry(
    name="null-detector",
    file="networks/detector.json",
    input=ImageInput("image", (64, 64), "bgr", 1, **_NORMAL),
    source_digest="d" * 64,
    decoder=PointDecoder("points", (32,)),
    letterbox=Letterbox(),
    **_ENTRY,
)
EMBEDDER = EmbedderEntry(
    name="null-embedder",
    file="networks/embedder.json",
    input=ImageInput("image", (16, 16), "rgb", None, **_NORMAL),
    source_digest="e" * 64,
    decoder=EmbeddingDecoder("embedding", 8),
    alignment=Alignment((16, 16), ((4, 4), (12, 4), (8, 8), (4, 12), (12, 12))),
    **_ENTRY,
)


def picture(colour_bgr: tuple[int, int, int], height: int = 80, width: int = 100) -> Image:
    """A picture of one colour with a darker edge: the null detector finds a face in it unless it is dark."""
    image = np.full((height, width, 3), colour_bgr, np.uint8)
    image[:, -1] //= 2
    return image


def write_picture(path: Path, colour_bgr: tuple[int, int, int]) -> Path:
    """Writes such a picture."""
    assert cv2.imwrite(str(path), picture(colour_bgr))
    return path


def bundle_files() -> dict[str, bytes]:
    """Every file but the manifest."""
    image = picture(RED)
    detector = Detector(open_engine("null", json.dumps(DETECTOR_NETWORK).encode(), 1), DETECTOR)
    letterboxed, _ = detector.prepare(image)
    crop = align(image, detector(image).landmarks_xy[0], EMBEDDER.alignment)
    pictures = {"golden/0.png": image, "golden/0-letterbox.png": letterboxed, "golden/0-crop.png": crop}
    return {
        DETECTOR.file: json.dumps(DETECTOR_NETWORK).encode(),
        EMBEDDER.file: json.dumps(EMBEDDER_NETWORK).encode(),
        **{name: cv2.imencode(".png", pixels)[1].tobytes() for name, pixels in pictures.items()},
    }


def manifest(files: dict[str, bytes]) -> Manifest:
    """The manifest of these files, for this machine."""
    return Manifest(
        format=(1, 0),
        name="null",
        created="2026-01-01T00:00:00+00:00",
        target=TargetFacts("this-machine", platform.machine(), ()),
        detector=DETECTOR,
        embedder=EMBEDDER,
        match=MatchRule(0.9, "chosen for a test"),
        golden=Golden((_golden_face(files),), GoldenTolerance()),
        licences=(Licence("code", "Apache-2.0", True),),
        tools={},
        files={name: FileDigest(hashlib.sha256(data).hexdigest(), len(data)) for name, data in files.items()},
    )


def _golden_face(files: dict[str, bytes]) -> GoldenFace:
    decoded = {name: cv2.imdecode(np.frombuffer(data, np.uint8), 1) for name, data in files.items() if name.endswith(".png")}
    found = Detector(open_engine("null", files[DETECTOR.file], 1), DETECTOR)(decoded["golden/0.png"])
    embedding = Embedder(open_engine("null", files[EMBEDDER.file], 1), EMBEDDER)([decoded["golden/0-crop.png"]])[0]
    return GoldenFace(
        image="golden/0.png",
        letterbox="golden/0-letterbox.png",
        box_xyxy=tuple(map(float, found.boxes_xyxy[0])),
        score=float(found.scores[0]),
        landmarks_xy=tuple((float(x), float(y)) for x, y in found.landmarks_xy[0]),
        crop="golden/0-crop.png",
        embedding=tuple(map(float, embedding)),
    )


def write_bundle(path: Path, *, extra_files: dict[str, bytes] | None = None, **changes: Any) -> Path:
    """Writes a valid bundle.

    Args:
        path: the file.
        extra_files: files beside those that the manifest lists.
        changes: attributes of the manifest to replace, as dataclasses or plain values.
    """
    files = bundle_files()
    content = to_dict(replace(manifest(files), **changes))
    return write_zip(path, {"manifest.json": json.dumps(content).encode(), **files, **(extra_files or {})})


def write_zip(path: Path, files: dict[str, bytes], packing: int = zipfile.ZIP_STORED) -> Path:
    """Writes a zip of these files."""
    with zipfile.ZipFile(path, "w", packing) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path
