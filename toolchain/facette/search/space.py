"""What a search may choose from."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from facette.calibration import RangeMethod
from facette.search.choice import Choice
from facette.target import Target
from facette_runtime.manifest import Precision


@dataclass(frozen=True, slots=True)
class Offer:
    """What one engine offers; favourites first, since a search begins with them."""

    engine: str
    precisions: tuple[Precision, ...]
    forms: tuple[str, ...]
    range_methods: tuple[RangeMethod, ...] = ("min-max",)
    float_shares: tuple[float, ...] = (0.0,)

    def __post_init__(self) -> None:
        for name in ("precisions", "forms", "range_methods", "float_shares"):
            if not getattr(self, name):
                raise ValueError(f"{self.engine}: {name} must not be empty")


@dataclass(frozen=True, slots=True)
class SearchSpace:
    """Everything that may be chosen.

    Attributes:
        offers: by engine, in order of preference.
        keeps: shares of the multiply-accumulates that pruning may keep.
        threads: intra-op threads to try.
        equalize: whether int8 is tried equalized, plain or both.
    """

    offers: tuple[Offer, ...]
    keeps: tuple[float, ...] = (1.0,)
    threads: tuple[int, ...] = (1,)
    equalize: tuple[bool, ...] = (True,)

    def __post_init__(self) -> None:
        for name in ("offers", "keeps", "threads", "equalize"):
            if not getattr(self, name):
                raise ValueError(f"{name} must not be empty")

    def offer(self, engine: str) -> Offer:
        """One engine's."""
        return next(offer for offer in self.offers if offer.engine == engine)

    def choices(self) -> Iterator[Choice]:
        """All of them."""
        for offer in self.offers:
            for precision, form, threads, keep in product(offer.precisions, offer.forms, self.threads, self.keeps):
                if precision != "int8":
                    yield Choice(offer.engine, precision, form, threads, keep)
                    continue
                for method, equalize, share in product(offer.range_methods, self.equalize, offer.float_shares):
                    yield Choice(offer.engine, precision, form, threads, keep, method, equalize, share)

    @property
    def size(self) -> int:
        """How many choices there are."""
        return sum(
            len(offer.forms) * len(self.threads) * len(self.keeps) * self._variants(offer, precision)
            for offer in self.offers
            for precision in offer.precisions
        )

    def _variants(self, offer: Offer, precision: Precision) -> int:
        settings: Sequence[Sequence[object]] = (offer.range_methods, self.equalize, offer.float_shares)
        return math.prod(map(len, settings)) if precision == "int8" else 1

    def baselines(self) -> list[Choice]:
        """The unpruned network in every engine's favourite form at each precision: what a search looks at first."""
        favourites = []
        for offer in self.offers:
            for precision in offer.precisions:
                plain = Choice(offer.engine, precision, offer.forms[0], self.threads[0], max(self.keeps))
                if precision == "int8":
                    details = (offer.range_methods[0], self.equalize[0], min(offer.float_shares))
                    plain = Choice(plain.engine, precision, plain.form, plain.threads, plain.keep, *details)
                favourites.append(plain)
        return favourites


def space_for(
    target: Target,
    forms: Sequence[str],
    *,
    keeps: tuple[float, ...] = (1.0,),
    threads: tuple[int, ...] = (),
    range_methods: tuple[RangeMethod, ...] = ("min-max", "percentile", "mse"),
    float_shares: tuple[float, ...] = (0.0,),
    equalize: tuple[bool, ...] = (True,),
) -> SearchSpace:
    """What a target offers for a network.

    Args:
        forms: of the network, as `facette.forms.graph_forms` gives them; an engine's others are left out, and an engine
            that knows none of them too.
        threads: to try; the target's own number by default.
    """
    by_engine = ((engine, tuple(form for form in engine.forms if form in forms)) for engine in target.engines)
    offers = (Offer(engine.name, engine.precisions, known, range_methods, float_shares) for engine, known in by_engine if known)
    return SearchSpace(tuple(offers), keeps, threads or (target.threads,), equalize)
