"""Verification accuracy of one embedder, by itself: what the gate compares a network before and after with.

The whole pipeline is measured by `facette.evaluation.evaluate`; here the crops are made once, by the uncompiled detector, and
every candidate sees the same ones, in fewer pixels if it was made to take fewer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path

import numpy as np
from tqdm import tqdm

from facette.cache import Cache, fingerprint, key_of
from facette.data.lfw import ALIGNED, RAW, Pairs, Photos, read_pairs
from facette.evaluation.all_pairs import AllPairs, verify_all_pairs
from facette.evaluation.embed_photos import CHUNK, central_crop
from facette.evaluation.evaluate import CHOOSING_FOLDS, fits_aligned_crop, judge
from facette.finder import find_with
from facette.model import Model
from facette.resample import fitted
from facette_runtime.embed import normalize
from facette_runtime.engines.base import Engine
from facette_runtime.preprocess import to_network
from facette_runtime.types import FloatArray, Image


@dataclass(frozen=True)
class VerificationSet:
    """The crops of every photo that the pairs name.

    Attributes:
        source: what they are, for reports.
        crops: uint8 [n, h, w, 3], in the network's channel order; black where no face was found.
        found: bool [n], whether one was.
        pairs: positions in ``crops``.
    """

    source: str
    crops: Image
    found: np.ndarray
    pairs: Pairs

    @property
    def digest(self) -> str:
        """Says which pixels and pairs these are."""
        return key_of(self.source, self.crops.shape, self.crops[:: max(1, len(self.crops) // 64)].tobytes(), self.pairs.photos)


@dataclass(frozen=True, slots=True)
class Verification:
    """How well an embedder tells people apart on a `VerificationSet`.

    Attributes:
        accuracy: of view 2 on the folds measured, 0..1.
        tar, tar_low, tar_high: at a false accept rate of 1e-3, with its 95 % bootstrap interval.
        threshold: cosine that decides most of these pairs rightly.
        pairs: how many.
        all_pairs: the same photos, each compared with every other; those without a face are left out.
    """

    accuracy: float
    tar: float
    tar_low: float
    tar_high: float
    threshold: float
    pairs: int
    all_pairs: AllPairs


def verification_set(
    data_dir: Path, embedder: Model, detector: Model, cache: Cache, folds: Sequence[int] = CHOOSING_FOLDS
) -> VerificationSet:
    """LFW's crops for an embedder: ``lfw-aligned-112`` where it was trained on such, else cut from the raw photos.

    Raises:
        FacetteError: the data are missing or incomplete.
    """
    pairs = read_pairs(data_dir).select(folds)
    assert embedder.alignment is not None
    width, height = embedder.image.size_wh
    where = f"LFW folds {', '.join(map(str, folds))}"
    if fits_aligned_crop(embedder.alignment):
        photos = Photos(data_dir, ALIGNED)
        crops = np.stack([to_network(photos.read(name), embedder.image.color_order) for name in pairs.photos])
        return VerificationSet(f"{where}, aligned", crops, np.ones(len(crops), bool), pairs)
    key = key_of("crops", fingerprint(detector), embedder.alignment, embedder.image.color_order, *pairs.photos)
    raw = cache.bytes(key, lambda: _cut(Photos(data_dir, RAW), pairs.photos, embedder, detector).tobytes())
    crops = np.frombuffer(raw, np.uint8).reshape(len(pairs.photos), height, width, 3)
    return VerificationSet(f"{where}, raw, cut by {detector.name}", crops, np.asarray(crops.any(axis=(1, 2, 3))), pairs)


def verify(engine: Engine, against: VerificationSet, label: str | None = None) -> Verification:
    """Embeds every crop and judges the pairs.

    Args:
        engine: its only output is the embedding.
        against: the crops.
        label: of the progress bar; None for none.
    """
    return _judged(_embed(engine, against, label), against.found, against.pairs)


def verify_folds(
    engine: Engine, against: VerificationSet, choices: Sequence[Sequence[int]], label: str | None = None
) -> list[Verification]:
    """As `verify`, once for each choice of folds, but every crop is embedded once only.

    Raises:
        FacetteError: a fold that ``against`` does not have.
    """
    embeddings, found = _embed(engine, against, label), []
    for folds in choices:
        pairs = against.pairs.select(folds)
        rows = np.searchsorted(against.pairs.photos, pairs.photos)
        found.append(_judged(embeddings[rows], against.found[rows], pairs))
    return found


def _embed(engine: Engine, against: VerificationSet, label: str | None) -> FloatArray:
    """Unit embeddings of every crop, float32 [n, d]."""
    (wanted,), (output,) = engine.inputs, engine.outputs
    step = CHUNK if wanted.shape[0] is None else wanted.shape[0]
    starts = range(0, len(against.crops), step)
    parts = []
    for start in tqdm(starts, desc=label, unit="batch", leave=False, disable=label is None or None):
        chunk = fitted(engine, against.crops[start : start + step])
        padded = chunk if wanted.shape[0] is None else np.resize(chunk, (step, *chunk.shape[1:]))
        parts.append(engine.run({wanted.name: np.ascontiguousarray(padded)})[output.name][: len(chunk)])
    return normalize(np.concatenate(parts))


def _judged(embeddings: FloatArray, found: np.ndarray, pairs: Pairs) -> Verification:
    result = judge(pairs, embeddings, found, shipped_threshold=0.0)
    tar = result.tar
    everyone = verify_all_pairs(embeddings[found], list(compress(pairs.people, found)))
    return Verification(result.accuracy.mean, tar.tar, tar.low, tar.high, result.threshold, result.pairs, everyone)


def _cut(photos: Photos, names: Sequence[str], embedder: Model, detector: Model) -> Image:
    assert embedder.alignment is not None
    find = find_with(detector)
    width, height = embedder.image.size_wh
    crops = np.zeros((len(names), height, width, 3), np.uint8)
    for index, name in enumerate(tqdm(names, desc="cut LFW's faces", unit="photo", leave=False, disable=None)):
        crop = central_crop(find, photos.read(name), embedder.alignment)
        if crop is not None:
            crops[index] = to_network(crop, embedder.image.color_order)
    return crops
