"""Facette's detector against its teacher, RetinaFace-0.25: faces found, landmarks, speed; both through ONNX Runtime, one thread.

    python benchmarks/detector.py --data FOLDER --weights FOLDER [--size 320x240] [--folds 1-5] [--json FILE]

LFW's photos (never trained on) give the share of central faces found and the landmarks' distance from the teacher's. A teacher
says something else of the same face in another size or a mirror, so its mean answer over such views is compared with too: with
ours, and with its own answer to the one picture that ours was shown. The half of facemask853 that was not trained on gives recall
by face size: a face counts as found when a detection overlaps its labelled box with an IoU of 0.4 or more. Speed is the ratio of
interleaved medians.
"""

from __future__ import annotations

import argparse
import sys
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from facette.cache import tool_versions
from facette.data.face_photos import facemask_boxes, facemask_names
from facette.data.lfw import RAW, Photos, read_pairs
from facette.data.pseudo_labels import View, detect_in_views, read_image
from facette.entries import REFERENCE, detector_entry
from facette.export import export
from facette.loading import SearchPath, load_detector
from facette.measure import Latency, interleaved
from facette.model import Model
from facette.recipe import DetectorRecipe
from facette.tables import table
from facette.train.detect_metrics import Agreement, SizeRecall, agreement, recall_by_size
from facette.train.teacher import torch_network
from facette_runtime.detect import Detector
from facette_runtime.engines import open_engine
from facette_runtime.engines.base import Engine
from facette_runtime.machine import Machine, describe_machine
from facette_runtime.types import Detections, FloatArray, Image
from harness import add_data_and_weights, data_and_weights, new_parser, run_benchmark

TEACHER = "retinaface-mobilenet025"
CROWDS = "facemask853.zip"
VIEWS = (View(0.9, 256), View(0.8, 224), View(0.7, 192), View(1.1, 288))
"""How the teacher is shown LFW's photos of 250×250 for its mean answer, each also in a mirror."""
EDGES = (8.0, 12.0, 16.0, 24.0, 32.0, 48.0, 64.0, 96.0, 160.0)


@dataclass(frozen=True)
class Recalls:
    """Recall by face side in pixels of the input, from the same pictures."""

    ours: tuple[SizeRecall, ...]
    teacher: tuple[SizeRecall, ...]


@dataclass(frozen=True)
class Result:
    """What was measured, and on what.

    Attributes:
        size_wh: the input of both networks.
        folds: of LFW view 2, whose photos were looked at.
        lfw: agreement with the teacher on the faces nearest to the centre.
        lfw_mean: the same against the teacher's mean answer over `VIEWS`.
        teacher_mean: how the teacher's one answer agrees with that mean: a student that always gave the mean would differ as much
            from the one answer.
        crowds: facemask853's held-out half.
        ours, teacher: one call of the network, without decoding.
    """

    size_wh: tuple[int, int]
    folds: tuple[int, ...]
    lfw: Agreement
    lfw_mean: Agreement
    teacher_mean: Agreement
    crowds: Recalls
    ours: Latency
    teacher: Latency
    machine: Machine
    tools: dict[str, str]


class Contender:
    """A detector as it would run on a device.

    Args:
        model: the network.
    """

    def __init__(self, model: Model) -> None:
        self.engine: Engine = open_engine("onnxruntime", export(model, "onnxruntime", "fp32").model, 1)
        self._detect = Detector(self.engine, detector_entry(model, REFERENCE))
        self.size_wh = model.image.size_wh

    def __call__(self, image_bgr: Image) -> Detections:
        return self._detect(image_bgr)

    def infer(self, pixels: np.ndarray) -> object:
        """One call of the network: uint8 [1, h, w, 3]."""
        return self.engine.run({self.engine.inputs[0].name: pixels})


def main() -> int:
    """Runs the benchmark."""
    parser = new_parser(__doc__)
    add_data_and_weights(parser, data="LFW and facemask853.zip", weights=f"{TEACHER}.safetensors")
    parser.add_argument("--size", type=_numbers("x", 2), default=(320, 240), metavar="WxH", help="the networks' input (320x240)")
    parser.add_argument("--folds", type=_numbers("-", 2), default=(1, 10), metavar="FIRST-LAST", help="LFW folds (1-10)")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only every Nth LFW photo")
    return run_benchmark(parser, _measure, print_result)


def _measure(arguments: argparse.Namespace) -> Result:
    folds = tuple(range(arguments.folds[0], arguments.folds[1] + 1))
    return run(*data_and_weights(arguments), arguments.size, folds, arguments.every)


