"""Which candidate ships: the fastest that passes the gate, and never one that is slower than the float it came from."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace

from facette.calibration import Quantization
from facette.candidates import Candidate, open_candidate, ways_for
from facette.gate import Gate
from facette.target import Target
from facette_runtime.errors import FacetteError

MakeAgain = Callable[[Candidate, Quantization], Candidate]
"""Makes an int8 candidate anew in another way, and says how fast that is."""

TIE = 1.03
"""Medians within 3 % of each other are equal: shared machines drift more than that between two runs."""


def judge(
    candidates: Sequence[Candidate],
    threads: int,
    gate: Gate,
    again: MakeAgain,
    ways: Sequence[Quantization],
) -> list[Candidate]:
    """Asks the gate about the candidates that rounding has changed, fastest first, until one of each engine passes.

    Args:
        candidates: made and measured.
        threads: intra-op, for the gate's engines.
        gate: of this network's role.
        again: makes an int8 candidate anew.
        ways: to int8, in the order to try; a candidate that fails in one is made in the next.

    Returns:
        The candidates with their judgements, and those made anew behind the one that they replace.
    """
    judged: list[Candidate] = []
    for engine in dict.fromkeys(candidate.engine for candidate in candidates):
        own = [candidate for candidate in candidates if candidate.engine == engine]
        judged += _judge_engine(own, threads, gate, again, ways)
    return judged


def _judge_engine(
    candidates: Sequence[Candidate],
    threads: int,
    gate: Gate,
    again: MakeAgain,
    ways: Sequence[Quantization],
) -> list[Candidate]:
    parent = min((c.milliseconds for c in candidates if c.precision == "fp32" and c.refusal is None), default=None)
    winner: Candidate | None = None
    judged: dict[int, list[Candidate]] = {}
    order = sorted(range(len(candidates)), key=lambda index: candidates[index].milliseconds)
    for index in order:
        candidate = candidates[index]
        judged[index] = [candidate]
        if candidate.artifact is None or candidate.refusal is not None or candidate.precision == "fp32":
            continue
        if reason := _too_slow(candidate, parent):
            judged[index] = [replace(candidate, refusal=reason)]
        elif candidate.exact:
            continue
        elif winner is not None and winner.milliseconds <= candidate.milliseconds:
            reason = f"{winner.precision}, form {winner.form} passed and is as fast: accuracy not measured"
            judged[index] = [replace(candidate, refusal=reason)]
        else:
            judged[index] = _attempts(candidate, parent, threads, gate, again, ways)
            if judged[index][-1].refusal is None:
                winner = judged[index][-1]
    return [candidate for index in range(len(candidates)) for candidate in judged[index]]


def _too_slow(candidate: Candidate, parent: float | None) -> str | None:
    """Why its latency speaks against it; ``parent`` is that of its engine's fastest float, in ms."""
    if parent is None or candidate.milliseconds <= parent * TIE:
        return None
    return f"slower than its float parent: {candidate.milliseconds:.2f} ms against {parent:.2f}"


def _attempts(
    first: Candidate,
    parent: float | None,
    threads: int,
    gate: Gate,
    again: MakeAgain,
    ways: Sequence[Quantization],
) -> list[Candidate]:
    """The candidate judged; where it fails, the same made in other ways, until one passes or none is left."""
    attempts = [_ask(first, threads, gate)]
    for way in ways_for(first.engine, ways) if first.plan.quantization and ways else ():
        if attempts[-1].refusal is None:
            break
        if way != first.plan.quantization:
            made = again(first, way)
            slow = _too_slow(made, parent)
            attempts.append(replace(made, refusal=slow) if slow else _ask(made, threads, gate))
    return attempts


def _ask(candidate: Candidate, threads: int, gate: Gate) -> Candidate:
    if candidate.artifact is None:
        return candidate
    assert candidate.parity is not None
    engine = open_candidate(candidate, threads)
    judgement = gate.judge(engine, hashlib.sha256(candidate.content).hexdigest(), candidate.parity)
    return replace(candidate, judgement=judgement, refusal=judgement.refusal)


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
            options.append((sum(candidate.milliseconds for candidate in whole.values()), whole))
    if not options:
        reasons = "; ".join(sorted({f"{c.engine} {role}: {c.refusal}" for role, cs in by_role.items() for c in cs if c.refusal}))
        raise FacetteError(f"no engine of target {target.name} can ship every network: {reasons}")
    fastest = min(total for total, _ in options)
    return next(whole for total, whole in options if total <= fastest * TIE)


def _best(candidates: Sequence[Candidate]) -> Candidate | None:
    """The fastest that may be shipped; of those within `TIE` the one that was listed first."""
    allowed = [candidate for candidate in candidates if candidate.refusal is None]
    fastest = min((candidate.milliseconds for candidate in allowed), default=0.0)
    return next((candidate for candidate in allowed if candidate.milliseconds <= fastest * TIE), None)
