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
from facette.candidates import Bench, Candidate, choose, list_candidates, make, measure
from facette.compile_report import COMPILE_REPORT_FILE, CompileReport, report_rows
from facette.entries import Build, detector_entry, embedder_entry
from facette.export.artifact import SUFFIX
from facette.golden import Stages, golden_files, run_reference
from facette.loading import load_models
from facette.model import Model
from facette.recipe import Recipe
from facette.reference import count_macs
from facette.target import Target
from facette.threshold import check_threshold, match_rule
from facette_runtime.bundle import Bundle
from facette_runtime.errors import BundleError, FacetteError
from facette_runtime.manifest import MAJOR, MINOR, GoldenTolerance, Licence, Manifest, MatchRule, Precision
from facette_runtime.preprocess import to_network
from facette_runtime.schema import to_dict
from facette_runtime.selftest import self_test
from facette_runtime.target import check_target
from facette_runtime.types import Image


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
        data_dir: with LFW, to derive the threshold for this very engine; None takes the network's card or the recipe.
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
    models = dict(zip(("detector", "embedder"), load_models(job.recipe, job.weights_folder), strict=True))
    check_threshold(models["embedder"], job.data_dir)
    licences = (*_licences(models.values(), job.commercial), job.photos_licence)
    plans = {role: list_candidates(model, job.target, job.recipe.compile) for role, model in models.items()}
    job.tell("running the uncompiled networks on the golden pictures")
    stages = run_reference(models["detector"], models["embedder"], job.photos)
    benches = _benches(models, stages, job)
    candidates = {role: _candidates(models[role], plan, benches[role], job) for role, plan in plans.items()}
    chosen = choose(candidates, job.target)
    job.tell("packing and self-testing the bundle")
    golden, files = golden_files(stages, GoldenTolerance(embedding_cosine=job.recipe.compile.min_cosine))
    builds = {role: _build(role, models[role], candidate, benches[role].threads) for role, candidate in chosen.items()}
    files |= {builds[role].file: shipped.content for role, shipped in chosen.items()}
    report = CompileReport(
        job.target.name, benches["embedder"].threads, report_rows(candidates, chosen), job.cache.hits, job.cache.misses
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


def _candidates(model: Model, plan: Sequence[tuple[Model, str, Precision]], bench: Bench, job: Job) -> list[Candidate]:
    made = []
    for form, engine, precision in plan:
        job.tell(f"{model.name}: {engine} {precision}, form {form.form}")
        made.append(make(form, engine, precision, bench, job.recipe.compile.min_cosine, job.cache))
    job.tell(f"{model.name}: measuring {len(made)} candidates side by side")
    return measure(made, bench, job.cache)


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
