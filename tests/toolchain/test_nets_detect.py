"""The small detector: what it gives, and that the runtime's decoder reads it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from facette.nets.facette_detect import STRIDES, FacetteDetect, FacetteDetectConfig
from facette.train.detect_loss import cell_grid
from facette_runtime.detect import decode
from facette_runtime.manifest import PointDecoder

DECODER = PointDecoder("points", STRIDES)
SIZES = [(128, 128), (320, 240), (640, 480), (160, 120)]


@pytest.fixture(scope="module")
def network() -> FacetteDetect:
    torch.manual_seed(0)
    return FacetteDetect().eval()


def cells_of(size_wh: tuple[int, int]) -> int:
    return sum(-(-size_wh[0] // stride) * -(-size_wh[1] // stride) for stride in STRIDES)


def test_size_is_what_small_devices_bear(network: FacetteDetect) -> None:
    parameters = sum(parameter.numel() for parameter in network.parameters())
    assert 100_000 <= parameters <= 300_000


def test_widths_must_be_five() -> None:
    with pytest.raises(ValueError, match="five numbers"):
        FacetteDetectConfig((16, 32, 64))


def test_relu_is_the_only_activation(network: FacetteDetect) -> None:
    kinds = {type(module) for module in network.modules() if not list(module.children())}
    assert kinds == {torch.nn.Conv2d, torch.nn.BatchNorm2d, torch.nn.ReLU}


@pytest.mark.parametrize("size_wh", SIZES)
def test_one_prediction_a_cell(network: FacetteDetect, size_wh: tuple[int, int]) -> None:
    with torch.inference_mode():
        boxes, scores, landmarks = network(torch.randn(2, 3, size_wh[1], size_wh[0]))
    count = cells_of(size_wh)
    assert boxes.shape == (2, count, 4)
    assert scores.shape == (2, count)
    assert landmarks.shape == (2, count, 10)
    assert boxes.min() >= 0
    assert scores.min() >= 0
    assert scores.max() <= 1


@pytest.mark.parametrize("size_wh", SIZES)
def test_the_runtime_decodes_ideal_outputs_back_to_the_face(size_wh: tuple[int, int]) -> None:
    cells = cell_grid(size_wh[1], size_wh[0], torch.device("cpu")).numpy()
    assert len(cells) == cells_of(size_wh)
    box = np.array([30.0, 20.0, 90.0, 100.0], np.float32)
    points = np.array([[45, 45], [75, 45], [60, 60], [48, 80], [72, 80]], np.float32)
    centres, strides = cells[:, :2], cells[:, 2:]
    outputs = {
        "boxes": (np.concatenate([centres - box[:2], box[2:] - centres], axis=1) / strides)[None],
        "scores": np.where(np.abs(centres - 60).max(axis=1) < 16, 0.9, 0.1).astype(np.float32)[None],
        "landmarks": ((points[None] - centres[:, None]) / strides[:, None]).reshape(1, -1, 10),
    }
    faces = decode(outputs, DECODER, size_wh, 2.0)
    assert len(faces) == 1
    np.testing.assert_allclose(faces.boxes_xyxy[0], box / 2, atol=1e-4)
    np.testing.assert_allclose(faces.landmarks_xy[0], points / 2, atol=1e-4)


def test_onnx_runtime_agrees_with_torch(network: FacetteDetect, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    picture = torch.randn(1, 3, 120, 160)
    file = tmp_path / "detect.onnx"
    torch.onnx.export(
        network, (picture,), str(file), dynamo=True, opset_version=18, output_names=["boxes", "scores", "landmarks"], verbose=False
    )
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    found = session.run(None, {session.get_inputs()[0].name: picture.numpy()})
    with torch.inference_mode():
        wanted = network(picture)
    for have, want in zip(found, wanted, strict=True):
        np.testing.assert_allclose(have, want.numpy(), atol=1e-4)
