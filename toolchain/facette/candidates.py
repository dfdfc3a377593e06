"""Every way to ship one network: graph form × engine × precision, each made and compared with the reference."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, cast

import numpy as np

from facette.cache import Cache, fingerprint, key_of, tool_versions, toolchain_fingerprint
from facette.calibration import Calibration, Quantization, RangeMethod
from facette.export import export
from facette.export.artifact import Artifact
from facette.forms import graph_forms
from facette.gate import Judgement
from facette.measure import Latency, interleaved
from facette.model import Model
from facette.recipe import Choices
from facette.target import Target
from facette.tensorrt_host.check import check_on_host
from facette.tensorrt_host.result import HostBuild, NotChecked
from facette.verify import parity_on, shortfall
from facette_runtime.engines import open_engine
from facette_runtime.engines.base import Engine
from facette_runtime.errors import FacetteError
from facette_runtime.machine import describe_machine
from facette_runtime.manifest import Parity, Precision
from facette_runtime.types import Image

STAND_IN = {"tensorrt": "onnxruntime"}
"""What computes a network on the host where its own engine needs the device."""

RANGE_METHODS: dict[str, tuple[RangeMethod, ...]] = {"openvino": ("min-max", "percentile")}
"""Of engines whose quantizer knows only some."""

Calibrate = Callable[[Model, str, Quantization], Calibration | None]
"""What to quantize a graph form for an engine with; None where there is nothing to calibrate with."""


@dataclass(frozen=True)
class Plan:
    """One candidate to be made; ``quantization`` says how, for int8."""

    form: Model
    engine: str
    precision: Precision
    quantization: Quantization | None = None


@dataclass(frozen=True)
class Candidate:
    """One way to ship a network, and what became of it.

    Attributes:
        plan: what it is.
        artifact: None where it could not be made.
        batch: how many pictures a call takes; None for any number.
        parity: against the reference, by output.
        exact: whether parity is as close as rounding in fp32 allows; what is not must pass the gate.
        latency: None where the host can't stand in for the target.
        judgement: the gate's, where it was asked.
        host_build: what TensorRT on this machine says to it, for that engine.
        refusal: why it can't be shipped; None for one that may.
    """

    plan: Plan
    artifact: Artifact | None = None
    batch: int | None = None
    parity: dict[str, Parity] | None = None
    exact: bool = False
    latency: Latency | None = None
    judgement: Judgement | None = None
    host_build: HostBuild | NotChecked | None = None
    refusal: str | None = None

    @property
    def engine(self) -> str:
        return self.plan.engine

    @property
    def precision(self) -> Precision:
        return self.plan.precision

    @property
    def form(self) -> str:
        return self.plan.form.form

    @property
    def content(self) -> bytes:
        """The file's bytes, of a candidate that was made."""
        assert self.artifact is not None
        return self.artifact.model

    @property
    def milliseconds(self) -> float:
        """The median; 0 where nothing was measured, so that everything there is equally fast."""
        return self.latency.median if self.latency else 0.0


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


def list_plans(model: Model, target: Target, choices: Choices) -> list[Plan]:
    """Everything that the target and the recipe allow, the target's favourites first; int8 in the first way only.

    Raises:
        FacetteError: the recipe asks for an engine, precision or form that the target does not offer.
    """
    forms = graph_forms(model)
    plans = []
    for engine in target.engines:
        if choices.engines and engine.name not in choices.engines:
            continue
        allowed = [precision for precision in engine.precisions if not choices.precisions or precision in choices.precisions]
        for precision in allowed:
            wanted = [name for name in engine.forms_for(precision) if not choices.forms or name in choices.forms]
            by_preference = sorted((form for form in forms if form.form in wanted), key=lambda form: wanted.index(form.form))
            first = ways_for(engine.name, choices.quantizations)[0] if precision == "int8" else None
            plans += [Plan(form, engine.name, precision, first) for form in by_preference]
    if not plans:
        offers = "; ".join(f"{e.name}: {', '.join(e.precisions)}, forms {', '.join(e.forms)}" for e in target.engines)
        raise FacetteError(f"nothing to compile {model.name} to: the choices leave none of target {target.name}'s ({offers})")
    return plans


def ways_for(engine: str, ways: Sequence[Quantization]) -> Sequence[Quantization]:
    """Those that an engine's quantizer knows; its own first method where the recipe names none of them."""
    known = RANGE_METHODS.get(engine)
    if known is None:
        return ways
    kept = [way for way in ways if way.method in known] or [Quantization(known[0])]
    mixed = [way for way in ways if way.float_share and way.method not in known]
    return [*kept, *(replace(way, method=kept[0].method) for way in mixed)]


