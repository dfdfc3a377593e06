"""Replays the bundle's golden faces on this device and names the first stage that differs.

Each stage is fed with what the host expects of the stage before, so that one fault shows in one place; a last check runs from
the picture to the embedding.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from facette_runtime.align import align
from facette_runtime.bundle import Bundle
from facette_runtime.causes import likely_cause, likely_shift, normalisation
from facette_runtime.detect import Detector
from facette_runtime.embed import Embedder
from facette_runtime.engines import open_engine
from facette_runtime.errors import BundleError
from facette_runtime.manifest import GoldenFace, GoldenTolerance, Manifest
from facette_runtime.types import Detections, Image


@dataclass(frozen=True, slots=True)
class Check:
    """One stage of one golden face.

    Attributes:
        stage: "letterbox", "detect", "align", "embed" or "end to end".
        image: the picture's path in the bundle.
        passed: whether it is within the tolerance.
        finding: what was measured against what is allowed, and where it failed what to look at.
    """

    stage: str
    image: str
    passed: bool
    finding: str

    def line(self) -> str:
        """The verdict for people, one line."""
        return f"{'ok  ' if self.passed else 'FAIL'} {self.stage}: {self.finding} ({self.image})"


def self_test(bundle: Bundle, threads: int | None = None) -> list[Check]:
    """Runs all checks, picture by picture, stage by stage.

    Args:
        bundle: a checked bundle.
        threads: intra-op threads; by default those that the bundle was measured with.

    Raises:
        BundleError: the bundle has no golden faces, or one of their pictures cannot be decoded.
        EngineError: an engine is not installed or refuses its network.
    """
    manifest = bundle.manifest
    if not manifest.golden.faces:
        raise BundleError(f"{bundle.path} has no golden faces to replay")
    detector_engine, embedder_engine = (
        open_engine(entry.engine, bundle.read(entry.file), threads or entry.threads)
        for entry in (manifest.detector, manifest.embedder)
    )
    replay = _Replay(bundle, Detector(detector_engine, manifest.detector), Embedder(embedder_engine, manifest.embedder))
    return [check for golden in manifest.golden.faces for check in replay.checks(golden)]


class _Replay:
    def __init__(self, bundle: Bundle, detector: Detector, embedder: Embedder) -> None:
        self._bundle = bundle
        self._manifest: Manifest = bundle.manifest
        self._allowed: GoldenTolerance = bundle.manifest.golden.tolerance
        self._detector = detector
        self._embedder = embedder

    def checks(self, golden: GoldenFace) -> list[Check]:
        image, letterboxed, crop = (self._picture(name) for name in (golden.image, golden.letterbox, golden.crop))
        found = (
            ("letterbox", self._letterbox(image, letterboxed)),
            ("detect", self._detect(image, letterboxed, golden)),
            ("align", self._align(image, crop, golden)),
            ("embed", self._embed(crop, golden)),
            ("end to end", self._end_to_end(image, golden)),
        )
        return [Check(stage, golden.image, passed, finding) for stage, (passed, finding) in found]

    def _picture(self, name: str) -> Image:
        image: Image | None = cv2.imdecode(np.frombuffer(self._bundle.read(name), np.uint8), cv2.IMREAD_COLOR)
        if image is None:
            raise BundleError(f"{self._bundle.path}: golden picture {name} cannot be decoded")
        return image

    def _letterbox(self, image: Image, expected: Image) -> tuple[bool, str]:
        actual, _ = self._detector.prepare(image)
        return _compare_levels(actual, expected, self._allowed.letterbox_levels, "check resizing and padding")

    def _detect(self, image: Image, letterboxed: Image, golden: GoldenFace) -> tuple[bool, str]:
        _, scale = self._detector.prepare(image)
        found = self._detector.decode(self._detector.infer(letterboxed), scale)
        passed, finding = self._compare_boxes(found, golden)
        if passed:
            return True, finding

        def error(pixels: Image) -> float:
            return self._box_error(self._detector.decode(self._detector.infer(pixels), scale), golden)

        cause = likely_cause(error, letterboxed, self._manifest.detector.input)
        advice = f"check {normalisation(self._manifest.detector.input)}, and the decoder"
        return False, f"{finding}: {cause or advice}"

    def _box_error(self, found: Detections, golden: GoldenFace) -> float:
        """In units of what is allowed; infinite where there is no face."""
        if not len(found):
            return float("inf")
        box, landmark = self._distances(found, golden)
        return max(box / self._allowed.box_px, landmark / self._allowed.landmark_px)

    def _distances(self, found: Detections, golden: GoldenFace) -> tuple[float, float]:
        box = float(np.abs(found.boxes_xyxy[0] - np.array(golden.box_xyxy)).max())
        return box, float(np.abs(found.landmarks_xy[0] - np.array(golden.landmarks_xy)).max())

    def _compare_boxes(self, found: Detections, golden: GoldenFace) -> tuple[bool, str]:
        if not len(found):
            return False, "no face found"
        box_error, landmark_error = self._distances(found, golden)
        passed = box_error <= self._allowed.box_px and landmark_error <= self._allowed.landmark_px
        return passed, (
            f"box {box_error:.3f} px off ({self._allowed.box_px:g} allowed), landmarks {landmark_error:.3f} px"
            f" ({self._allowed.landmark_px:g}), score {float(found.scores[0]):.4f} for {golden.score:.4f}"
        )

    def _align(self, image: Image, expected: Image, golden: GoldenFace) -> tuple[bool, str]:
        alignment, landmarks = self._manifest.embedder.alignment, np.array(golden.landmarks_xy, np.float32)
        actual = align(image, landmarks, alignment)
        passed, finding = _compare_levels(actual, expected, self._allowed.crop_levels, "")
        if passed or actual.shape != expected.shape:
            return passed, finding

        def difference(x: float, y: float) -> float:
            moved = replace(alignment, template_xy=tuple((a + x, b + y) for a, b in alignment.template_xy))
            return _mean_difference(align(image, landmarks, moved), expected)

        cause = likely_shift(difference, self._allowed.crop_levels)
        return False, f"{finding}: {cause or 'check the landmarks, the template and the warp'}"

    def _embed(self, crop: Image, golden: GoldenFace) -> tuple[bool, str]:
        least = self._allowed.embedding_cosine
        cosine = self._cosine(crop, golden)
        if cosine >= least:
            return True, f"cosine {cosine:.6f} >= {least:g}"

        def error(pixels: Image) -> float:
            return (1 - self._cosine(pixels, golden)) / (1 - least)

        entry = self._manifest.embedder.input
        return False, f"cosine {cosine:.6f} < {least:g}: {likely_cause(error, crop, entry) or f'check {normalisation(entry)}'}"

    def _end_to_end(self, image: Image, golden: GoldenFace) -> tuple[bool, str]:
        least = self._allowed.end_to_end_cosine
        found = self._detector(image)
        if not len(found):
            return False, "no face found"
        cosine = self._cosine(align(image, found.landmarks_xy[0], self._manifest.embedder.alignment), golden)
        passed = cosine >= least
        return passed, f"cosine {cosine:.6f} {'>=' if passed else '<'} {least:g}"

    def _cosine(self, crop: Image, golden: GoldenFace) -> float:
        return float(self._embedder([crop])[0] @ np.array(golden.embedding, np.float32))


def _compare_levels(actual: Image, expected: Image, allowed: float, hint: str) -> tuple[bool, str]:
    if actual.shape != expected.shape:
        return False, f"shape {actual.shape} instead of {expected.shape}: check the sizes"
    difference = _mean_difference(actual, expected)
    passed = difference <= allowed
    return passed, f"differs by {difference:.3f} grey levels ({allowed:g} allowed)" + (f": {hint}" if hint and not passed else "")


def _mean_difference(actual: Image, expected: Image) -> float:
    return float(np.abs(actual.astype(np.int16) - expected).mean())
