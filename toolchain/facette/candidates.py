"""Every way to ship one network: graph form × engine × precision, each checked against the reference and measured."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, cast

import numpy as np

from facette.cache import Cache, fingerprint, key_of, tool_versions, toolchain_fingerprint
from facette.export import export
from facette.export.artifact import Artifact
from facette.measure import Latency, interleaved
from facette.model import Model
from facette.passes.fold import fold_batch_norm
from facette.passes.lower import FORMS, flip_steep_channels, has_prelu, lower_prelu
from facette.passes.trace import trace
from facette.recipe import Choices
from facette.target import Target
from facette.verify import parity_on, shortfall
from facette_runtime.engines import open_engine
from facette_runtime.errors import FacetteError
from facette_runtime.machine import describe_machine
from facette_runtime.manifest import Parity, Precision
from facette_runtime.types import Image

TIE = 1.03
"""Medians within 3 % of each other are equal: shared machines drift more than that between two runs."""


@dataclass(frozen=True)
class Candidate:
    """One way to ship a network, and what became of it.

    Attributes:
        engine, precision, form: what it is.
        artifact: None where it could not be made.
        batch: how many pictures a call takes; None for any number.
        parity: against the reference, by output.
        latency: None where the host can't stand in for the target.
        refusal: why it can't be shipped; None for one that may.
    """

    engine: str
    precision: Precision
    form: str
    artifact: Artifact | None = None
    batch: int | None = None
    parity: dict[str, Parity] | None = None
    latency: Latency | None = None
    refusal: str | None = None

    @property
    def content(self) -> bytes:
        """The file's bytes, of a candidate that was made."""
        assert self.artifact is not None
        return self.artifact.model


@dataclass(frozen=True)
class Bench:
    """What candidates are judged with.

    Attributes:
        pictures: uint8 [h, w, 3] each, in the network's channel order.
        expected: the reference's outputs for each.
        threads: intra-op threads.
        measured: whether this machine can stand in for the target.
    """

    pictures: Sequence[Image]
    expected: Sequence[dict[str, np.ndarray]]
    threads: int
    measured: bool


def graph_forms(model: Model) -> list[Model]:
    """The stock network with its batch norms folded and, where it has PReLUs, each lowered form of it; all equivalent."""
    traced = trace(model)
    if traced is None:
        return [model]
    folded = fold_batch_norm(traced)
    if not has_prelu(folded):
        return [folded]
    gentle = flip_steep_channels(folded)
    return [folded, *(lower_prelu(gentle, form) for form in FORMS)]


def list_candidates(model: Model, target: Target, choices: Choices) -> list[tuple[Model, str, Precision]]:
    """Form, engine and precision of everything that the target and the recipe allow, the target's favourites first.

    Raises:
        FacetteError: the recipe asks for an engine, precision or form that the target does not offer.
    """
    forms = graph_forms(model)
    listed = []
    for engine in target.engines:
        if choices.engines and engine.name not in choices.engines:
            continue
        by_preference = sorted(
            (form for form in forms if form.form in engine.forms and (not choices.forms or form.form in choices.forms)),
            key=lambda form: engine.forms.index(form.form),
        )
        for form in by_preference:
            allowed = [precision for precision in engine.precisions if not choices.precisions or precision in choices.precisions]
            listed += [(form, engine.name, precision) for precision in allowed]
    if not listed:
        offers = "; ".join(f"{e.name}: {', '.join(e.precisions)}, forms {', '.join(e.forms)}" for e in target.engines)
        raise FacetteError(f"nothing to compile {model.name} to: the choices leave none of target {target.name}'s ({offers})")
    return listed


def make(model: Model, engine: str, precision: Precision, bench: Bench, min_cosine: float, cache: Cache) -> Candidate:
    """Exports one candidate and compares it with the reference."""
    candidate = Candidate(engine, precision, model.form)
    key = key_of("export", fingerprint(model), engine, precision, toolchain_fingerprint())
    try:
        content = cache.bytes(key, lambda: export(model, engine, precision).model)
        loaded = open_engine(engine, content, bench.threads)
    except FacetteError as error:
        return replace(candidate, refusal=f"not made: {error}")
    parity = parity_on(loaded, bench.expected, bench.pictures)
    return replace(
        candidate,
        artifact=Artifact(engine, precision, model.form, content),
        batch=loaded.inputs[0].shape[0],
        parity=parity,
        refusal=shortfall(parity, min_cosine),
    )


def measure(candidates: Sequence[Candidate], bench: Bench, cache: Cache) -> list[Candidate]:
    """Times all candidates that were made, side by side in one run, on one picture a call."""
    made = {index: c.artifact for index, c in enumerate(candidates) if c.artifact is not None}
    if not bench.measured or not made:
        return list(candidates)
    digests = [hashlib.sha256(artifact.model).hexdigest() for artifact in made.values()]
    key = key_of("latency", *digests, bench.threads, describe_machine(), tool_versions())
    measured = cast(dict[str, Any], cache.json(key, lambda: _measure(made, bench)))
    return [replace(c, latency=Latency(**measured[str(index)])) if index in made else c for index, c in enumerate(candidates)]


def _measure(made: dict[int, Artifact], bench: Bench) -> dict[str, dict[str, float]]:
    calls = {str(index): _call(artifact, bench) for index, artifact in made.items()}
    return {label: asdict(latency) for label, latency in interleaved(calls).items()}


def _call(artifact: Artifact, bench: Bench) -> Callable[[], object]:
    engine = open_engine(artifact.engine, artifact.model, bench.threads)
    feed = {engine.inputs[0].name: bench.pictures[0][None]}
    return lambda: engine.run(feed)


def choose(by_role: dict[str, list[Candidate]], target: Target) -> dict[str, Candidate]:
    """One engine for the whole bundle, so that the device installs and loads only one: the one whose best candidates are fastest
    together. Within `TIE`, and where nothing could be measured, the target's order decides.

    Raises:
        FacetteError: no engine can ship every network; the message tells the refusals.
    """
    options = []
    for engine in target.engines:
        best = {role: _best([c for c in candidates if c.engine == engine.name]) for role, candidates in by_role.items()}
        whole = {role: candidate for role, candidate in best.items() if candidate is not None}
        if len(whole) == len(by_role):
            options.append((sum(_milliseconds(candidate) for candidate in whole.values()), whole))
    if not options:
        reasons = "; ".join(sorted({f"{c.engine} {role}: {c.refusal}" for role, cs in by_role.items() for c in cs if c.refusal}))
        raise FacetteError(f"no engine of target {target.name} can ship every network: {reasons}")
    fastest = min(total for total, _ in options)
    return next(whole for total, whole in options if total <= fastest * TIE)


def _best(candidates: Sequence[Candidate]) -> Candidate | None:
    """The fastest that may be shipped; of those within `TIE` the one that was listed first."""
    allowed = [candidate for candidate in candidates if candidate.refusal is None]
    fastest = min(map(_milliseconds, allowed), default=0.0)
    return next((candidate for candidate in allowed if _milliseconds(candidate) <= fastest * TIE), None)


def _milliseconds(candidate: Candidate) -> float:
    return candidate.latency.median if candidate.latency else 0.0
