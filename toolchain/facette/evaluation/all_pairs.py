"""Every pair that a set of photos makes, instead of the few that a protocol lists: a finer measure to choose networks by.

LFW's ten folds list 6,000 pairs; two networks must differ by half a point for that to show. The 3,811 photos of five folds alone
make seven million pairs, and hold the false accept rate of 1e-3 to thousands of pairs where the list has three. It is not LFW's
protocol, and its figures are not to be compared with published ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from facette.evaluation.metrics import bar_at_far, by_kind, equal_rate, error_rates
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

    def tar_at(self, far: float) -> float:
        """The true accept rate at one of `FARS`."""
        return self.tar[FARS.index(far)]


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
    same, different = by_kind(cosines, alike)
    false_rejects, false_accepts = error_rates(same, different)
    return AllPairs(
        same=len(same),
        different=len(different),
        accuracy=float(1 - (false_rejects + false_accepts).min() / 2),
        eer=equal_rate(false_rejects, false_accepts),
        tar=tuple(float(np.mean(same > bar_at_far(different, far)[0])) for far in FARS),
    )
