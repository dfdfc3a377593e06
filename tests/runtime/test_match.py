"""Cosine matching against a gallery."""

from __future__ import annotations

import numpy as np
import pytest

from facette_runtime.embed import normalize
from facette_runtime.match import Matcher
from facette_runtime.types import Match

TEMPLATES = np.eye(4, dtype=np.float32)[:3]


@pytest.mark.parametrize(
    ("probe", "name", "similarity"),
    [
        ([1, 0, 0, 0], "Ada", 1.0),
        ([0, 0.8, 0.6, 0], "Ada", 0.8),  # her second template
        ([0, 0.6, 0.8, 0], "Bob", 0.8),
        ([0.6, 0, 0, 0.8], None, 0.6),
        ([0, 0, 0, 1], None, 0.0),
    ],
)
def test_best_template_wins(probe: list[float], name: str | None, similarity: float) -> None:
    matcher = Matcher(TEMPLATES, ("Ada", "Ada", "Bob"), threshold=0.7)
    (match,) = matcher(np.array([probe], np.float32))
    assert match.name == name
    assert match.similarity == pytest.approx(similarity)


def test_the_threshold_itself_matches() -> None:
    assert Matcher(TEMPLATES[:1], ("Ada",), 1.0)(TEMPLATES[:1]) == [Match("Ada", 1.0)]


def test_empty_gallery_and_no_probes() -> None:
    assert Matcher(np.zeros((0, 4), np.float32), (), 0.5)(TEMPLATES) == [Match(None, -1.0)] * 3
    assert Matcher(TEMPLATES, ("Ada", "Ada", "Bob"), 0.5)(np.zeros((0, 4), np.float32)) == []


def test_many_probes_agree_with_one_at_a_time() -> None:
    random = np.random.default_rng(0)
    matcher = Matcher(normalize(random.standard_normal((50, 16))), [str(index % 9) for index in range(50)], 0.2)
    probes = normalize(random.standard_normal((20, 16)))
    for together, probe in zip(matcher(probes), probes, strict=True):
        (alone,) = matcher(probe[None])
        assert together.name == alone.name
        assert together.similarity == pytest.approx(alone.similarity, abs=1e-6)


def test_names_must_fit_templates() -> None:
    with pytest.raises(ValueError, match="equally many, but got 3 and 1"):
        Matcher(TEMPLATES, ("Ada",), 0.5)
