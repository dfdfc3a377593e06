"""How well similarities tell people apart: LFW's view-2 accuracy, TAR@FAR with a bootstrap interval, EER, a threshold to ship."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

F = TypeVar("F", bound=np.floating)


@dataclass(frozen=True, slots=True)
class Scores:
    """The similarities of labelled pairs.

    Attributes:
        similarities: float [n], larger is more alike.
        same: bool [n], whether the pair shows one person.
        folds: int [n], 1-based fold of each pair.
    """

    similarities: NDArray[np.float64]
    same: NDArray[np.bool_]
    folds: NDArray[np.int64]

    def __post_init__(self) -> None:
        for name, array in (("similarities", self.similarities), ("same", self.same), ("folds", self.folds)):
            if array.shape != (len(self.same),):
                raise ValueError(f"{name} must have shape ({len(self.same)},), but got {array.shape}")
        if not np.isfinite(self.similarities).all():
            raise ValueError("similarities must be finite")

    def select(self, folds: Sequence[int]) -> Scores:
        """Only the pairs of these folds."""
        chosen = np.isin(self.folds, folds)
        return Scores(self.similarities[chosen], self.same[chosen], self.folds[chosen])


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Verification accuracy over folds, each judged by the threshold that the other folds chose.

    Attributes:
        mean: over folds, 0..1.
        std: standard deviation of the folds' accuracies (population form, divided by the number of folds, not by one less).
        by_fold: accuracy of each fold, in the order of its number.
        thresholds: the threshold each fold was judged by.
    """

    mean: float
    std: float
    by_fold: tuple[float, ...]
    thresholds: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class TarAtFar:
    """True accept rate at a bounded false accept rate.

    Attributes:
        far: the bound.
        tar: share of same-person pairs at or above ``threshold``, 0..1.
        threshold: the smallest score whose false accept rate stays within ``far``.
        low, high: bootstrap interval of ``tar``.
        level: the interval's coverage, e.g. 0.95.
        negatives: different-person pairs measured.
        false_accepts: how many of them pass; at LFW's 3,000 negatives a FAR of 1e-3 rests on three pairs.
    """

    far: float
    tar: float
    threshold: float
    low: float
    high: float
    level: float
    negatives: int
    false_accepts: int


@dataclass(frozen=True, slots=True)
class Threshold:
    """A decision threshold and how well it does on the pairs that chose it.

    Attributes:
        value: similarities at or above it are the same person.
        accuracy: on those pairs, 0..1.
        folds: which folds they came from.
    """

    value: float
    accuracy: float
    folds: tuple[int, ...]


def view2_accuracy(scores: Scores) -> Accuracy:
    """LFW's view-2 protocol (Huang et al., 2007, section 3): every fold is judged by the threshold best on all the others.

    Raises:
        ValueError: fewer than two folds.
    """
    folds = [int(fold) for fold in np.unique(scores.folds)]
    if len(folds) < 2:
        raise ValueError(f"view 2 needs at least two folds, but got {len(folds)}")
    thresholds = [best_threshold(scores.select([other for other in folds if other != fold])).value for fold in folds]
    by_fold = [accuracy_at(scores.select([fold]), threshold) for fold, threshold in zip(folds, thresholds, strict=True)]
    return Accuracy(float(np.mean(by_fold)), float(np.std(by_fold)), tuple(by_fold), tuple(thresholds))


def accuracy_at(scores: Scores, threshold: float) -> float:
    """Share of pairs that ``similarity >= threshold`` decides rightly, 0..1."""
    return float(np.mean((scores.similarities >= threshold) == scores.same))


def best_threshold(scores: Scores) -> Threshold:
    """The threshold that decides most pairs rightly.

    Between two neighbouring scores every threshold decides alike, so the middle of the best gap is taken; of several gaps that
    are equally good, the widest, where a small drift of the scores on a device does least harm.

    Raises:
        ValueError: no pairs.
    """
    if not len(scores.same):
        raise ValueError("a threshold cannot be chosen from no pairs")
    levels, position = np.unique(scores.similarities, return_inverse=True)
    same = np.bincount(position, weights=scores.same, minlength=len(levels))
    different = np.bincount(position, weights=~scores.same, minlength=len(levels))
    # Gap i lies below levels[i]; the last lies above all of them and accepts nobody.
    right = np.append(np.cumsum(same[::-1])[::-1], 0) + np.append(0, np.cumsum(different))
    edges = np.concatenate([levels[:1], levels, [np.nextafter(levels[-1], np.inf)]])
    best = np.flatnonzero(right == right.max())
    gap = best[np.argmax(edges[best + 1] - edges[best])]
    # The outermost gaps have only one edge that is a score.
    value = (edges[gap] + edges[gap + 1]) / 2 if 0 < gap < len(levels) else edges[gap + 1]
    return Threshold(float(value), float(right.max() / len(scores.same)), tuple(int(fold) for fold in np.unique(scores.folds)))


