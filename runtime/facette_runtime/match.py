"""Whose face is it? Cosine against every template of a gallery."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from facette_runtime.types import FloatArray, Match


class Matcher:
    """Compares probes with templates; a person is as similar as the best of their templates.

    Args:
        templates: float32 [m, d], L2-normalised; m may be 0.
        names: the person of each template, m of them.
        threshold: cosine at or above which a probe is that person.
    """

    def __init__(self, templates: FloatArray, names: Sequence[str], threshold: float) -> None:
        if len(templates) != len(names):
            raise ValueError(f"templates and names must be equally many, but got {len(templates)} and {len(names)}")
        self.threshold = threshold
        self._templates = np.ascontiguousarray(templates, np.float32)
        self._names = tuple(names)

    def __call__(self, embeddings: FloatArray) -> list[Match]:
        """Finds each probe's best template.

        Args:
            embeddings: float32 [n, d], L2-normalised.

        Returns:
            n matches, in order.
        """
        if not self._names:
            return [Match(None, -1.0)] * len(embeddings)
        similarities = embeddings @ self._templates.T
        best = similarities.argmax(axis=1)
        return [self._match(int(index), float(row[index])) for index, row in zip(best, similarities)]

    def _match(self, index: int, similarity: float) -> Match:
        return Match(self._names[index] if similarity >= self.threshold else None, similarity)
