"""The match threshold that travels in the bundle: measured with the very engine that ships, wherever data allow it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from facette.evaluation.evaluate import CHOOSING_FOLDS, evaluate
from facette.model import Model
from facette_runtime.errors import FacetteError
from facette_runtime.manifest import MatchRule


def check_threshold(embedder: Model, data_dir: Path | None) -> None:
    """Raises FacetteError unless data, the network's card or the recipe can give a threshold: better told before the long part."""
    if data_dir is None and embedder.match_threshold is None:
        raise FacetteError(
            f"{embedder.name} has no match threshold; give --data with LFW, or embedder.match_threshold in the recipe"
        )


def match_rule(bundle: Path, embedder: Model, data_dir: Path | None, tell: Callable[[str], None]) -> MatchRule:
    """Derives the threshold on LFW's raw photos through the bundle's whole pipeline, or takes the one on the network's card.

    Args:
        bundle: compiled, with any threshold.
        data_dir: with LFW; None where there is none.
        tell: is called with a line before the long part.

    Raises:
        FacetteError: the data are missing or incomplete.
    """
    if data_dir is None:
        assert embedder.match_threshold is not None
        value, source = embedder.match_threshold
        return MatchRule(value, source)
    tell("deriving the match threshold on LFW, folds 1 to 5")
    evaluation = evaluate(bundle, data_dir, protocols=("raw",), folds=CHOOSING_FOLDS, progress=False)
    return MatchRule(
        evaluation.protocols["raw"].threshold, "LFW view 2, raw photos, folds 1 to 5, this bundle's own engines and precision"
    )