def run(data: Path, weights: Path, size_wh: tuple[int, int], folds: tuple[int, ...], every: int) -> Result:
    """Measures everything at one input size."""
    search = SearchPath(weights, weights)
    torch.set_num_threads(1)  # more threads wait for each other on a busy machine, many times as long as they compute
    ours = Contender(load_detector(DetectorRecipe("facette-detect", input_size=size_wh), search))
    model = load_detector(DetectorRecipe(TEACHER, f"{TEACHER}.safetensors", input_size=size_wh), search)
    teacher, photos = Contender(model), Photos(data, RAW)
    network = torch_network(model)
    seen = []
    for name in tqdm(read_pairs(data).select(folds).photos[::every], desc="LFW", unit="photo", dynamic_ncols=True, disable=None):
        image = photos.read(name)
        (mean,) = detect_in_views(network, [image], VIEWS)
        seen.append((ours(image), teacher(image), mean, (image.shape[1], image.shape[0])))
    crowds = _crowd_recall(ours, teacher, data / CROWDS)
    pixels = np.random.default_rng(0).integers(0, 256, (1, size_wh[1], size_wh[0], 3), np.uint8)
    latency = interleaved({"ours": lambda: ours.infer(pixels), "teacher": lambda: teacher.infer(pixels)}, seconds=5)
    return Result(
        size_wh,
        folds,
        agreement((found, once, size) for found, once, _, size in seen),
        agreement((found, mean, size) for found, _, mean, size in seen),
        agreement((once, mean, size) for _, once, mean, size in seen),
        crowds,
        latency["ours"],
        latency["teacher"],
        describe_machine(),
        tool_versions(),
    )


def _crowd_recall(ours: Contender, teacher: Contender, path: Path) -> Recalls:
    pairs: tuple[list[tuple[Detections, FloatArray]], ...] = ([], [])
    names = facemask_names(path, training=False)
    with zipfile.ZipFile(path) as archive:
        for name in tqdm(names, desc="facemask853", dynamic_ncols=True, disable=None):
            image, boxes = read_image(archive, name), facemask_boxes(archive, name)
            scale = np.float32(min(ours.size_wh[0] / image.shape[1], ours.size_wh[1] / image.shape[0]))
            for contender, found in zip((ours, teacher), pairs, strict=True):
                faces = contender(image)
                found.append((replace(faces, boxes_xyxy=faces.boxes_xyxy * scale), boxes * scale))
    return Recalls(recall_by_size(pairs[0], EDGES), recall_by_size(pairs[1], EDGES))


def print_result(result: Result) -> None:
    """Tables."""
    lfw, ours, teacher = result.lfw, result.crowds.ours, result.crowds.teacher
    print(f"{result.machine.name}, onnxruntime {result.tools['onnxruntime']}; input {result.size_wh[0]}x{result.size_wh[1]}")
    print(f"LFW folds {result.folds[0]} to {result.folds[-1]}: central face found in {lfw.found} of {lfw.pictures} photos ", end="")
    print(f"({lfw.found / lfw.pictures:.2%})")
    mean = f"the teacher's mean over {2 * len(VIEWS)} views"
    compared = [
        ("ours", mean, result.lfw_mean),
        ("the teacher's", mean, result.teacher_mean),
        ("ours", "the teacher's", lfw),
    ]
    errors = [[whose, other, f"{one.landmark_error:.2%}", f"{one.landmark_error_p95:.2%}"] for whose, other, one in compared]
    print(table(["landmarks", "distance from", "of the eyes' distance", "95th percentile"], errors))
    rows = [_recall_row(f"{one.low:.0f}–{one.high:.0f}", [one], [other]) for one, other in zip(ours, teacher, strict=True)]
    print(table(["face side, px", "faces", "recall", "teacher's", "ratio"], [*rows, _recall_row("all", ours, teacher)]))
    print(f"one call: {result.ours.median:.2f} ms, teacher {result.teacher.median:.2f} ms: ", end="")
    print(f"{result.teacher.median / result.ours.median:.2f} times as fast")


def _recall_row(label: str, ours: Sequence[SizeRecall], teacher: Sequence[SizeRecall]) -> list[str]:
    faces, found, wanted = sum(r.faces for r in ours), sum(r.found for r in ours), sum(r.found for r in teacher)
    return [label, str(faces), f"{found / max(faces, 1):.3f}", f"{wanted / max(faces, 1):.3f}", f"{found / max(wanted, 1):.3f}"]


def _numbers(separator: str, count: int) -> Callable[[str], tuple[int, ...]]:
    def parse(text: str) -> tuple[int, ...]:
        values = tuple(int(part) for part in text.split(separator))
        if len(values) != count:
            raise argparse.ArgumentTypeError(f"expected {count} numbers with {separator!r} between, got {text!r}")
        return values

    return parse


if __name__ == "__main__":
    sys.exit(main())
