"""The embedding of every photo of a test set through a bundle, several engines side by side where the machine has the cores."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from facette.data.lfw import Photos
from facette.resample import resampled
from facette_runtime.align import align
from facette_runtime.bundle import Bundle
from facette_runtime.detect import Detector
from facette_runtime.embed import Embedder, normalize
from facette_runtime.engines import open_engine
from facette_runtime.manifest import Alignment, DetectorEntry, EmbedderEntry
from facette_runtime.types import Detections, FloatArray, Image

CHUNK = 32
"""Photos a task: what one call of a network with a free batch gets."""


@dataclass(frozen=True)
class Networks:
    """A bundle's two networks, loaded; for one thread.

    Attributes:
        detector, embedder: run them.
        detector_entry, embedder_entry: what the manifest says of them.
    """

    detector: Detector
    embedder: Embedder
    detector_entry: DetectorEntry
    embedder_entry: EmbedderEntry

    @classmethod
    def load(cls, bundle: Bundle, threads: int = 1) -> Networks:
        """Opens the bundle's engines with ``threads`` intra-op threads each.

        Raises:
            EngineError: an engine is not installed or refuses its network.
        """
        detector, embedder = bundle.manifest.detector, bundle.manifest.embedder
        engines = [open_engine(entry.engine, bundle.read(entry.file), threads) for entry in (detector, embedder)]
        return cls(Detector(engines[0], detector), Embedder(engines[1], embedder), detector, embedder)

    def central_crop(self, photo_bgr: Image) -> Image | None:
        """The aligned crop of the photo's `central_face`, or None where no face is found."""
        return central_crop(self.detector, photo_bgr, self.embedder_entry.alignment)

    def embed(self, crops_bgr: Sequence[Image], flip: bool) -> FloatArray:
        """float32 [n, d], L2-normalised; with ``flip`` the mean with the mirrored crop's embedding."""
        embeddings = self.embedder(crops_bgr)
        if not flip or not crops_bgr:
            return embeddings
        return normalize(embeddings + self.embedder([np.ascontiguousarray(crop[:, ::-1]) for crop in crops_bgr]))


def central_crop(detect: Detector, photo_bgr: Image, alignment: Alignment) -> Image | None:
    """The aligned crop of the photo's `central_face`, uint8 [h, w, 3], BGR; None where no face is found."""
    detections = detect(photo_bgr)
    if not len(detections):
        return None
    return align(photo_bgr, detections.landmarks_xy[central_face(detections, photo_bgr)], alignment)


def central_face(detections: Detections, photo_bgr: Image) -> int:
    """Whose photo it is: the face with the largest box area less twice its centre's squared distance from the photo's centre.

    Args:
        detections: at least one face.
        photo_bgr: uint8 [h, w, 3], BGR.
    """
    boxes = detections.boxes_xyxy
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    middle = np.array(photo_bgr.shape[1::-1], np.float32) / 2
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    return int(np.argmax(areas - 2 * np.sum((centres - middle) ** 2, axis=1)))


def embed_photos(
    bundle: Bundle, photos: Photos, names: Sequence[str], *, aligned: bool, flip: bool, label: str | None
) -> tuple[FloatArray, np.ndarray]:
    """Embeds each photo once. Every thread has engines of its own with one intra-op thread, so results do not depend on the cores.

    Args:
        bundle: checked.
        photos: where they are read.
        names: which.
        aligned: whether a photo is already the embedder's crop, in as many pixels or more; otherwise the whole pipeline runs.
        flip: whether to average with the mirrored crop.
        label: of the progress bar; None for no bar.

    Returns:
        float32 [n, d], L2-normalised, zero where no face was found; and bool [n], whether one was.
    """
    size_wh = bundle.manifest.embedder.alignment.size_wh
    local = threading.local()
    lock = threading.Lock()

    def task(chunk: Sequence[str]) -> list[FloatArray | None]:
        with lock:  # a zip file has one reading position, and the bundle is a zip file too
            if not hasattr(local, "networks"):
                local.networks = Networks.load(bundle)
            pictures = [photos.read(name) for name in chunk]
        networks: Networks = local.networks
        crops = list(resampled(np.stack(pictures), size_wh)) if aligned else [networks.central_crop(each) for each in pictures]
        embeddings = iter(networks.embed([crop for crop in crops if crop is not None], flip))
        return [None if crop is None else next(embeddings) for crop in crops]

    chunks = [names[start : start + CHUNK] for start in range(0, len(names), CHUNK)]
    with tqdm(total=len(names), desc=label, unit="photo", leave=False, disable=label is None or None) as bar:
        embedded = list(_run(task, chunks, bar.update))
    found = np.array([embedding is not None for embedding in embedded])
    empty = np.zeros(bundle.manifest.embedder.decoder.size, np.float32)
    return np.stack([empty if embedding is None else embedding for embedding in embedded]), found


def _run(
    task: Callable[[Sequence[str]], list[FloatArray | None]], chunks: Sequence[Sequence[str]], update: Callable[[int], object]
) -> Iterator[FloatArray | None]:
    with ThreadPoolExecutor(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()) as pool:
        for result in pool.map(task, chunks):
            update(len(result))
            yield from result
