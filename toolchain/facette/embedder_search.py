"""``facette compile --budget``: which pruning, precision, graph form, engine and threads of an embedder keep to a budget."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, cached_property, lru_cache
from pathlib import Path

import numpy as np

from facette.bundle import packed_size
from facette.cache import fingerprint, key_of
from facette.calibration import Quantization
from facette.candidates import Bench, Plan, make, open_candidate, ways_for
from facette.compress import Supplies, compress, in_rounds
from facette.forms import graph_forms
from facette.gate import EmbedderGate
from facette.golden import Stages
from facette.measure import interleaved
from facette.model import Model
from facette.passes.distil import Distil
from facette.passes.prune import Prune
from facette.quantizer import Quantizer
from facette.recipe import Choices, EmbedderChoice, Pass, Recipe
from facette.reference import count_macs, reference_engine
from facette.search.budget import Budget
from facette.search.choice import Choice, Measured
from facette.search.outcome import SearchResult
from facette.search.space import space_for
from facette.search.study import Search, search, study_name
from facette.target import Target, TargetEngine
from facette_runtime.embed import normalize
from facette_runtime.engines.base import Engine
from facette_runtime.errors import FacetteError
from facette_runtime.preprocess import to_network
from facette_runtime.types import Image

SECONDS = 1.5
"""Of timing one candidate."""


@dataclass(frozen=True)
class Setting:
    """What a search works on.

    Attributes:
        original: the embedder that the recipe names.
        passes: the recipe's own, which come before the search's.
        stages: golden pictures through the original.
        supplies: faces to calibrate and recover with.
        gate: measures accuracy.
        choices: calibration and parity settings of the recipe.
        measured: whether this machine stands in for the target.
        recovery: steps of distillation after pruning; 0 for none.
        tell: is called with a line at each step.
    """

    original: Model
    passes: tuple[Pass, ...]
    stages: tuple[Stages, ...]
    supplies: Supplies
    gate: EmbedderGate
    choices: Choices
    measured: bool
    recovery: int
    tell: Callable[[str], None]


def pruning(keep: float, recovery: int) -> tuple[Pass, ...]:
    """The passes that leave a share of the multiply-accumulates, as a recipe would name them."""
    if keep >= 1:
        return ()
    cut: tuple[Pass, ...] = (Prune(macs=keep),)
    return (*cut, Distil(steps=recovery)) if recovery else cut


class EmbedderEvaluator:
    """Makes and measures one choice; see `facette.search.study.Evaluator`. What several choices share is made once.

    Attributes:
        network: gives the network with a share of its multiply-accumulates.
    """

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self.network = cache(self._make_network)
        self._quantizer = cache(self._make_quantizer)
        self._built = lru_cache(maxsize=1)(self._build)  # accuracy is asked for right after speed

    def measure_fast(self, choice: Choice) -> Measured:
        """Size, multiply-accumulates, latency, and the cosine with the uncompressed network on the golden faces."""
        engine, content = self._built(choice)
        macs, parameters = count_macs(self.network(choice.keep))
        latency = self._latency(engine) if self._setting.measured else None
        size = packed_size(content)
        return Measured(bytes=size, latency_ms=latency, macs=macs, parameters=parameters, cosine=self._cosine(engine))

    def measure_accuracy(self, choice: Choice, fast: Measured) -> Measured:
        """Verification on LFW's choosing folds; without data the cosine must do, which is known already."""
        if self._setting.gate.original is None:
            return fast
        engine, content = self._built(choice)
        judgement = self._setting.gate.judge(engine, hashlib.sha256(content).hexdigest(), {}, trained=True)
        assert judgement.verification is not None
        return replace(fast, accuracy=judgement.verification.accuracy, tar=judgement.verification.tar)

    def _make_network(self, keep: float) -> Model:
        setting = self._setting
        passes = in_rounds((*setting.passes, *pruning(keep, setting.recovery)))
        return compress(setting.original, passes, setting.supplies)[-1]

    def _make_quantizer(self, keep: float) -> Quantizer:
        supplies = self._setting.supplies
        faces = supplies.faces[0] if supplies.faces else None
        count = self._setting.choices.calibration_faces
        return Quantizer(self.network(keep), supplies.finder, faces, count, self._setting.tell)

    def _build(self, choice: Choice) -> tuple[Engine, bytes]:
        model, quantizer = self.network(choice.keep), self._quantizer(choice.keep)
        way = None
        if choice.range_method:
            way = ways_for(choice.engine, [Quantization(choice.range_method, "none", choice.float_share)])[0]
        plan = Plan(quantizer.form(choice.form, "none"), choice.engine, choice.precision, way)
        reference = reference_engine(model)
        expected = [reference.run({reference.inputs[0].name: picture[None]}) for picture in self._pictures]
        bench = Bench(self._pictures, expected, choice.threads, self._setting.measured)
        candidate = make(plan, bench, self._setting.choices.min_cosine, quantizer.calibrate, self._setting.supplies.cache)
        if candidate.artifact is None or candidate.refusal is not None:
            raise FacetteError(candidate.refusal or f"{choice.label} can't be made")
        return open_candidate(candidate, choice.threads), candidate.content

    def _latency(self, engine: Engine) -> float:
        feed = {engine.inputs[0].name: self._pictures[0][None]}
        return interleaved({"": lambda: engine.run(feed)}, seconds=SECONDS)[""].median

    def _cosine(self, engine: Engine) -> float:
        name = engine.inputs[0].name
        found = normalize(np.concatenate([engine.run({name: picture[None]})["embedding"] for picture in self._pictures]))
        return float(np.mean([ours @ stage.embedding for ours, stage in zip(found, self._setting.stages, strict=True)]))

    @cached_property
    def _pictures(self) -> list[Image]:
        return [to_network(stage.crop, self._setting.original.image.color_order) for stage in self._setting.stages]


