"""The gate: what a compressed network must still be able to do, measured on faces rather than on tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from facette.cache import Cache, fingerprint, key_of
from facette.evaluation.agreement import Agreement, agreement, detections
from facette.evaluation.verification import Verification, VerificationSet, verify
from facette.floor import Floor
from facette.model import Model
from facette.reference import reference_engine
from facette_runtime.engines.base import Engine
from facette_runtime.manifest import Parity
from facette_runtime.schema import from_dict, to_dict
from facette_runtime.types import Detections, Image


@dataclass(frozen=True, slots=True)
class Judgement:
    """What was measured, and why the network is refused; None for one that may be shipped."""

    refusal: str | None
    verification: Verification | None = None
    agreement: Agreement | None = None


class Gate(Protocol):
    """Judges one role's networks."""

    def judge(self, engine: Engine, digest: str, parity: Mapping[str, Parity], *, trained: bool = False) -> Judgement:
        """Measures a network.

        Args:
            engine: runs it.
            digest: says which network and engine this is; the same digest is not measured twice.
            parity: of its outputs with those of the network that it was made from, on the golden pictures.
            trained: whether training or cutting has moved the outputs on purpose.
        """
        ...


class EmbedderGate:
    """Verification on LFW against the original's, and the embeddings' distance from those of the network that was rounded.

    Verification alone would let a swapped channel order pass, which costs a colour-blind network little; the distance alone says
    nothing of accuracy. A network that was trained is judged by verification only, if there are data.

    Args:
        original: the network before any pass.
        test: None without data.
        floor: the recipe's.
        match_threshold: cosine; where there are data, the original's own best threshold is taken.
        cache: of measurements.
    """

    def __init__(
        self, original: Model, test: VerificationSet | None, floor: Floor, match_threshold: float | None, cache: Cache
    ) -> None:
        self._original = original
        self._test = test
        self._floor = floor
        self._match_threshold = match_threshold
        self._cache = cache

    @cached_property
    def original(self) -> Verification | None:
        """The uncompiled network's own verification; None without data."""
        return None if self._test is None else self._verify(reference_engine(self._original), fingerprint(self._original))

    def judge(self, engine: Engine, digest: str, parity: Mapping[str, Parity], *, trained: bool = False) -> Judgement:
        """See `Gate.judge`."""
        if self.original is None:
            assert self._match_threshold is not None
            return Judgement(self._drift(parity, self._match_threshold))
        measured = self._verify(engine, digest)
        moved = None if trained else self._drift(parity, self.original.threshold)
        return Judgement(verification_shortfall(measured, self.original, self._floor) or moved, measured)

    def _verify(self, engine: Engine, digest: str) -> Verification:
        assert self._test is not None
        test = self._test
        key = key_of("verification", Verification.__slots__, digest, engine.name, test.digest)
        return from_dict(Verification, self._cache.json(key, lambda: to_dict(verify(engine, test, "LFW"))), "verification")

    def _drift(self, parity: Mapping[str, Parity], threshold: float) -> str | None:
        least = 1 - self._floor.max_error_share * (1 - threshold)
        cosine = min(value.cosine for value in parity.values())
        if cosine >= least:  # not so for NaN
            return None
        share = (1 - cosine) / (1 - threshold)
        return (
            f"the embeddings move too far: cosine {cosine:.4f} < {least:.4f}, {share:.0%} of the way to the match threshold"
            f" ({self._floor.max_error_share:.0%} allowed)"
        )


def verification_shortfall(measured: Verification, original: Verification, floor: Floor) -> str | None:
    """Why a network's accuracy is not enough, or None.

    What it may lose is judged over all pairs, for of the few that LFW lists one or two decide between a tenth of a point more or
    less; what it must reach by those, as accuracies on LFW are usually given.
    """
    now, before = measured.all_pairs, original.all_pairs
    asked = (
        ("accuracy", measured.accuracy, floor.min_accuracy, None),
        ("TAR@FAR=1e-3", measured.tar, floor.min_tar, None),
        ("accuracy over all pairs", now.accuracy, floor.max_accuracy_drop, before.accuracy),
        ("TAR@FAR=1e-3 over all pairs", now.tar_at(1e-3), floor.max_tar_drop, before.tar_at(1e-3)),
    )
    for what, value, bound, had in asked:
        if bound is None:
            continue
        least, why = (bound, "the floor") if had is None else (100 * had - bound, f"the original has {100 * had:.2f} %")
        if not 100 * value >= least - 1e-9:  # so for NaN too
            digits = 2 if f"{100 * value:.2f}" != f"{least:.2f}" else 4
            return f"{what} {100 * value:.{digits}f} % < {least:.{digits}f} % ({why})"
    return None


class DetectorGate:
    """The faces and landmarks found, against the original's.

    Args:
        original: the network before any pass.
        pictures: gives uint8 [h, w, 3] each, letterboxed, in the network's channel order; asked once, when first needed.
        floor: the recipe's.
    """

    def __init__(self, original: Model, pictures: Callable[[], Sequence[Image]], floor: Floor) -> None:
        self._original = original
        self._show = pictures
        self._floor = floor

    @cached_property
    def _pictures(self) -> Sequence[Image]:
        return self._show()

    @cached_property
    def _expected(self) -> list[Detections]:
        return detections(reference_engine(self._original), self._original, self._pictures)

    def judge(self, engine: Engine, digest: str, parity: Mapping[str, Parity], *, trained: bool = False) -> Judgement:
        """See `Gate.judge`."""
        measured = agreement(detections(engine, self._original, self._pictures), self._expected)
        return Judgement(agreement_shortfall(measured, self._floor), agreement=measured)


def agreement_shortfall(measured: Agreement, floor: Floor) -> str | None:
    """Why a detector's agreement is not enough, or None."""
    if not measured.recall >= floor.min_recall:
        return f"finds {measured.recall:.1%} of the original's {measured.faces} faces ({floor.min_recall:.0%} wanted)"
    if not measured.extra <= floor.max_extra:
        return f"{measured.extra:.1%} more boxes than the original's {measured.faces} faces ({floor.max_extra:.0%} allowed)"
    if not measured.landmark_shift <= floor.max_landmark_shift:
        return f"landmarks move by {measured.landmark_shift:.1%} of the eyes' distance ({floor.max_landmark_shift:.0%} allowed)"
    return None
