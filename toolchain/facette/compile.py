"""The story of a compilation, top to bottom: networks in, one checked bundle out."""

from __future__ import annotations

import json
import platform
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from facette import __version__
from facette.bundle import write_bundle
from facette.cache import Cache, tool_versions
from facette.calibration import Quantization
from facette.candidates import Bench, Candidate, Plan, ask_tensorrt, list_plans, make, measure, measure_beside, open_candidate
from facette.compile_report import COMPILE_REPORT_FILE, CompileReport, PassRow, report_rows
from facette.compress import Supplies, compress, in_rounds
from facette.data.calibration_pictures import calibration_pictures
from facette.embedder_search import Setting, Wish, search_embedder, settle
from facette.entries import Build, detector_entry, embedder_entry
from facette.evaluation.verification import verification_set
from facette.export.artifact import SUFFIX
from facette.gate import DetectorGate, EmbedderGate, Gate
from facette.golden import Stages, golden_files, run_reference, tolerance_of
from facette.loading import load_models
from facette.model import Model
from facette.pass_report import judge_passes
from facette.quantizer import Quantizer
from facette.recipe import EmbedderChoice, Recipe
from facette.reference import count_macs
from facette.search.outcome import SearchResult
from facette.selection import choose, judge
from facette.target import Target
from facette.threshold import check_threshold, match_rule
from facette_runtime.bundle import Bundle
from facette_runtime.errors import BundleError, FacetteError
from facette_runtime.manifest import MAJOR, MINOR, GoldenTolerance, Licence, Manifest, MatchRule
from facette_runtime.preprocess import letterbox, to_network
from facette_runtime.schema import to_dict
from facette_runtime.selftest import self_test
from facette_runtime.target import check_target
from facette_runtime.types import Image

GATE_PICTURES = 200
"""That a detector is judged on."""


@dataclass(frozen=True)
class Job:
    """One compilation.

    Attributes:
        recipe, target: what and for what.
        output: the bundle's path.
        photos: name and picture (uint8 [h, w, 3], BGR) of real faces, for parity and the golden certificate.
        photos_licence: their terms; they travel in the bundle.
        cache: of exports and measurements.
        weights_folder: where weights are looked for that the recipe's folder doesn't hold.
        data_dir: with LFW, for the gate and to derive the threshold for this very engine; None takes the network's card or the
            recipe, and the gate then compares embeddings.
        faces: folders, zips or CSVs of photos: the first to calibrate with, all for the passes that train. Never LFW.
        commercial: refuse weights that may not be used commercially.
        private_key_pem: signs the bundle.
        tell: is called with a line at each step.
    """

    recipe: Recipe
    target: Target
    output: Path
    photos: Sequence[tuple[str, Image]]
    photos_licence: Licence
    cache: Cache
    weights_folder: Path | None = None
    data_dir: Path | None = None
    faces: tuple[Path, ...] = ()
    commercial: bool = False
    private_key_pem: bytes | None = None
    tell: Callable[[str], None] = lambda line: None


