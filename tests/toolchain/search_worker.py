"""A search over made-up networks, in this process or as a worker of its own:
``python -m tests.toolchain.search_worker PLACE TRIALS LOG [kill|meet]``."""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

from facette.search.budget import Budget, parse_budget
from facette.search.choice import Choice, Measured
from facette.search.space import Offer, SearchSpace
from facette.search.study import Search, search
from facette_runtime.errors import FacetteError

SPACE = SearchSpace(
    offers=(
        Offer("onnxruntime", ("fp32", "int8"), ("dw2", "stock"), ("min-max", "mse"), (0.0, 0.1)),
        Offer("litert", ("fp32", "int8"), ("max", "stock")),
    ),
    keeps=(1.0, 0.5),
)
BUDGET = parse_budget("lfw>=98.9 size<=1.5MB latency<=2ms")
KILL_AT = 3
_PATIENCE_S = 120


class MadeUp:
    """Smooth, deterministic figures like MobileFaceNet's. LiteRT refuses one form in int8.

    Args:
        log: takes a line for each candidate that is made; None for none.
        trouble: "kill" ends this process at its third candidate; "meet" waits after the first until another worker is at work too.
    """

    def __init__(self, log: Path | None = None, trouble: str = "") -> None:
        self.made: list[Choice] = []
        self.judged: list[Choice] = []
        self._log = log
        self._trouble = trouble

    def measure_fast(self, choice: Choice) -> Measured:
        self.made.append(choice)
        if self._log is not None:
            with self._log.open("a") as file:
                file.write(f"{os.getpid()} {choice.label}\n")
        if self._trouble == "kill" and len(self.made) == KILL_AT:
            os.kill(os.getpid(), signal.SIGKILL)
        if self._trouble == "meet":
            self._meet()
        if (choice.engine, choice.precision, choice.form) == ("litert", "int8", "stock"):
            raise FacetteError("litert: PRELU has no int8 kernel")
        rounded = choice.precision == "int8"
        slow = 1 if choice.form != "stock" else 3
        return Measured(
            bytes=int(4e6 * choice.keep * (0.26 if rounded else 1) * (1 + 3 * choice.float_share)),
            latency_ms=3.1 * slow * choice.keep * (0.7 if rounded else 1) * (1 + 2 * choice.float_share),
            macs=int(2.2e8 * choice.keep),
        )

    def measure_accuracy(self, choice: Choice, fast: Measured) -> Measured:
        self.judged.append(choice)
        lost = 0.008 * (1 - choice.keep)
        if choice.precision == "int8" and choice.range_method == "min-max":
            lost += 0.01 * (1 - 5 * choice.float_share)
        return replace(fast, accuracy=0.9937 - lost, tar=0.98 - 2 * lost)

    def _meet(self) -> None:
        assert self._log is not None
        deadline = time.monotonic() + _PATIENCE_S
        while len({line.split()[0] for line in self._log.read_text().splitlines()}) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)


def job(where: str | Path, trials: int, budget: Budget = BUDGET, space: SearchSpace = SPACE) -> Search:
    """A search for the made-up networks."""
    return Search("made-up", space, budget, trials, where)


if __name__ == "__main__":
    place, count, log, *trouble = sys.argv[1:]
    search(job(place, int(count)), MadeUp(Path(log), "".join(trouble)), print)
