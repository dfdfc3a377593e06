"""What each pass of a recipe did to a network: what the gate says, and what the pass is worth in time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from facette.cache import fingerprint
from facette.candidates import Bench, list_plans
from facette.compile_report import PassRow
from facette.compress import words
from facette.export import export
from facette.gate import Gate
from facette.measure import interleaved
from facette.model import Model
from facette.recipe import Choices, Pass
from facette.reference import count_macs, reference_engine
from facette.resample import fitted
from facette.target import Target
from facette.verify import parity_on
from facette_runtime.engines import open_engine
from facette_runtime.errors import FacetteError


def judge_passes(
    role: str, models: Sequence[Model], passes: Sequence[Pass], gate: Gate, bench: Bench, target: Target
) -> tuple[PassRow, ...]:
    """A row for the network as given and one for each pass.

    Args:
        role: "detector" or "embedder".
        models: the original, and what each pass made of it.
        passes: the settings.
        gate: of the role.
        bench: golden pictures with the original's outputs.
        target: its first engine and graph form are timed, in fp32.

    Raises:
        FacetteError: the last network falls below the recipe's floor.
    """
    if not passes:
        return ()
    latencies = _latencies(models, bench, target)
    rows = []
    for number, (model, name) in enumerate(zip(models, ["as given", *(settings.kind for settings in passes)], strict=True)):
        engine = reference_engine(model)
        parity = parity_on(engine, bench.expected, list(fitted(engine, np.stack(bench.pictures))))
        judgement = gate.judge(engine, fingerprint(model), parity, trained=True)
        last = number == len(passes)
        macs, parameters = count_macs(model)
        rows.append(
            PassRow(
                role=role,
                name=name,
                settings=words(passes[number - 1]) if number else "",
                macs=macs,
                parameters=parameters,
                bytes=None if parameters is None else 4 * parameters,
                latency_ms=latencies[number],
                verification=judgement.verification,
                agreement=judgement.agreement,
                verdict=(judgement.refusal or "passes") if last else f"not the last pass: {judgement.refusal or 'would pass'}",
            )
        )
        if last and judgement.refusal:
            raise FacetteError(f"the {role} after pass {name!r} is refused: {judgement.refusal}")
    return tuple(rows)


def _latencies(models: Sequence[Model], bench: Bench, target: Target) -> list[float | None]:
    if not bench.measured:
        return [None] * len(models)
    calls = {}
    for number, model in enumerate(models):
        plan = list_plans(model, target, Choices(precisions=("fp32",)))[0]
        engine = open_engine(plan.engine, export(plan.form, plan.engine, "fp32").model, bench.threads)
        feed = {engine.inputs[0].name: np.ascontiguousarray(fitted(engine, bench.pictures[0][None]))}
        calls[str(number)] = lambda engine=engine, feed=feed: engine.run(feed)
    return [latency.median for latency in interleaved(calls).values()]