def compile_bundle(job: Job) -> tuple[Manifest, CompileReport]:
    """Compiles a recipe for a target.

    Returns:
        What was written, and how it was chosen.

    Raises:
        FacetteError: something in the recipe, the weights or the target doesn't fit, or no candidate passes; nothing is written.
    """
    originals = dict(zip(("detector", "embedder"), load_models(job.recipe, job.weights_folder), strict=True))
    check_threshold(originals["embedder"], job.data_dir)
    licences = (*_licences(originals.values(), job.commercial), job.photos_licence)
    gates = _gates(originals, job)
    models, passes = _compress(originals, gates, job)
    plans = {role: list_plans(model, job.target, job.recipe.compile) for role, model in models.items()}
    if only := job.recipe.embedder.only:
        plans["embedder"] = [_settled(plan, only) for plan in plans["embedder"] if _is_settled_on(plan, only)]
    job.tell("running the uncompiled networks on the golden pictures")
    stages = run_reference(models["detector"], models["embedder"], job.photos)
    benches = _benches(models, stages, job)
    candidates = {role: _candidates(models, role, plan, benches[role], gates[role], job) for role, plan in plans.items()}
    chosen = choose(candidates, job.target)
    job.tell("packing and self-testing the bundle")
    engines = {role: (models[role], open_candidate(candidate, benches[role].threads)) for role, candidate in chosen.items()}
    exact = GoldenTolerance(embedding_cosine=job.recipe.compile.min_cosine)
    golden, files = golden_files(stages, tolerance_of(stages, engines["detector"], engines["embedder"], exact))
    builds = {role: _build(role, models[role], candidate, benches[role].threads) for role, candidate in chosen.items()}
    files |= {builds[role].file: shipped.content for role, shipped in chosen.items()}
    report = CompileReport(
        job.target.name,
        benches["embedder"].threads,
        report_rows(candidates, chosen),
        job.cache.hits,
        job.cache.misses,
        passes,
    )
    files[COMPILE_REPORT_FILE] = json.dumps(to_dict(report), indent=1).encode()
    manifest = Manifest(
        format=(MAJOR, MINOR),
        name=job.recipe.name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        target=job.target.facts,
        detector=detector_entry(models["detector"], builds["detector"]),
        embedder=embedder_entry(models["embedder"], builds["embedder"]),
        match=MatchRule(0.0, "not derived yet"),
        golden=golden,
        licences=licences,
        tools={"facette": __version__, "python": platform.python_version(), **tool_versions()},
        files={},
    )
    with tempfile.TemporaryDirectory() as folder:
        trial = Path(folder) / "trial.facette"
        write_bundle(trial, manifest, files)
        _self_test(trial)
        match = match_rule(trial, models["embedder"], job.data_dir, job.tell)
    return write_bundle(job.output, replace(manifest, match=match), files, job.private_key_pem), report


def search_recipe(job: Job, wish: Wish) -> tuple[Recipe, SearchResult]:
    """Searches the embedder's compression within a budget.

    Returns:
        The recipe that compiles the best choice, and the study.

    Raises:
        FacetteError: nothing fits; the message names what stands in the way.
    """
    detector, embedder = load_models(job.recipe, job.weights_folder)
    originals = {"detector": detector, "embedder": embedder}
    gate = _gates(originals, job)["embedder"]
    assert isinstance(gate, EmbedderGate)
    setting = Setting(
        original=embedder,
        passes=job.recipe.embedder.passes,
        stages=tuple(run_reference(detector, embedder, job.photos)),
        supplies=Supplies(job.faces, detector, job.cache, job.tell),
        gate=gate,
        choices=job.recipe.compile,
        measured=_stands_in(job.target),
        recovery=wish.recovery,
        tell=job.tell,
    )
    result = search_embedder(setting, wish, job.target)
    if result.best is None:
        raise FacetteError(result.verdict())
    return settle(job.recipe, result.best.choice, wish.recovery), result


def _is_settled_on(plan: Plan, only: EmbedderChoice) -> bool:
    return (plan.precision, plan.form.form) == (only.precision, only.form)


def _settled(plan: Plan, only: EmbedderChoice) -> Plan:
    if plan.quantization is None:
        return plan
    return replace(plan, quantization=replace(plan.quantization, float_share=only.float_share))


def _licences(models: Iterable[Model], commercial: bool) -> tuple[Licence, ...]:
    licences = [Licence("code", "Apache-2.0", True, "Facette"), *(licence for model in models for licence in model.licences)]
    barred = [licence for licence in licences if licence.covers.startswith("weights") and not licence.commercial_use]
    if commercial and barred:
        names = ", ".join(f"{licence.covers} ({licence.name})" for licence in barred)
        raise FacetteError(f"--commercial: not allowed for {names}")
    return tuple(licences)


def _benches(models: dict[str, Model], stages: Sequence[Stages], job: Job) -> dict[str, Bench]:
    threads = job.recipe.compile.threads or job.target.threads
    measured = _stands_in(job.target)
    pictures = {"detector": [stage.letterboxed for stage in stages], "embedder": [stage.crop for stage in stages]}
    expected = {
        "detector": [stage.detector_outputs for stage in stages],
        "embedder": [stage.embedder_outputs for stage in stages],
    }
    return {
        role: Bench([to_network(picture, model.image.color_order) for picture in pictures[role]], expected[role], threads, measured)
        for role, model in models.items()
    }


def _stands_in(target: Target) -> bool:
    """Whether what is measured on this machine says something about the target."""
    try:
        check_target(target.facts, target.name)
    except BundleError:
        return False
    return True


