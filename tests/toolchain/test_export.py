"""Every exporter's file gives what torch gives, fed with bytes."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch

from facette.candidates import graph_forms
from facette.export import ENGINES, export
from facette.export.onnx_graph import float_onnx
from facette.export.quiet import quiet
from facette.model import Model
from facette.reference import count_macs, reference_engine
from facette.verify import parity_on, shortfall
from facette_runtime.engines import open_engine
from facette_runtime.errors import FacetteError
from facette_runtime.types import Image

needs_litert = pytest.mark.skipif(
    importlib.util.find_spec("litert_torch") is None, reason="litert-torch is not installed (extra [litert])"
)
engines = pytest.mark.parametrize("engine", ["onnxruntime", pytest.param("litert", marks=needs_litert)])


def pictures(model: Model, picture: Image) -> list[Image]:
    return [cv2.resize(picture, model.image.size_wh), cv2.resize(picture[::-1, ::-1], model.image.size_wh)]


@engines
@pytest.mark.parametrize("role", [0, 1], ids=["detector", "embedder"])
def test_parity(engine: str, role: int, tiny_models: tuple[Model, Model], picture: Image) -> None:
    model = tiny_models[role]
    shown = pictures(model, picture)
    expected = [reference_engine(model).run({"image": image[None]}) for image in shown]
    for form in graph_forms(model):
        loaded = open_engine(engine, export(form, engine, "fp32").model, 1)
        assert [spec.name for spec in loaded.inputs] == ["image"]
        assert [spec.dtype for spec in loaded.inputs] == ["uint8"]
        assert sorted(spec.name for spec in loaded.outputs) == sorted(model.output_names)
        parity = parity_on(loaded, expected, shown)
        assert shortfall(parity, 0.999999) is None
        assert max(value.max_abs for value in parity.values()) < 1e-4


@needs_litert
def test_half_weights_halve_the_file_and_stay_close(tiny_models: tuple[Model, Model], picture: Image) -> None:
    detector = tiny_models[0]
    single, half = (export(detector, "litert", precision).model for precision in ("fp32", "fp16"))
    # 46,080 weights of four bytes each are the larger part of this file.
    assert len(single) - len(half) > 80_000
    shown = pictures(detector, picture)
    expected = [reference_engine(detector).run({"image": image[None]}) for image in shown]
    parity = parity_on(open_engine("litert", half, 1), expected, shown)
    assert shortfall(parity, 0.9999) is None
    assert max(value.max_abs for value in parity.values()) > 0


def operators(content: bytes) -> set[str]:
    return {node.op_type for node in onnx.load_from_string(content).graph.node}


def test_whole_means_are_subtracted_while_the_bytes_are_read(tiny_models: tuple[Model, Model], picture: Image) -> None:
    embedder = tiny_models[1]
    plain, fused = float_onnx(embedder), export(embedder, "onnxruntime", "fp32").model
    assert {"Cast", "Sub", "Mul"} <= operators(plain)
    assert not {"Cast", "Sub", "Mul"} & operators(fused)
    batch = np.stack(pictures(embedder, picture))
    wanted, found = (open_engine("onnxruntime", content, 1).run({"image": batch})["embedding"] for content in (plain, fused))
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("means", [(120.0, 110.5, 100.0), (-1.0, 110.0, 100.0), (120.0, 110.0, 256.0)])
def test_other_means_are_subtracted_in_float(means: tuple[float, float, float], tiny_models: tuple[Model, Model]) -> None:
    embedder = replace(tiny_models[1], image=replace(tiny_models[1].image, mean=means))
    assert export(embedder, "onnxruntime", "fp32").model == float_onnx(embedder)


def test_bytes_without_normalisation_are_only_cast(tiny_models: tuple[Model, Model]) -> None:
    image = replace(tiny_models[1].image, mean=(0.0, 0.0, 0.0), scale=(1.0, 1.0, 1.0))
    assert "Cast" in operators(export(replace(tiny_models[1], image=image), "onnxruntime", "fp32").model)


def test_onnx_embedders_take_any_batch(tiny_models: tuple[Model, Model], picture: Image) -> None:
    embedder = tiny_models[1]
    engine = open_engine("onnxruntime", export(embedder, "onnxruntime", "fp32").model, 1)
    assert engine.inputs[0].shape[0] is None
    batch = np.stack(pictures(embedder, picture))
    together = engine.run({"image": batch})["embedding"]
    alone = np.concatenate([engine.run({"image": image[None]})["embedding"] for image in batch])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_a_users_onnx_file_gets_the_normalisation(tiny_models: tuple[Model, Model], picture: Image, tmp_path: Path) -> None:
    embedder = tiny_models[1]
    assert isinstance(embedder.network, torch.nn.Module)
    path = tmp_path / "users.onnx"
    with quiet():
        torch.onnx.export(
            embedder.network,
            (torch.zeros(2, 3, 32, 32),),
            path,
            dynamo=True,
            output_names=["feature"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
        )
    model = replace(embedder, network=path)
    assert count_macs(model) == (None, None)
    shown = pictures(model, picture)
    expected = [reference_engine(embedder).run({"image": image[None]}) for image in shown]
    engine = open_engine("onnxruntime", export(model, "onnxruntime", "fp32").model, 1)
    assert [spec.name for spec in engine.outputs] == ["embedding"]
    assert shortfall(parity_on(engine, expected, shown), 0.999999) is None
    with pytest.raises(FacetteError, match="give the torch module"):
        export(model, "litert", "fp32")
    with pytest.raises(FacetteError, match="must name embedding among its own: feature"):
        export(replace(model, onnx_outputs=("nose",)), "onnxruntime", "fp32")


def test_macs_are_counted_by_hand(tiny_models: tuple[Model, Model]) -> None:
    macs, parameters = count_macs(tiny_models[1])
    assert macs == 16 * 16 * 16 * 27 + 16 * 8 * 8 * 9 + 16 * 8
    assert parameters == (16 * 27 + 16) + 32 + 16 + (16 * 9 + 16) + (16 * 8 + 8)


def test_unknown_engine_lists_the_known_ones(tiny_models: tuple[Model, Model]) -> None:
    with pytest.raises(FacetteError, match=", ".join(ENGINES)):
        export(tiny_models[1], "abacus", "fp32")
