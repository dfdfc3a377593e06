"""Does a bundle still recognise people? Labeled Faces in the Wild, view 2, with the bundle's own engines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facette.catalogue import ARCFACE_112
from facette.data.lfw import ALIGNED, RAW, Pairs, Photos, read_pairs
from facette.evaluation.embed_photos import embed_photos
from facette.evaluation.metrics import (
    Accuracy,
    Scores,
    TarAtFar,
    Threshold,
    accuracy_at,
    best_threshold,
    equal_error_rate,
    tar_at_far,
    view2_accuracy,
)
from facette.resample import in_pixels
from facette.tables import table
from facette_runtime.bundle import Bundle
from facette_runtime.errors import FacetteError
from facette_runtime.manifest import Alignment, NetworkEntry

PROTOCOLS = ("aligned", "raw")

CHOOSING_FOLDS = (1, 2, 3, 4, 5)
"""Settings may be chosen on these; the others stay unseen."""

NO_FACE = -1.0
"""Similarity of a pair with a photo in which no face was found: as unlike as a cosine can be, so never a match."""

_HEADERS = (
    *("protocol", "accuracy %", "TAR@FAR=1e-3 %", "95% interval", "EER %"),
    *("threshold", "unseen %", "shipped", "shipped %", "no face"),
)


@dataclass(frozen=True, slots=True)
class Result:
    """One protocol.

    Attributes:
        photos, pairs: how many were measured.
        without_face: photos in which no face was found; their pairs get `NO_FACE`.
        accuracy: of view 2.
        tar: at a false accept rate of 1e-3.
        eer: equal error rate, 0..1.
        threshold: best on those of `CHOOSING_FOLDS` that were measured.
        chosen: the same with the folds it came from and its accuracy there.
        unseen_accuracy: of ``threshold`` on the folds that did not choose it; None where there are none.
        shipped_threshold, shipped_accuracy: the bundle's own threshold, and its accuracy on all pairs measured.
    """

    photos: int
    pairs: int
    without_face: int
    accuracy: Accuracy
    tar: TarAtFar
    eer: float
    threshold: float
    chosen: Threshold
    unseen_accuracy: float | None
    shipped_threshold: float
    shipped_accuracy: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A bundle's accuracy.

    Attributes:
        bundle: its name.
        detector, embedder: network, engine, precision and graph form.
        folds: measured.
        flip: whether embeddings were averaged with the mirrored crop's.
        protocols: result by protocol.
        skipped: why, by protocol that could not be measured.
    """

    bundle: str
    detector: str
    embedder: str
    folds: tuple[int, ...]
    flip: bool
    protocols: dict[str, Result]
    skipped: dict[str, str]


def evaluate(
    bundle: Path,
    data_dir: Path,
    protocols: Sequence[str] = PROTOCOLS,
    folds: Sequence[int] | None = None,
    progress: bool = True,
    flip: bool = False,
) -> Evaluation:
    """Measures verification accuracy.

    Args:
        bundle: compiled for any target whose engines run on this machine.
        data_dir: with ``lfw-pairs.txt`` and the photos; see `facette.data.lfw`.
        protocols: "aligned", the embedder alone on crops that are cut already, made smaller for one that takes smaller ones; "raw",
            the whole pipeline from the photo.
        folds: at least two, one of them of `CHOOSING_FOLDS`; None for all ten.
        progress: whether to show a progress bar (on a terminal).
        flip: average each embedding with the mirrored crop's. The device pipeline does not do so.

    Raises:
        FacetteError: data are missing, or a protocol or fold is unknown.
    """
    unknown = sorted(set(protocols) - set(PROTOCOLS))
    if unknown or not protocols:
        raise FacetteError(f"protocol {unknown[0] if unknown else 'missing'}: choose from {', '.join(PROTOCOLS)}")
    pairs = read_pairs(data_dir)
    if folds is not None:
        if len(set(folds)) < 2 or not set(folds) & set(CHOOSING_FOLDS):
            raise FacetteError(f"folds {sorted(set(folds))}: give at least two, one of them from 1 to {CHOOSING_FOLDS[-1]}")
        pairs = pairs.select(folds)
    opened = Bundle.open(bundle, check_target=False)
    manifest = opened.manifest
    results: dict[str, Result] = {}
    skipped: dict[str, str] = {}
    for protocol in protocols:
        if protocol == "aligned" and not fits_aligned_crop(manifest.embedder.alignment):
            skipped[protocol] = f"{manifest.embedder.name} was trained on another crop than {ALIGNED}'s"
            continue
        photos = Photos(data_dir, ALIGNED if protocol == "aligned" else RAW)
        embeddings, found = embed_photos(
            opened, photos, pairs.photos, aligned=protocol == "aligned", flip=flip, label=protocol if progress else None
        )
        results[protocol] = judge(pairs, embeddings, found, manifest.match.threshold)
    return Evaluation(
        bundle=manifest.name,
        detector=_describe(manifest.detector),
        embedder=_describe(manifest.embedder),
        folds=tuple(int(fold) for fold in np.unique(pairs.folds)),
        flip=flip,
        protocols=results,
        skipped=skipped,
    )