def _gates(originals: dict[str, Model], job: Job) -> dict[str, Gate]:
    detector, embedder = originals["detector"], originals["embedder"]
    test = verification_set(job.data_dir, embedder, detector, job.cache) if job.data_dir else None
    threshold = embedder.match_threshold[0] if embedder.match_threshold else None
    return {
        "detector": DetectorGate(detector, lambda: _gate_pictures(detector, job), job.recipe.floor),
        "embedder": EmbedderGate(embedder, test, job.recipe.floor, threshold, job.cache),
    }


def _gate_pictures(detector: Model, job: Job) -> Sequence[Image]:
    """Other pictures than those that calibrate; without face photos the golden ones must do."""
    if job.faces:
        return list(calibration_pictures(detector, job.faces[0], GATE_PICTURES, None, seed=1))
    assert detector.letterbox is not None
    letterboxed = [letterbox(photo, detector.image.size_wh, detector.letterbox)[0] for _, photo in job.photos]
    return [to_network(picture, detector.image.color_order) for picture in letterboxed]


def _compress(originals: dict[str, Model], gates: dict[str, Gate], job: Job) -> tuple[dict[str, Model], tuple[PassRow, ...]]:
    """The recipe's passes over both networks, and what each of them did."""
    wanted = {"detector": in_rounds(job.recipe.detector.passes), "embedder": in_rounds(job.recipe.embedder.passes)}
    if not any(wanted.values()):
        return originals, ()
    supplies = Supplies(job.faces, originals["detector"], job.cache, job.tell)
    benches = _benches(originals, run_reference(originals["detector"], originals["embedder"], job.photos), job)
    models: dict[str, Model] = {}
    rows: list[PassRow] = []
    for role, passes in wanted.items():
        made = compress(originals[role], passes, supplies)
        rows += judge_passes(role, made, passes, gates[role], benches[role], job.target)
        models[role] = made[-1]
    return models, tuple(rows)


def _candidates(models: dict[str, Model], role: str, plans: Sequence[Plan], bench: Bench, gate: Gate, job: Job) -> list[Candidate]:
    model, choices = models[role], job.recipe.compile
    faces = Quantizer(
        model,
        None if role == "detector" else models["detector"],
        job.faces[0] if job.faces else None,
        choices.calibration_faces,
        job.tell,
    )

    def build(plan: Plan) -> Candidate:
        job.tell(f"{model.name}: {plan.engine} {plan.precision}, form {plan.form.form}")
        return ask_tensorrt(make(plan, bench, choices.min_cosine, faces.calibrate, job.cache), job.target)

    def again(first: Candidate, way: Quantization) -> Candidate:
        try:
            made = build(replace(first.plan, form=faces.form(first.form, way.repair), quantization=way))
        except FacetteError as error:
            return Candidate(replace(first.plan, quantization=way), refusal=f"not made: {error}")
        # Other layers in float are other work; all else changes numbers only, and the first one's latency holds.
        assert first.plan.quantization is not None
        same = way.float_share == first.plan.quantization.float_share
        return replace(made, latency=first.latency) if same else measure_beside(first, made, bench, job.cache)

    made = [build(plan) for plan in plans]
    job.tell(f"{model.name}: measuring {len(made)} candidates side by side")
    timed = measure(made, bench, job.cache)
    job.tell(f"{model.name}: the gate")
    # Ranges that were kept are of one method only, and nothing can be repaired without faces.
    return judge(timed, bench.threads, gate, again, choices.quantizations if job.faces else ())


def _build(role: str, model: Model, candidate: Candidate, threads: int) -> Build:
    assert candidate.parity is not None
    macs, parameters = count_macs(model)
    return Build(
        engine=candidate.engine,
        precision=candidate.precision,
        form=candidate.form,
        threads=threads,
        file=f"networks/{role}{SUFFIX[candidate.engine]}",
        batch=candidate.batch,
        parity=candidate.parity,
        latency_ms=candidate.latency.median if candidate.latency else None,
        parameters=parameters,
        macs=macs,
    )


def _self_test(bundle: Path) -> None:
    failed = [check for check in self_test(Bundle.open(bundle, check_target=False)) if not check.passed]
    if failed:
        raise FacetteError(f"the compiled bundle fails its own self-test: {failed[0].line()}")