def tar_at_far(scores: Scores, far: float = 1e-3, *, resamples: int = 2000, level: float = 0.95, seed: int = 0) -> TarAtFar:
    """True accept rate at a false accept rate of at most ``far``.

    The interval is the bootstrap's percentile interval (Efron and Tibshirani, 1993, section 13.3): same and different pairs are
    drawn anew, each among their own kind, and the threshold is found again in every draw. Pairs that share a photo or a person
    are treated as independent, so the truth is somewhat less certain than the interval says.

    Args:
        scores: with pairs of both kinds.
        far: bound of the false accept rate, 0..1.
        resamples: bootstrap draws.
        level: coverage of the interval.
        seed: of the draws.

    Raises:
        ValueError: no pairs of one kind.
    """
    positives, negatives = by_kind(scores.similarities, scores.same)
    bar, allowed = bar_at_far(negatives, far)
    above = scores.similarities[scores.similarities > bar]
    low, high = np.quantile(_bootstrap_tar(positives, negatives, allowed, resamples, seed), [(1 - level) / 2, (1 + level) / 2])
    return TarAtFar(
        far=far,
        tar=float(np.mean(positives > bar)),
        threshold=float(above.min() if len(above) else np.nextafter(bar, np.inf)),
        low=float(low),
        high=float(high),
        level=level,
        negatives=len(negatives),
        false_accepts=int(np.sum(negatives > bar)),
    )


def bar_at_far(negatives: NDArray[np.floating], far: float) -> tuple[float, int]:
    """What must be refused for a false accept rate of at most ``far``.

    Returns:
        The largest score of ``negatives`` that must be refused, with what lies below it; and how many of them may lie above.
    """
    allowed = min(int(far * len(negatives) + 1e-9), len(negatives) - 1)
    rank = len(negatives) - 1 - allowed
    return float(np.partition(negatives, rank)[rank]), allowed


def _bootstrap_tar(
    positives: NDArray[np.float64], negatives: NDArray[np.float64], allowed: int, resamples: int, seed: int
) -> NDArray[np.float64]:
    generator = np.random.default_rng(seed)
    ordered = np.sort(positives)
    tars = np.empty(resamples)
    for start in range(0, resamples, 100):  # in blocks, so that memory stays small
        count = min(100, resamples - start)
        drawn = negatives[generator.integers(len(negatives), size=(count, len(negatives)))]
        bars = np.partition(drawn, len(negatives) - 1 - allowed, axis=1)[:, len(negatives) - 1 - allowed]
        rank = np.searchsorted(ordered, bars, side="right")  # positives of this rank or higher are accepted
        draws = generator.integers(len(positives), size=(count, len(positives)))
        tars[start : start + count] = np.mean(draws >= rank[:, None], axis=1)
    return tars


def equal_error_rate(scores: Scores) -> float:
    """Where false accepts and false rejects are equally frequent, 0..1, interpolated between neighbouring scores.

    Raises:
        ValueError: no pairs of one kind.
    """
    return equal_rate(*error_rates(*by_kind(scores.similarities, scores.same)))


def error_rates(
    positives: NDArray[np.floating], negatives: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """False rejects and false accepts, 0..1, at each score as the threshold, from the smallest up, and above all of them."""
    levels = np.append(np.unique(np.concatenate([positives, negatives])), np.inf)
    false_rejects = np.searchsorted(np.sort(positives), levels) / len(positives)
    return false_rejects, 1 - np.searchsorted(np.sort(negatives), levels) / len(negatives)


def equal_rate(false_rejects: NDArray[np.float64], false_accepts: NDArray[np.float64]) -> float:
    """Where the rates that `error_rates` gives are equal, interpolated between neighbouring scores."""
    gap = false_rejects - false_accepts  # from -1 up to 1
    after = int(np.argmax(gap >= 0))
    share = -gap[after - 1] / (gap[after] - gap[after - 1])
    return float(false_rejects[after - 1] + share * (false_rejects[after] - false_rejects[after - 1]))


def by_kind(similarities: NDArray[F], same: NDArray[np.bool_]) -> tuple[NDArray[F], NDArray[F]]:
    """The scores of same-person pairs and of different-person pairs.

    Raises:
        ValueError: no pairs of one kind.
    """
    positives, negatives = similarities[same], similarities[~same]
    if not len(positives) or not len(negatives):
        raise ValueError("both pairs of the same and pairs of different people are needed")
    return positives, negatives