def judge(pairs: Pairs, embeddings: np.ndarray, found: np.ndarray, shipped_threshold: float) -> Result:
    """Turns embeddings into figures.

    Args:
        pairs: n of them.
        embeddings: float [photos, d], L2-normalised.
        found: bool [photos], whether a face was found.
        shipped_threshold: the bundle's.
    """
    cosines = np.einsum("nd,nd->n", embeddings[pairs.first], embeddings[pairs.second]).astype(np.float64)
    both = found[pairs.first] & found[pairs.second]
    scores = Scores(np.where(both, cosines, NO_FACE), pairs.same, pairs.folds)
    chosen = best_threshold(scores.select(CHOOSING_FOLDS))
    unseen = scores.select([int(fold) for fold in np.unique(pairs.folds) if fold not in CHOOSING_FOLDS])
    return Result(
        photos=len(found),
        pairs=len(pairs.same),
        without_face=int(np.sum(~found)),
        accuracy=view2_accuracy(scores),
        tar=tar_at_far(scores),
        eer=equal_error_rate(scores),
        threshold=chosen.value,
        chosen=chosen,
        unseen_accuracy=accuracy_at(unseen, chosen.value) if len(unseen.same) else None,
        shipped_threshold=shipped_threshold,
        shipped_accuracy=accuracy_at(scores, shipped_threshold),
    )


def to_table(evaluation: Evaluation) -> str:
    """The figures for people."""
    folds = ", ".join(map(str, evaluation.folds))
    lines = [
        f"{evaluation.bundle} on LFW view 2, folds {folds}{', mirrored crops averaged' if evaluation.flip else ''}",
        f"  detector  {evaluation.detector}",
        f"  embedder  {evaluation.embedder}",
        "",
        table(_HEADERS, [_row(name, result) for name, result in evaluation.protocols.items()]),
        *(f"{name}: not measured: {why}" for name, why in evaluation.skipped.items()),
    ]
    for result in list(evaluation.protocols.values())[:1]:
        tar = result.tar
        lines += [
            "",
            "accuracy: mean ± standard deviation over folds, each judged by the threshold best on the others.",
            f"TAR@FAR=1e-3: {tar.false_accepts} of {tar.negatives} different-person pairs pass; interval: bootstrap over pairs.",
            f"threshold: best on folds {', '.join(map(str, result.chosen.folds))}; unseen: its accuracy on the other folds;"
            " shipped: the bundle's own.",
            f"A photo without a face makes its pairs non-matches (similarity {NO_FACE:g}).",
        ]
    return "\n".join(lines)


def _row(name: str, result: Result) -> list[str]:
    return [
        name,
        f"{result.accuracy.mean * 100:.2f} ± {result.accuracy.std * 100:.2f}",
        f"{result.tar.tar * 100:.2f}",
        f"{result.tar.low * 100:.2f}–{result.tar.high * 100:.2f}",
        f"{result.eer * 100:.2f}",
        f"{result.threshold:.4f}",
        "" if result.unseen_accuracy is None else f"{result.unseen_accuracy * 100:.2f}",
        f"{result.shipped_threshold:.4f}",
        f"{result.shipped_accuracy * 100:.2f}",
        f"{result.without_face} of {result.photos}",
    ]


def fits_aligned_crop(alignment: Alignment) -> bool:
    """Whether this is how the photos of ``lfw-aligned-112`` were cut, in as many pixels or fewer."""
    width, height = alignment.size_wh
    if width != height or width > ARCFACE_112.size_wh[0]:
        return False
    differences = np.array(alignment.template_xy) - np.array(in_pixels(ARCFACE_112, width).template_xy)
    return bool(np.abs(differences).max() < 0.5 * width / ARCFACE_112.size_wh[0])


def _describe(entry: NetworkEntry) -> str:
    return f"{entry.name}, {entry.engine} {entry.precision}, form {entry.form}"
