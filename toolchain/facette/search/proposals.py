"""Which choice comes next: those of workers that died, every engine's favourites, then what the sampler proposes.

Everything here reads and writes the study between two other workers' turns: call it under the lock.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np

from facette.search.choice import Choice
from facette.search.outcome import Trial
from facette.search.space import SearchSpace
from facette.search.storage import DIRECTIONS, SharedStudy
from facette_runtime.schema import from_dict, to_dict

if TYPE_CHECKING:
    import optuna

T = TypeVar("T")
OUTCOME = "outcome"
"""Attribute of a study's entry that holds the `Trial`, once it has come to an end."""
_ATTEMPTS = 8
"""Proposals of the sampler that may be taken already before any free choice is drawn."""


@dataclass(frozen=True)
class Proposal:
    """A choice that is this worker's to measure, and its entry in the study."""

    trial: optuna.Trial
    choice: Choice


def next_proposal(shared: SharedStudy, space: SearchSpace, wanted: int, seed: int, worker: str) -> Proposal | None:
    """The next choice that nobody has taken; None when ``wanted`` are taken or there is none left."""
    import optuna

    study = shared.study
    _take_back(shared, worker)
    entries = study.get_trials(deepcopy=False)
    taken = _taken(entries)
    if len(taken) >= min(wanted, space.size):
        return None
    if all(entry.state != optuna.trial.TrialState.WAITING for entry in entries):
        favourite = next((choice for choice in space.baselines() if choice not in taken), None)
        study.enqueue_trial(_parameters(favourite or _propose(entries, space, taken, seed), space))
    trial = study.ask()
    trial.set_user_attr("worker", worker)
    choice = _suggest(trial, space)
    trial.set_user_attr("choice", to_dict(choice))
    return Proposal(trial, choice)


def read_trials(study: optuna.Study) -> Iterator[Trial]:
    """Those that came to an end."""
    for entry in study.get_trials(deepcopy=False):
        if OUTCOME in entry.user_attrs:
            yield from_dict(Trial, entry.user_attrs[OUTCOME], f"trial {entry.number}")


def _take_back(shared: SharedStudy, worker: str) -> None:
    """What a dead worker had begun and not measured is enqueued again."""
    import optuna

    for trial in shared.study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
        owner = trial.user_attrs.get("worker")
        if owner == worker or (owner is not None and shared.locks.is_held(owner)):
            continue
        shared.study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        if "choice" in trial.user_attrs and OUTCOME not in trial.user_attrs:
            shared.study.enqueue_trial(trial.params)


def _taken(entries: Sequence[optuna.trial.FrozenTrial]) -> set[Choice]:
    """What was measured or is being measured: not what a dead worker left."""
    return {
        from_dict(Choice, entry.user_attrs["choice"], f"trial {entry.number}")
        for entry in entries
        if OUTCOME in entry.user_attrs or ("choice" in entry.user_attrs and not entry.state.is_finished())
    }


def _propose(entries: Sequence[optuna.trial.FrozenTrial], space: SearchSpace, taken: set[Choice], seed: int) -> Choice:
    """What the sampler (multi-objective TPE with constraints: Ozaki et al., 2022) thinks best of what is free.

    It doesn't know what is taken and in a small space proposes it again and again. So it is asked on a copy of the study in memory,
    where what it has just proposed counts as under way and repels it, and the study itself keeps real trials only.
    """
    import optuna

    known = [entry for entry in entries if entry.params]
    # Seeded by the study's length: a study that is taken up again draws as if it had never stopped, and no two workers alike.
    sampler = optuna.samplers.TPESampler(seed=seed + len(known))
    copy = optuna.create_study(directions=DIRECTIONS, sampler=sampler)
    copy.add_trials(known)
    for _ in range(_ATTEMPTS):
        choice = _suggest(copy.ask(), space)
        if choice not in taken:
            return choice
    left = [choice for choice in space.choices() if choice not in taken]
    return left[np.random.default_rng((seed, len(known))).integers(len(left))]


def _suggest(trial: optuna.Trial, space: SearchSpace) -> Choice:
    """Draws each parameter; what has an order is drawn by its place in it."""

    def one_of(name: str, values: tuple[T, ...]) -> T:
        return cast(T, trial.suggest_categorical(name, cast(Any, values)))

    def place_in(name: str, values: tuple[T, ...]) -> T:
        return values[trial.suggest_int(name, 0, len(values) - 1)]

    engine = one_of("engine", tuple(offer.engine for offer in space.offers))
    offer = space.offer(engine)
    precision = one_of(f"{engine} precision", offer.precisions)
    form = one_of(f"{engine} form", offer.forms)
    threads, keep = place_in("threads", space.threads), place_in("keep", space.keeps)
    if precision != "int8":
        return Choice(engine, precision, form, threads, keep)
    method = one_of(f"{engine} range method", offer.range_methods)
    equalize = one_of("equalize", space.equalize)
    share = place_in(f"{engine} float share", offer.float_shares)
    return Choice(engine, precision, form, threads, keep, method, equalize, share)


def _parameters(choice: Choice, space: SearchSpace) -> dict[str, Any]:
    """The parameters that `_suggest` reads a choice from."""
    offer, engine = space.offer(choice.engine), choice.engine
    parameters: dict[str, Any] = {
        "engine": engine,
        f"{engine} precision": choice.precision,
        f"{engine} form": choice.form,
        "threads": space.threads.index(choice.threads),
        "keep": space.keeps.index(choice.keep),
    }
    if choice.precision == "int8":
        parameters |= {
            f"{engine} range method": choice.range_method,
            "equalize": choice.equalize,
            f"{engine} float share": offer.float_shares.index(choice.float_share),
        }
    return parameters
