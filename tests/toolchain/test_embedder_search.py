"""From a search's best choice back to a recipe that compiles it."""

from __future__ import annotations

from facette.embedder_search import pruning, settle
from facette.passes.distil import Distil
from facette.passes.prune import Prune
from facette.recipe import EmbedderChoice, load_recipe
from facette.search.choice import Choice


def test_the_settled_recipe_leaves_nothing_to_choose() -> None:
    best = Choice("litert", "int8", "max", 2, 0.5, "percentile", equalize=True, float_share=0.2)
    settled = settle(load_recipe("default"), best, 300)
    assert settled.embedder.only == EmbedderChoice("int8", "max", 0.2)
    assert settled.embedder.passes == (Prune(macs=0.5), Distil(steps=300))
    assert (settled.compile.engines, settled.compile.ranges, settled.compile.threads) == (("litert",), ("percentile",), 2)


def test_an_uncut_float_choice_adds_no_pass() -> None:
    recipe = load_recipe("default")
    settled = settle(recipe, Choice("onnxruntime", "fp32", "stock", 1), 300)
    assert settled.embedder.passes == recipe.embedder.passes
    assert settled.compile.ranges == recipe.compile.ranges
    assert pruning(1.0, 300) == ()
    assert pruning(0.5, 0) == (Prune(macs=0.5),)
