"""Every pair that a set of photos makes, instead of the few that a protocol lists: a finer measure to choose networks by.

LFW's ten folds list 6,000 pairs; two networks must differ by half a point for that to show. The 3,811 photos of five folds alone
make seven million pairs, and hold the false accept rate of 1e-3 to thousands of pairs where the list has three. It is not LFW's
protocol, and its figures are not to be compared with published ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facette_runtime.types import FloatArray

FARS = (1e-2, 1e-3, 1e-4)


@dataclass(frozen=True, slots=True)
class AllPairs:
    """Verification over all pairs.

    Attributes:
        same, different: how many pairs show one person, and two.
        accuracy: mean of the share of same and the share of different pairs that are decided rightly, 0..1, at the threshold
            where it is largest; as if there were as many of either kind.
        eer: where false accepts and false rejects are equally frequent, 0..1.
        tar: true accept rate at each of `FARS`.
    """

    same: int
    different: int
    accuracy: float
    eer: float
    tar: tuple[float, ...]


def verify_all_pairs(embeddings: FloatArray, people: Sequence[str]) -> AllPairs:
    """Compares every photo with every other by cosine.

    Args:
        embeddings: float32 [n, d], of norm 1; n² values must fit into memory.
        people: n names; photos of one name show one person.

    Raises:
        ValueError: the lengths differ, or there are no pairs of one kind.
    """
    if len(people) != len(embeddings):
        raise ValueError(f"{len(embeddings)} embeddings can't have {len(people)} names")
    _, person = np.unique(np.array(people), return_inverse=True)
    upper = np.triu_indices(len(embeddings), 1)
    cosines, alike = (embeddings @ embeddings.T)[upper], person[upper[0]] == person[upper[1]]
    same, different = np.sort(cosines[alike]), np.sort(cosines[~alike])
    if not len(same) or not len(different):
        raise ValueError("both pairs of the same and pairs of different people are needed")
    rejected, accepted = _rates(same, different)
    crossing = int(np.argmax(rejected >= accepted))
    return AllPairs(
        same=len(same),
        different=len(different),
        accuracy=float(1 - (rejected + accepted).min() / 2),
        eer=float((rejected[crossing] + accepted[crossing]) / 2),
        tar=tuple(_tar(same, different, far) for far in FARS),
    )


def _rates(same: FloatArray, different: FloatArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """False rejects and false accepts, 0..1, at each same pair's cosine as the threshold, and above all of them."""
    thresholds = np.append(same, np.float32(np.inf))
    return np.searchsorted(same, thresholds) / len(same), 1 - np.searchsorted(different, thresholds) / len(different)


def _tar(same: FloatArray, different: FloatArray, far: float) -> float:
    allowed = min(int(far * len(different) + 1e-9), len(different) - 1)
    return float(np.mean(same > different[len(different) - 1 - allowed]))
