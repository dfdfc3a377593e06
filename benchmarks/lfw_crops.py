"""The central face of each LFW photo, found by the public RetinaFace and aligned for an embedder; and embedders that take it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from facette.data.lfw import RAW, Pairs, Photos
from facette.evaluation.embed_photos import central_crop
from facette.export import export
from facette.finder import find_with
from facette.loading import SearchPath, load_detector
from facette.model import Model
from facette.recipe import DetectorRecipe
from facette_runtime.engines import open_engine
from facette_runtime.manifest import Alignment
from facette_runtime.preprocess import to_network
from facette_runtime.types import FloatArray, Image

DETECTOR = "retinaface-mobilenet025"


def central_crops(pairs: Pairs, data: Path, weights: Path, alignment: Alignment) -> Iterator[Image | None]:
    """One crop a photo of ``pairs.photos``, uint8 [h, w, 3], BGR; None where no face is found. Shows a progress bar.

    Args:
        pairs: whose photos.
        data: holds LFW.
        weights: holds the detector's safetensors.
        alignment: the embedder's.

    Raises:
        FacetteError: photos or weights are missing.
    """
    detect = find_with(load_detector(DetectorRecipe(DETECTOR, f"{DETECTOR}.safetensors"), SearchPath(weights)))
    photos = Photos(data, RAW)
    for name in tqdm(pairs.photos, desc="LFW", unit="photo", dynamic_ncols=True, disable=None):
        yield central_crop(detect, photos.read(name), alignment)


class Contender:
    """An embedder as it would run on a device; called with one crop, it gives its embedding, not normalised."""

    def __init__(self, model: Model) -> None:
        self._engine = open_engine("onnxruntime", export(model, "onnxruntime", "fp32").model, 1)
        self._color_order = model.image.color_order

    def __call__(self, crop_bgr: Image) -> FloatArray:
        pixels = to_network(crop_bgr, self._color_order)[None]
        return self._engine.run({self._engine.inputs[0].name: pixels})["embedding"][0]