@dataclass(frozen=True)
class Wish:
    """What is searched for.

    Attributes:
        budget: what must hold.
        trials: choices to look at, by all workers together.
        study: an SQLite file, or a PostgreSQL URL that several workstations share.
        keeps: shares of the multiply-accumulates that pruning may keep.
        threads: intra-op threads to try; the target's own by default.
        recovery: steps of distillation after pruning.
    """

    budget: Budget
    trials: int
    study: str | Path
    keeps: tuple[float, ...] = (1.0,)
    threads: tuple[int, ...] = ()
    recovery: int = 0


def search_embedder(setting: Setting, wish: Wish, target: Target) -> SearchResult:
    """Works on the study; see `facette.search.study.search`. Every engine and precision that the recipe and the target allow."""
    evaluator = EmbedderEvaluator(setting)
    forms = [form.form for form in graph_forms(evaluator.network(1.0))]
    offered = replace(target, engines=tuple(_allowed(engine, setting.choices) for engine in target.engines))
    offered = replace(offered, engines=tuple(engine for engine in offered.engines if engine.precisions and engine.forms))
    space = space_for(
        offered,
        forms,
        keeps=wish.keeps,
        threads=wish.threads,
        range_methods=setting.choices.ranges,
        float_shares=(0.0, *setting.choices.float_shares) if setting.supplies.faces else (0.0,),
        equalize=(True,),
    )
    name = study_name(key_of(fingerprint(setting.original), setting.passes, setting.recovery), target.name, wish.budget, space)
    job = Search(name, space, wish.budget, wish.trials, wish.study)
    return search(job, evaluator, setting.tell)


def settle(recipe: Recipe, best: Choice, recovery: int) -> Recipe:
    """The recipe that compiles a choice: its passes, and nothing left to choose for the embedder.

    The detector takes the same engine, so that the device loads only one, in whatever precision and form is fastest.
    """
    passes = (*recipe.embedder.passes, *pruning(best.keep, recovery))
    ranges = (best.range_method,) if best.range_method else recipe.compile.ranges
    choices = replace(recipe.compile, engines=(best.engine,), ranges=ranges, threads=best.threads)
    only = EmbedderChoice(best.precision, best.form, best.float_share)
    return replace(recipe, embedder=replace(recipe.embedder, passes=passes, only=only), compile=choices)


def _allowed(engine: TargetEngine, choices: Choices) -> TargetEngine:
    if choices.engines and engine.name not in choices.engines:
        return replace(engine, precisions=())
    return replace(
        engine,
        precisions=tuple(p for p in engine.precisions if not choices.precisions or p in choices.precisions),
        forms=tuple(form for form in engine.forms if not choices.forms or form in choices.forms),
    )
