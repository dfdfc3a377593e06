"""What a search found: every trial, the Pareto front, the best within the budget or what stands in the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from facette.search.budget import Budget, Constraint
from facette.search.choice import Choice, Measured
from facette.tables import table

State = Literal["measured", "filtered", "failed"]


@dataclass(frozen=True, slots=True)
class Trial:
    """One candidate that was looked at.

    Attributes:
        number: counts the study's trials from 0, with gaps where a worker died.
        state: "measured" in full; "filtered" when what is cheap to measure broke the budget already; "failed" when it could not
            be made.
        measured: what is known of it.
        reason: why it was filtered or failed; empty otherwise.
    """

    number: int
    choice: Choice
    state: State
    measured: Measured
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Binding:
    """A constraint that alone stands in the way.

    Attributes:
        best: the trial that comes closest to it among those that hold all others.
    """

    constraint: Constraint
    value: float
    best: Trial
    others: tuple[Constraint, ...]

    @property
    def text(self) -> str:
        """For people, e.g. "latency: best was 2.31 ms at lfw ≥ 99.00 %"."""
        given = f" at {', '.join(other.text for other in self.others)}" if self.others else ""
        return f"{self.constraint.name}: best was {self.constraint.metric.tell(self.value)}{given} ({self.best.choice.label})"


@dataclass(frozen=True)
class SearchResult:
    """A study as it stands.

    Attributes:
        name: of the study, to go on with it.
        trials: by number.
        size: how many choices there are to be had.
    """

    name: str
    budget: Budget
    trials: tuple[Trial, ...]
    size: int

    @property
    def front(self) -> tuple[Trial, ...]:
        """Of the trials measured in full those that no other beats in quality, cost and size at once; the cheapest first."""
        measured = [trial for trial in self.trials if trial.state == "measured"]
        aims = [objectives(trial.measured) for trial in measured]
        kept = [trial for trial, own in zip(measured, aims, strict=True) if not any(beats(other, own) for other in aims)]
        return tuple(sorted(kept, key=lambda trial: trial.measured.cost))

    @property
    def best(self) -> Trial | None:
        """The fastest within the budget, the more accurate one of equals; None when nothing fits."""
        fitting = [trial for trial in self.trials if trial.state == "measured" and self.budget.fits(trial.measured)]
        return min(fitting, key=lambda trial: (trial.measured.cost, -trial.measured.quality), default=None)

    @property
    def binding(self) -> tuple[Binding, ...]:
        """When nothing fits, the constraints each of which alone stands in the way, the one that is closest to being met first.

        Empty where every candidate breaks several at once.
        """
        if self.best is not None:
            return ()
        found = [binding for constraint in self.budget.constraints if (binding := self.closest(constraint)) is not None]
        return tuple(sorted(found, key=lambda binding: binding.constraint.distance(binding.value)))

    def closest(self, constraint: Constraint) -> Binding | None:
        """The candidate that comes closest to a constraint among those known to hold all others; None where there are none."""
        others = tuple(other for other in self.budget.constraints if other != constraint)
        rest = Budget(others)
        known = [
            (value, trial)
            for trial in self.trials
            if (value := constraint.value(trial.measured)) is not None and rest.fits(trial.measured)
        ]
        if not known:
            return None
        value, trial = min(known, key=lambda pair: constraint.distance(pair[0]))
        return Binding(constraint, value, trial, others)

    def verdict(self) -> str:
        """A line or more for people: the best candidate, or why there is none."""
        if self.best is not None:
            return f"best within the budget: {self.best.choice.label}: {summary(self.best.measured)}"
        lines = [f"nothing fits the budget ({self.budget.text})"]
        lines += [f"  {binding.text}" for binding in self.binding]
        known = [trial for trial in self.trials if trial.state != "failed"]
        if not known:
            last = self.trials[-1].reason if self.trials else "no trial was run"
            return f"{lines[0]}: no candidate could be made; {last}"
        measured = [trial for trial in known if trial.state == "measured"]
        if missing := {name for trial in measured for name in self.budget.unmeasured(trial.measured)}:
            lines.append(f"  {', '.join(sorted(missing))}: could not be measured")
        elif len(lines) == 1:
            nearest = min(measured or known, key=lambda trial: self.budget.distance(trial.measured))
            broken = "; ".join(shortfall.text for shortfall in self.budget.check(nearest.measured))
            lines.append(f"  every candidate breaks several terms; nearest was {nearest.choice.label}: {broken}")
        return "\n".join(lines)


def to_table(result: SearchResult) -> str:
    """Every trial, for ``--explain``: those on the front are marked with an asterisk, the best with two."""
    front = {trial.number for trial in result.front}
    rows = []
    for trial in result.trials:
        mark = "**" if trial == result.best else "*" if trial.number in front else ""
        rows.append([str(trial.number), mark, trial.choice.label, *_cells(trial.measured), _verdict(trial, result.budget)])
    return table(["trial", "", "candidate", "LFW %", "TAR %", "cosine", "MB", "ms", "M MACs", "verdict"], rows)


def summary(measured: Measured) -> str:
    """What is known of a candidate, on one line."""
    told = [
        "" if measured.accuracy is None else f"LFW {measured.accuracy:.2%}",
        "" if measured.tar is None else f"TAR {measured.tar:.2%}",
        "" if measured.cosine is None else f"cosine {measured.cosine:.4f}",
        "" if measured.bytes is None else f"{measured.bytes / 1e6:.2f} MB",
        "" if measured.latency_ms is None else f"{measured.latency_ms:.2f} ms",
        "" if measured.macs is None else f"{measured.macs / 1e6:.0f} M MACs",
    ]
    return ", ".join(filter(None, told))


def _cells(measured: Measured) -> list[str]:
    values: Sequence[tuple[float | None, float, int]] = (
        (measured.accuracy, 100, 2), (measured.tar, 100, 2), (measured.cosine, 1, 4),
        (measured.bytes, 1e-6, 2), (measured.latency_ms, 1, 2), (measured.macs, 1e-6, 0),
    )  # fmt: skip
    return ["" if value is None else f"{value * factor:.{decimals}f}" for value, factor, decimals in values]


def _verdict(trial: Trial, budget: Budget) -> str:
    if trial.reason:
        return f"{trial.state}: {trial.reason}"
    broken = [shortfall.text for shortfall in budget.check(trial.measured)]
    broken += [f"{name} not measured" for name in budget.unmeasured(trial.measured)]
    return "; ".join(broken) or "fits"


def beats(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    """Whether ``one`` is at least as good in everything and better in something; of both, the less the better, as `objectives`."""
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))


def objectives(measured: Measured) -> tuple[float, float, float]:
    """−quality, cost and size: the less the better, all three."""
    return -measured.quality, measured.cost, float(measured.bytes or 0)
