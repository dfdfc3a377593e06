"""The public pair, RetinaFace-MobileNet0.25 and MobileFaceNet-y1, gives its known figures after compilation. Needs data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from facette.cache import Cache, default_folder
from facette.compile import Job, compile_bundle
from facette.data.photos import golden_licence, golden_photos
from facette.evaluation.evaluate import evaluate
from facette.evaluation.golden_faces import compare_with_golden
from facette.recipe import Recipe, load_recipe
from facette.target import load_target
from facette_runtime.bundle import Bundle

REFERENCE_ACCURACY = 0.9937
"""LFW view 2, raw photos, of the uncompiled networks."""


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return load_recipe("retinaface-mobilefacenet")


def _compile(recipe: Recipe, weights: Path, data: Path | None, folder: Path) -> Path:
    output = folder / "reference.facette"
    compile_bundle(
        Job(
            recipe=recipe,
            target=load_target("x86-cpu"),
            output=output,
            photos=golden_photos(None),
            photos_licence=golden_licence(None),
            cache=Cache(default_folder()),
            weights_folder=weights,
            data_dir=data,
        )
    )
    return output


@pytest.mark.parametrize("engine", ["onnxruntime", "litert"])
def test_boxes_landmarks_and_embeddings_of_the_golden_faces(
    engine: str, recipe: Recipe, weights_dir: Path, data_dir: Path, tmp_path: Path
) -> None:
    # The recorded faces were found at the photos' own size, 250×250.
    recipe = replace(
        recipe,
        detector=replace(recipe.detector, input_size=(250, 250)),
        embedder=replace(recipe.embedder, match_threshold=0.3),
        compile=replace(recipe.compile, engines=(engine,), precisions=("fp32",)),
    )
    differences = compare_with_golden(_compile(recipe, weights_dir, None, tmp_path), data_dir)
    assert len(differences) == 40
    assert max(difference.box_px for difference in differences) <= 0.5
    assert max(difference.landmark_px for difference in differences) <= 0.5
    assert max(difference.score for difference in differences) <= 1e-3
    assert min(difference.cosine for difference in differences) >= 0.9999


def test_the_whole_pipeline_keeps_its_accuracy(recipe: Recipe, weights_dir: Path, data_dir: Path, tmp_path: Path) -> None:
    exact = replace(recipe, compile=replace(recipe.compile, precisions=("fp32",)))
    bundle = _compile(exact, weights_dir, data_dir, tmp_path)
    assert "folds 1 to 5" in Bundle.open(bundle).manifest.match.source
    evaluation = evaluate(bundle, data_dir, progress=False)
    raw, aligned = evaluation.protocols["raw"], evaluation.protocols["aligned"]
    assert raw.pairs == aligned.pairs == 6000
    assert raw.without_face == 0
    assert raw.accuracy.mean == pytest.approx(REFERENCE_ACCURACY, abs=0.001)
    assert aligned.accuracy.mean == pytest.approx(0.9935, abs=0.001)
    # What was chosen on five folds holds on the other five, and it is what the bundle carries.
    assert raw.unseen_accuracy == pytest.approx(REFERENCE_ACCURACY, abs=0.004)
    assert raw.shipped_threshold == pytest.approx(raw.threshold, abs=1e-6)