def make(plan: Plan, bench: Bench, min_cosine: float, calibrate: Calibrate, cache: Cache) -> Candidate:
    """Exports one candidate and compares it with the reference."""
    candidate = Candidate(plan)
    try:
        calibration = calibrate(plan.form, plan.engine, plan.quantization) if plan.quantization else None
        # NNCF is told by the processor how many bits to use (see `facette.export.openvino`).
        made_of = (fingerprint(plan.form), _digest(calibration), describe_machine().instructions, toolchain_fingerprint())
        key = key_of("export", plan.engine, plan.precision, *made_of)
        content = cache.bytes(key, lambda: export(plan.form, plan.engine, plan.precision, calibration).model)
        candidate = replace(candidate, artifact=Artifact(plan.engine, plan.precision, plan.form.form, content))
        engine = open_candidate(candidate, bench.threads)
    except FacetteError as error:
        return Candidate(plan, refusal=f"not made: {error}")
    parity = parity_on(engine, bench.expected, bench.pictures)
    missing = shortfall(parity, min_cosine)
    return replace(
        candidate,
        batch=engine.inputs[0].shape[0],
        parity=parity,
        exact=missing is None,
        refusal=missing if plan.precision == "fp32" else None,
    )


def ask_tensorrt(candidate: Candidate, target: Target) -> Candidate:
    """Has TensorRT's own parser and builder compile a candidate of that engine here, and refuses what they refuse."""
    if candidate.engine != "tensorrt" or candidate.artifact is None or target.gpu is None:
        return candidate
    answer = check_on_host(candidate.content, target.gpu.sm, target.gpu.stand_in_sms)
    failure = answer.failure if isinstance(answer, HostBuild) else None
    return replace(candidate, host_build=answer, refusal=candidate.refusal or failure)


def open_candidate(candidate: Candidate, threads: int) -> Engine:
    """Loads a candidate that was made, on this machine.

    Raises:
        EngineError: its engine is not installed or refuses it.
    """
    return open_engine(STAND_IN.get(candidate.engine, candidate.engine), candidate.content, threads)


def measure(candidates: Sequence[Candidate], bench: Bench, cache: Cache) -> list[Candidate]:
    """Times all candidates that were made, side by side in one run, on one picture a call."""
    made = [c for c in candidates if c.artifact is not None]
    if not bench.measured or not made:
        return list(candidates)
    digests = [hashlib.sha256(c.content).hexdigest() for c in made]
    key = key_of("latencies in turns", *digests, bench.threads, describe_machine(), tool_versions())
    # In the order of those that were made: the same files may stand elsewhere in another compilation's list.
    measured = iter(cast(list[dict[str, Any]], cache.json(key, lambda: _measure(made, bench))))
    return [c if c.artifact is None else replace(c, latency=Latency(**next(measured))) for c in candidates]


def measure_beside(known: Candidate, made: Candidate, bench: Bench, cache: Cache) -> Candidate:
    """Times a candidate side by side with one that was timed in an earlier run, and tells its latency as that run would have."""
    before, now = known.latency, measure([known, made], bench, cache)
    latency, same = now[1].latency, now[0].latency
    if before is None or latency is None or same is None:
        return made
    drift = before.median / same.median
    milliseconds = {name: getattr(latency, name) * drift for name in ("median", "low", "high", "cold")}
    return replace(made, latency=replace(latency, **milliseconds))


def _measure(made: Sequence[Candidate], bench: Bench) -> list[dict[str, float]]:
    calls = {str(number): _call(candidate, bench) for number, candidate in enumerate(made)}
    return [asdict(latency) for latency in interleaved(calls).values()]


def _call(candidate: Candidate, bench: Bench) -> Callable[[], object]:
    engine = open_candidate(candidate, bench.threads)
    feed = {engine.inputs[0].name: bench.pictures[0][None]}
    return lambda: engine.run(feed)


def _digest(calibration: Calibration | None) -> str:
    if calibration is None:
        return ""
    pictures = b"" if calibration.pictures is None else calibration.pictures.tobytes()
    ranges = "" if calibration.ranges is None else sorted(calibration.ranges.items())
    return key_of(calibration.method, hashlib.sha256(pictures).hexdigest(), ranges, sorted(calibration.keep_float))
