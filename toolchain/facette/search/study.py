"""The search itself: workers that share one study, each taking the next choice, measuring it and writing down what came out.

A study goes on where it was left: it is named after all that decides its outcome (`study_name`). Choices are drawn one worker at a
time, under a lock, so that no two measure the same one and exactly as many are measured as were asked for. A choice whose worker
died is drawn again first.
"""

from __future__ import annotations

import hashlib
import os
import platform
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from facette.search.budget import Budget
from facette.search.choice import Choice, Measured
from facette.search.outcome import SearchResult, Trial, summary
from facette.search.proposals import OUTCOME, Proposal, next_proposal, read_trials
from facette.search.space import SearchSpace
from facette.search.storage import SharedStudy, open_study
from facette_runtime.errors import FacetteError
from facette_runtime.schema import to_dict

if TYPE_CHECKING:
    import optuna

_WAIT_S = 0.2
_WORST = 1e6
"""Distance of a candidate that could not be made, so that the sampler keeps away from its like."""


class Evaluator(Protocol):
    """Makes and measures candidates, what is cheap first."""

    def measure_fast(self, choice: Choice) -> Measured:
        """Everything but accuracy: size, latency, multiply-accumulates.

        Raises:
            FacetteError: the candidate can't be made; the search records why and goes on.
        """
        ...

    def measure_accuracy(self, choice: Choice, fast: Measured) -> Measured:
        """``fast`` with accuracy, TAR or cosine; at least one of accuracy and cosine, the same for every candidate.

        Raises:
            FacetteError: as above.
        """
        ...


@dataclass(frozen=True)
class Search:
    """What is searched for.

    Attributes:
        name: of the study, see `study_name`.
        trials: how many choices are looked at, by all workers together and in all runs of this study.
        where: the study's place, see `facette.search.storage.open_study`.
        seed: with one worker, the same seed draws the same choices.
    """

    name: str
    space: SearchSpace
    budget: Budget
    trials: int
    where: str | Path
    seed: int = 0

    def __post_init__(self) -> None:
        if self.trials < 1:
            raise FacetteError(f"trials must be at least 1, but got {self.trials}")


def study_name(network_digest: str, target: str, budget: Budget, space: SearchSpace) -> str:
    """A name that is the same for the same network, target, budget and space, so that a search that was cut off goes on."""
    digest = hashlib.sha256(repr((network_digest, target, budget, space)).encode()).hexdigest()
    return f"facette-{target}-{digest[:16]}"


def search(job: Search, evaluate: Evaluator, tell: Callable[[str], None] = lambda line: None) -> SearchResult:
    """Works on a study until it has as many trials as wanted or every choice was looked at. Any number of processes may do so.

    Args:
        evaluate: measures candidates.
        tell: is called with a line for each trial.

    Returns:
        The study's result, with the other workers' trials.

    Raises:
        FacetteError: the study can't be opened. What one candidate raises is recorded as its reason instead.
    """
    worker = f"{platform.node()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    with open_study(job.where, job.name) as shared, shared.locks.holding(worker):
        while True:
            with shared.locks.holding("turn"):
                proposal = next_proposal(shared, job.space, job.trials, job.seed, worker)
            if proposal is not None:
                _try(proposal, shared, job, evaluate, tell)
            elif _others_busy(shared):
                time.sleep(_WAIT_S)  # what other workers still measure belongs to the result, and comes back if they die
            else:
                break
        return read_result(shared.study, job)


def read_result(study: optuna.Study, job: Search) -> SearchResult:
    """The study as it stands."""
    return SearchResult(job.name, job.budget, tuple(read_trials(study)), job.space.size)


def _others_busy(shared: SharedStudy) -> bool:
    import optuna

    return bool(shared.study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)))


def _try(proposal: Proposal, shared: SharedStudy, job: Search, evaluate: Evaluator, tell: Callable[[str], None]) -> None:
    trial = _evaluate(proposal, read_result(shared.study, job), evaluate)
    _record(proposal.trial, trial, shared.study, job.budget)
    result = read_result(shared.study, job)
    tell(f"{len(result.trials)}/{min(job.trials, job.space.size)}  {trial.choice.label}: {_outcome(trial, result)}")


def _evaluate(proposal: Proposal, so_far: SearchResult, evaluate: Evaluator) -> Trial:
    number, choice = proposal.trial.number, proposal.choice
    measured = Measured()
    try:
        measured = evaluate.measure_fast(choice)
        broken = so_far.budget.check(measured)
        if broken and not _worth_measuring(measured, so_far):
            return Trial(number, choice, "filtered", measured, "; ".join(shortfall.text for shortfall in broken))
        measured = evaluate.measure_accuracy(choice, measured)
    except FacetteError as error:
        return Trial(number, choice, "failed", measured, str(error))
    return Trial(number, choice, "measured", measured)


def _worth_measuring(fast: Measured, so_far: SearchResult) -> bool:
    """Whether a candidate outside the budget is measured all the same: as long as nothing fits, one that may come closer than any
    before, to the whole budget or to the only term it breaks, so that the verdict can tell by how much that is missed."""
    if so_far.best is not None:
        return False
    budget = so_far.budget
    nearest = min((budget.distance(t.measured) for t in so_far.trials if t.state == "measured"), default=float("inf"))
    if budget.distance(fast) < nearest:
        return True
    broken = budget.check(fast)
    closest = so_far.closest(broken[0].constraint)
    return len(broken) == 1 and (closest is None or broken[0].distance < closest.constraint.distance(closest.value))


def _record(entry: optuna.Trial, trial: Trial, study: optuna.Study, budget: Budget) -> None:
    import optuna

    for constraint in budget.constraints:
        value = constraint.value(trial.measured)
        entry.set_constraint(constraint.name, 0.0 if value is None else min(constraint.distance(value), _WORST))
    if trial.state == "failed":
        entry.set_constraint("made", _WORST)
    entry.set_user_attr(OUTCOME, to_dict(trial))
    if trial.state == "measured":
        measured = trial.measured
        study.tell(entry, [measured.quality, measured.cost, float(measured.bytes or 0)])
    else:  # pruned rather than failed: of failed trials the sampler learns nothing
        study.tell(entry, state=optuna.trial.TrialState.PRUNED)


def _outcome(trial: Trial, result: SearchResult) -> str:
    if trial.state == "failed":
        return f"failed: {trial.reason}"
    text = summary(trial.measured)
    if trial.state == "filtered":
        return f"{text}; accuracy not measured: {trial.reason}"
    broken = [shortfall.text for shortfall in result.budget.check(trial.measured)]
    if broken:
        return f"{text}; misses {', '.join(broken)}"
    if result.best is not None and result.best.number == trial.number:
        return f"{text}; the best so far"
    return f"{text}; fits" if result.budget.fits(trial.measured) else text
