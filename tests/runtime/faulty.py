"""Small bundles with real ONNX graphs, in which a fault can be put where a device or a converter would have it.

The graphs normalise like exported ones do, and both depend on every pixel's colour: the detector's boxes, too.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from facette_runtime.align import align
from facette_runtime.detect import Detector
from facette_runtime.embed import Embedder
from facette_runtime.engines import open_engine
from facette_runtime.manifest import Alignment, FileDigest, Golden, GoldenFace, GoldenTolerance, ImageInput
from facette_runtime.schema import to_dict
from facette_runtime.types import Image
from tests.runtime import bundles

MEAN, SCALE = (123.0, 117.0, 104.0), (0.017, 0.0175, 0.018)
_INPUT = {"batch": 1, "mean": MEAN, "scale": SCALE}
DETECTOR = replace(
    bundles.DETECTOR, engine="onnxruntime", input=ImageInput("image", (64, 64), "rgb", **_INPUT), file="networks/detector.onnx"
)
EMBEDDER = replace(
    bundles.EMBEDDER,
    engine="onnxruntime",
    input=ImageInput("image", (32, 32), "rgb", **_INPUT),
    file="networks/embedder.onnx",
    alignment=Alignment((32, 32), ((8, 8), (24, 8), (16, 16), (8, 24), (24, 24))),
)


def detector_graph(mean: tuple[float, ...] = MEAN, channels: tuple[int, ...] = (0, 1, 2)) -> bytes:
    """One prediction for each 32×32 cell, all of them linear in the cell's mean colour; the first cell scores highest."""
    random = np.random.default_rng(3)
    weights = random.normal(0, 0.6, (15, 3, 1, 1)).astype(np.float32)
    weights[4] = 0.1
    bias = np.array([1.2] * 4 + [2.0] + [0.0] * 10, np.float32)
    nodes = [
        helper.make_node("AveragePool", ["planes"], ["cells"], kernel_shape=[32, 32], strides=[32, 32]),
        helper.make_node("Conv", ["cells", "weights", "bias"], ["heads"]),
        helper.make_node("Reshape", ["heads", "flat"], ["rows"]),
        helper.make_node("Transpose", ["rows"], ["columns"], perm=[0, 2, 1]),
        helper.make_node("Split", ["columns", "sizes"], ["raw_boxes", "raw_scores", "landmarks"], axis=2),
        helper.make_node("Relu", ["raw_boxes"], ["boxes"]),
        helper.make_node("Sigmoid", ["raw_scores"], ["column_scores"]),
        helper.make_node("Reshape", ["column_scores", "one_row"], ["scores"]),
    ]
    constants = {
        "weights": weights,
        "bias": bias,
        "flat": np.array([1, 15, -1]),
        "sizes": np.array([4, 1, 10]),
        "one_row": np.array([1, -1]),
    }
    outputs = {"boxes": [1, 4, 4], "scores": [1, 4], "landmarks": [1, 4, 10]}
    return _graph(DETECTOR.input, mean, channels, nodes, constants, outputs)


def embedder_graph(mean: tuple[float, ...] = MEAN, channels: tuple[int, ...] = (0, 1, 2)) -> bytes:
    """A convolution, a bend and a matrix."""
    random = np.random.default_rng(4)
    nodes = [
        helper.make_node("Conv", ["planes", "weights"], ["features"], strides=[8, 8]),
        helper.make_node("Tanh", ["features"], ["bent"]),
        helper.make_node("Reshape", ["bent", "flat"], ["row"]),
        helper.make_node("MatMul", ["row", "matrix"], ["embedding"]),
    ]
    constants = {
        "weights": random.normal(0, 0.08, (6, 3, 8, 8)).astype(np.float32),
        "flat": np.array([1, 96]),
        "matrix": random.normal(0, 1, (96, 8)).astype(np.float32),
    }
    return _graph(EMBEDDER.input, mean, channels, nodes, constants, {"embedding": [1, 8]})


def _graph(
    image: ImageInput,
    mean: tuple[float, ...],
    channels: tuple[int, ...],
    nodes: list[onnx.NodeProto],
    constants: dict[str, np.ndarray],
    outputs: dict[str, list[int]],
) -> bytes:
    """The exported front end, uint8 NHWC to normalised planes, before ``nodes``."""
    width, height = image.size_wh
    front = [
        helper.make_node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Gather", ["floats", "channels"], ["ordered"], axis=3),
        helper.make_node("Sub", ["ordered", "mean"], ["centred"]),
        helper.make_node("Mul", ["centred", "scale"], ["scaled"]),
        helper.make_node("Transpose", ["scaled"], ["planes"], perm=[0, 3, 1, 2]),
    ]
    values = {"mean": np.float32(mean), "scale": np.float32(image.scale), "channels": np.array(channels), **constants}
    graph = helper.make_graph(
        [*front, *nodes],
        "faulty",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [1, height, width, 3])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in values.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return model.SerializeToString()


def portrait() -> Image:
    """uint8 [80, 100, 3], BGR: blurred noise, neither very dark nor very bright, different in every channel."""
    noise = np.random.default_rng(5).uniform(-1, 1, (80, 100, 3))
    smooth = cv2.GaussianBlur(noise, (0, 0), 2.0)
    return np.clip(smooth / np.abs(smooth).max() * 70 + (110, 130, 150), 0, 255).astype(np.uint8)


def write_bundle(path: Path, detector: bytes | None = None, embedder: bytes | None = None) -> Path:
    """A bundle whose certificate comes from the right graphs.

    Args:
        path: the file.
        detector, embedder: what ships; by default the right graphs.
    """
    right = {DETECTOR.file: detector_graph(), EMBEDDER.file: embedder_graph()}
    image = portrait()
    find = Detector(open_engine("onnxruntime", right[DETECTOR.file], 1), DETECTOR)
    embed = Embedder(open_engine("onnxruntime", right[EMBEDDER.file], 1), EMBEDDER)
    found, (letterboxed, _) = find(image), find.prepare(image)
    crop = align(image, found.landmarks_xy[0], EMBEDDER.alignment)
    face = GoldenFace(
        image="golden/0.png",
        letterbox="golden/0-letterbox.png",
        box_xyxy=tuple(map(float, found.boxes_xyxy[0])),
        score=float(found.scores[0]),
        landmarks_xy=tuple((float(x), float(y)) for x, y in found.landmarks_xy[0]),
        crop="golden/0-crop.png",
        embedding=tuple(map(float, embed([crop])[0])),
    )
    pictures = {face.image: image, face.letterbox: letterboxed, face.crop: crop}
    files = {
        DETECTOR.file: detector or right[DETECTOR.file],
        EMBEDDER.file: embedder or right[EMBEDDER.file],
        **{name: cv2.imencode(".png", pixels)[1].tobytes() for name, pixels in pictures.items()},
    }
    manifest = replace(
        bundles.manifest(bundles.bundle_files()),
        detector=DETECTOR,
        embedder=EMBEDDER,
        golden=Golden((face,), GoldenTolerance()),
        files={name: FileDigest(hashlib.sha256(data).hexdigest(), len(data)) for name, data in files.items()},
    )
    return bundles.write_zip(path, {"manifest.json": json.dumps(to_dict(manifest)).encode(), **files})
