"""detect → align → embed → match, and how long each takes."""

from __future__ import annotations

import cv2

from facette_runtime.align import align
from facette_runtime.bundle import Bundle
from facette_runtime.detect import Detector
from facette_runtime.embed import Embedder
from facette_runtime.engines import open_engine
from facette_runtime.gallery import Gallery
from facette_runtime.manifest import Alignment
from facette_runtime.match import Matcher
from facette_runtime.meter import Meter
from facette_runtime.types import Detections, Face, FloatArray, Frame, Image

STAGES = ("letterbox", "detect", "decode", "align", "embed", "match")


class Pipeline:
    """Recognises the faces of one frame after another. Not thread-safe: use one pipeline a thread.

    Attributes:
        meter: where the stages' times go.
    """

    def __init__(self, detector: Detector, embedder: Embedder, alignment: Alignment, matcher: Matcher, meter: Meter) -> None:
        self._detector = detector
        self._embedder = embedder
        self._alignment = alignment
        self._matcher = matcher
        self.meter = meter

    @classmethod
    def load(
        cls,
        bundle: Bundle,
        gallery: Gallery | None = None,
        threads: int | None = None,
        threshold: float | None = None,
        meter: Meter | None = None,
    ) -> Pipeline:
        """Opens the bundle's engines.

        Args:
            bundle: a checked bundle.
            gallery: who is known; without one every face is unknown.
            threads: intra-op threads of the engines and of OpenCV; by default those that the bundle was measured with.
            threshold: cosine of a match; by default the bundle's.
            meter: where the stages' times go; by default a new one.

        Raises:
            EngineError: an engine is not installed or refuses its network.
            FacetteError: the gallery was made by another embedder.
        """
        manifest = bundle.manifest
        gallery = gallery or Gallery.empty(manifest.embedder)
        gallery.check_embedder(manifest.embedder)
        cv2.setNumThreads(threads or manifest.detector.threads)
        detector, embedder = (
            open_engine(entry.engine, bundle.read(entry.file), threads or entry.threads)
            for entry in (manifest.detector, manifest.embedder)
        )
        return cls(
            Detector(detector, manifest.detector),
            Embedder(embedder, manifest.embedder),
            manifest.embedder.alignment,
            Matcher(gallery.templates, gallery.names, manifest.match.threshold if threshold is None else threshold),
            meter or Meter(),
        )

    @property
    def engines(self) -> tuple[str, str]:
        """What really runs the detector and the embedder: an engine that isn't at hand may have handed over to another."""
        return self._detector.engine, self._embedder.engine

    def process(self, frame: Frame) -> list[Face]:
        """Finds and recognises the faces of one frame, best score first."""
        detections = self.detect(frame.image_bgr)
        embeddings = self.embed(frame.image_bgr, detections.landmarks_xy)
        with self.meter.stage("match"):
            matches = self._matcher(embeddings)
        return [
            Face(
                detections.boxes_xyxy[index],
                float(detections.scores[index]),
                detections.landmarks_xy[index],
                embeddings[index],
                match,
            )
            for index, match in enumerate(matches)
        ]

    def detect(self, image_bgr: Image) -> Detections:
        """The first three stages: the faces of a picture, uint8 [h, w, 3], BGR."""
        with self.meter.stage("letterbox"):
            letterboxed, scale = self._detector.prepare(image_bgr)
        with self.meter.stage("detect"):
            outputs = self._detector.infer(letterboxed)
        with self.meter.stage("decode"):
            return self._detector.decode(outputs, scale)

    def embed(self, image_bgr: Image, landmarks_xy: FloatArray) -> FloatArray:
        """The next two stages, for all faces of a picture together.

        Args:
            image_bgr: uint8 [h, w, 3], BGR.
            landmarks_xy: float32 [n, 5, 2], pixels.

        Returns:
            float32 [n, d], L2-normalised.
        """
        with self.meter.stage("align"):
            crops = [align(image_bgr, landmarks, self._alignment) for landmarks in landmarks_xy]
        with self.meter.stage("embed"):
            return self._embedder(crops)
