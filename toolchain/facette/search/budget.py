"""What a network may cost and must be able to do: ``lfw>=99.0 size<=1.5MB latency<=2ms``."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from facette.search.choice import Measured
from facette.search.metrics import METRICS, Metric
from facette_runtime.errors import FacetteError

_TERM = re.compile(r"([A-Za-z_]+)\s*(>=|<=|[<>=≥≤]+)\s*([-+\w.]*?)\s*([A-Za-z%µ]*)(?=[\s,]|$)(?!\s*[<>=≥≤])")
_SIGNS = {">=": "≥", "<=": "≤"}


@dataclass(frozen=True, slots=True)
class Constraint:
    """One term of a budget; ``bound`` is in the unit of the metric's attribute."""

    name: str
    bound: float

    @property
    def metric(self) -> Metric:
        """What it is about."""
        return METRICS[self.name]

    @property
    def text(self) -> str:
        """For people, e.g. "latency ≤ 2.00 ms"."""
        return f"{self.name} {_SIGNS[self.metric.operator]} {self.metric.tell(self.bound)}"

    def value(self, measured: Measured) -> float | None:
        """What was measured; None where nothing was."""
        found: float | None = getattr(measured, self.metric.attribute)
        return found

    def distance(self, value: float) -> float:
        """How far a value is from the bound, relative to it; negative within, infinite for NaN.

        For accuracies it is relative to the errors that the bound allows: 98.5 % where 99.0 % are asked for has half as many errors
        again and is 0.5 away, as a latency of 3 ms is from 2 ms.
        """
        if math.isnan(value):
            return math.inf
        if self.metric.operator == ">=":
            return (self.bound - value) / max(self.metric.perfect - self.bound, self.metric.finest)
        return (value - self.bound) / self.bound


@dataclass(frozen=True, slots=True)
class Shortfall:
    """A constraint that a measured candidate breaks.

    Attributes:
        distance: relative, see `Constraint.distance`.
    """

    constraint: Constraint
    value: float
    distance: float

    @property
    def text(self) -> str:
        """For people, e.g. "latency 2.31 ms, not ≤ 2.00 ms"."""
        metric = self.constraint.metric
        sign = _SIGNS[metric.operator]
        return f"{self.constraint.name} {metric.tell(self.value)}, not {sign} {metric.tell(self.constraint.bound)}"


@dataclass(frozen=True, slots=True)
class Budget:
    """All terms, at most one for each metric."""

    constraints: tuple[Constraint, ...]

    @property
    def text(self) -> str:
        """For people."""
        return ", ".join(constraint.text for constraint in self.constraints)

    def check(self, measured: Measured) -> tuple[Shortfall, ...]:
        """What breaks the budget of what was measured so far."""
        broken = []
        for constraint in self.constraints:
            value = constraint.value(measured)
            # A hair's breadth is given: 99 % of a float isn't always 0.99.
            if value is not None and not (distance := constraint.distance(value)) <= 1e-9:
                broken.append(Shortfall(constraint, value, distance))
        return tuple(broken)

    def unmeasured(self, measured: Measured) -> tuple[str, ...]:
        """Names of the metrics that are asked for and not known yet."""
        return tuple(constraint.name for constraint in self.constraints if constraint.value(measured) is None)

    def fits(self, measured: Measured) -> bool:
        """Whether everything that is asked for was measured and holds."""
        return not self.check(measured) and not self.unmeasured(measured)

    def distance(self, measured: Measured) -> float:
        """How far outside the budget a candidate is: the sum of its shortfalls' distances."""
        return sum(shortfall.distance for shortfall in self.check(measured))


def parse_budget(text: str) -> Budget:
    """Reads a budget: terms of metric, operator and number with its unit, apart by spaces or commas.

    Raises:
        FacetteError: something in it can't be read; the message names it and what is valid.
    """
    constraints: list[Constraint] = []
    place = 0
    while rest := text[place:].lstrip(" ,\t\n"):
        place = len(text) - len(rest)
        match = _TERM.match(rest)
        if match is None:
            raise FacetteError(f"budget: can't read {rest!r}; write e.g. 'lfw>=99.0 size<=1.5MB latency<=2ms'; {_valid_metrics()}")
        constraints.append(_constraint(*match.groups()))
        place += match.end()
    names = [constraint.name for constraint in constraints]
    if not names:
        raise FacetteError(f"budget: is empty; write e.g. 'lfw>=99.0 size<=1.5MB latency<=2ms'; {_valid_metrics()}")
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise FacetteError(f"budget: {twice} is given twice")
    return Budget(tuple(constraints))


def _constraint(name: str, operator: str, number: str, unit: str) -> Constraint:
    metric = METRICS.get(name.lower())
    term = f"{name}{operator}{number}{unit}"
    if metric is None:
        raise FacetteError(f"budget: unknown metric {name!r} in {term!r}; {_valid_metrics()}")
    operator = {"≥": ">=", "≤": "<="}.get(operator, operator)
    if operator != metric.operator:
        better = "larger" if metric.operator == ">=" else "smaller"
        raise FacetteError(f"budget: {term!r}: {name} is better the {better} it is; valid: {name}{metric.operator}…")
    try:
        value = float(number)
    except ValueError:
        raise FacetteError(
            f"budget: {term!r}: {number + unit!r} is not a number with a unit; {_valid_units(name.lower())}"
        ) from None
    factors = {known.lower(): factor for known, factor in metric.units.items()}
    factor = factors.get(unit.lower().replace("µ", "u"))
    if factor is None:
        wrong = f"unknown unit {unit!r}" if unit else "the unit is missing"
        raise FacetteError(f"budget: {term!r}: {wrong}; {_valid_units(name.lower())}")
    return _checked(Constraint(name.lower(), value / factor), term, value)


def _checked(constraint: Constraint, term: str, value: float) -> Constraint:
    metric = constraint.metric
    if not math.isfinite(value) or value <= 0:
        raise FacetteError(f"budget: {term!r}: the bound must be above 0")
    if constraint.bound > metric.perfect:
        raise FacetteError(f"budget: {term!r}: more than {metric.tell(metric.perfect)} can't be had")
    if "%" in metric.units and value <= 1:
        raise FacetteError(f"budget: {term!r}: {constraint.name} is in percent; valid: {constraint.name}>={value * 100:g}")
    return constraint


def _valid_metrics() -> str:
    shown = (f"{name}{metric.operator} ({'|'.join(filter(None, metric.units)) or 'no unit'})" for name, metric in METRICS.items())
    return "valid metrics: " + ", ".join(shown)


def _valid_units(name: str) -> str:
    units = [unit or "none" for unit in METRICS[name].units]
    return f"valid units of {name}: {', '.join(units)}"
