"""The compiler's choice, and what it is timed against: a network as a careful user runs it by hand, and the core's own limit.

All contenders are timed together, interleaved in one process on one thread, and each is verified on LFW: folds 1 to 5, which the
compiler chose on, and all ten.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch

from embedder_fp32 import MATRIX, MATRIX_SIDE, STOCK, THREADS, stock_model
from facette.bundle import packed_size
from facette.cache import Cache, default_folder
from facette.compile import Job, compile_bundle
from facette.compile_report import CandidateRow, CompileReport
from facette.data.photos import golden_licence, golden_photos
from facette.evaluation.evaluate import CHOOSING_FOLDS
from facette.evaluation.verification import Verification, VerificationSet, verify_folds
from facette.measure import Latency, interleaved
from facette.model import Model
from facette.recipe import Recipe
from facette.resample import fitted
from facette.target import load_target
from facette_runtime.bundle import Bundle
from facette_runtime.engines import open_engine
from facette_runtime.engines.base import Engine, TensorSpec
from facette_runtime.manifest import EmbedderEntry, Precision

ENGINES = ("onnxruntime", "litert", "openvino")


@dataclass(frozen=True)
class Contender:
    """A network, loaded.

    Attributes:
        engine: that runs it.
        bytes: of its file, packed as a bundle packs it.
        int8_macs: multiply-accumulates for one picture, if it computes in int8.
    """

    engine: Engine
    bytes: int
    int8_macs: int | None = None


@dataclass(frozen=True)
class Measured:
    """What is measured of a contender.

    Attributes:
        bytes: of its file, packed as a bundle packs it.
        latency: one picture.
        speedup: over the stock export.
        limit: share that it reaches of what the core can multiply in int8; None for what isn't int8.
        chosen_on: accuracy and TAR on folds 1 to 5, which the compiler chose on.
        all_folds: on all ten.
    """

    bytes: int
    latency: Latency
    speedup: float
    limit: float | None
    chosen_on: Verification
    all_folds: Verification


HEADERS = ("MB", "ms (median)", "quartiles", "ms cold", "× faster", "of int8 limit", "LFW 1–5 %", "LFW %", "TAR@FAR=1e-3 %")
"""Of `cells`."""


def cells(measured: Measured) -> list[str]:
    """A table's cells, for the columns of `HEADERS`."""
    latency, everywhere = measured.latency, measured.all_folds
    return [
        f"{measured.bytes / 1e6:.2f}",
        f"{latency.median:.3f}",
        f"{latency.low:.3f}–{latency.high:.3f}",
        f"{latency.cold:.3f}",
        f"{measured.speedup:.2f}",
        "" if measured.limit is None else f"{measured.limit:.0%}",
        f"{measured.chosen_on.accuracy * 100:.2f}",
        f"{everywhere.accuracy * 100:.2f}",
        f"{everywhere.tar * 100:.2f} ({everywhere.tar_low * 100:.1f}–{everywhere.tar_high * 100:.1f})",
    ]


def measure_contenders(
    contenders: Mapping[str, Contender], against: VerificationSet, seconds: float
) -> tuple[dict[str, Measured], float]:
    """Times all together, then verifies each.

    Args:
        contenders: by name; one is called `STOCK`.
        against: LFW's ten folds.
        seconds: wall time of the timing.

    Returns:
        What was measured, in the order given; and what this core reaches on a large int8 matrix product, in GMAC/s.
    """
    picture = np.ascontiguousarray(against.crops[:1])
    calls = {name: call_of(each.engine, fitted(each.engine, picture)) for name, each in contenders.items()}
    latencies = interleaved({**calls, MATRIX: int8_matrix_product()}, seconds=seconds)
    peak = MATRIX_SIDE**3 / latencies[MATRIX].median / 1e6
    found = {}
    for name, each in contenders.items():
        latency = latencies[name]
        chosen_on, all_folds = verify_folds(each.engine, against, (CHOOSING_FOLDS, range(1, 11)), f"verify {name}")
        found[name] = Measured(
            each.bytes,
            latency,
            latencies[STOCK].median / latency.median,
            each.int8_macs / peak / 1e6 / latency.median if each.int8_macs else None,
            chosen_on,
            all_folds,
        )
    return found, peak


def compile_embedder(
    recipe: Recipe, engine: str, data: Path, weights: Path, precisions: tuple[Precision, ...] = ()
) -> tuple[EmbedderEntry, bytes, CompileReport]:
    """What the compiler ships for a recipe with one of `ENGINES` on one thread: its entry, its file, and how it was chosen.

    Args:
        recipe: names the networks and their passes.
        engine: one of `ENGINES`.
        data: LFW and UTKFace.
        weights: the public weights.
        precisions: that may ship; by default all that the engine has.

    Raises:
        FacetteError: nothing can ship.
    """
    target = load_target("x86-cpu")
    target = replace(target, engines=tuple(each for each in target.engines if each.name == engine))
    with tempfile.TemporaryDirectory() as folder:
        job = Job(
            recipe=replace(recipe, compile=replace(recipe.compile, threads=THREADS, precisions=precisions)),
            target=target,
            output=Path(folder) / "bundle.facette",
            photos=golden_photos(None),
            photos_licence=golden_licence(None),
            cache=Cache(default_folder()),
            weights_folder=weights,
            data_dir=data,
            faces=(data / "utkface-128.zip", data / "celeba-small-10k.zip"),
            tell=lambda line: print("  " + line, file=sys.stderr),
        )
        manifest, report = compile_bundle(job)
        return manifest.embedder, Bundle.open(job.output).read(manifest.embedder.file), report


def loaded(engine: str, content: bytes, int8_macs: int | None = None) -> Contender:
    """A network's file in the engine that it is for, on one thread."""
    return Contender(open_engine(engine, content, THREADS), packed_size(content), int8_macs)


def shipped_row(report: CompileReport) -> CandidateRow:
    """What the report says of the embedder that ships."""
    return next(row for row in report.rows if row.role == "embedder" and row.verdict == "shipped")


class ByHand:
    """An ONNX file that takes normalised floats, fed from uint8 as a careful user would feed it."""

    name = "onnxruntime by hand"

    def __init__(self, content: bytes, model: Model) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = THREADS
        self._session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        self._image = model.image
        width, height = model.image.size_wh
        self.inputs: tuple[TensorSpec, ...] = (TensorSpec("image", (1, height, width, 3), "uint8"),)
        self.outputs: tuple[TensorSpec, ...] = (TensorSpec("embedding", (1, None), "float32"),)

    def floats(self, pixels: np.ndarray) -> np.ndarray:
        """float32 [1, 3, h, w], normalised, of uint8 [1, h, w, 3]."""
        mean, scale = (np.array(values, np.float32) for values in (self._image.mean, self._image.scale))
        return np.ascontiguousarray(((pixels - mean) * scale).transpose(0, 3, 1, 2), np.float32)

    def run(self, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """See `facette_runtime.engines.base.Engine.run`."""
        return {"embedding": self.run_floats(self.floats(tensors["image"]))}

    def run_floats(self, floats: np.ndarray) -> np.ndarray:
        """The network alone, which is what is timed."""
        return np.asarray(self._session.run(None, {self._session.get_inputs()[0].name: floats})[0])


def stock_contender(model: Model) -> Contender:
    """``torch.onnx.export`` and ONNX Runtime, nothing else."""
    content = stock_model(model)
    return Contender(ByHand(content, model), packed_size(content))


def call_of(engine: Engine, picture: np.ndarray) -> Callable[[], object]:
    """Runs a network on one picture, uint8 [1, h, w, 3]; the network alone, without what a user computes by hand before it."""
    if isinstance(engine, ByHand):
        floats = engine.floats(picture)
        return lambda: engine.run_floats(floats)
    feed = {engine.inputs[0].name: picture}
    return lambda: engine.run(feed)


def int8_matrix_product() -> Callable[[], object]:
    """A large int8 product in torch, which uses the core's widest int8 instructions."""
    torch.set_num_threads(THREADS)
    left = torch.randint(-128, 127, (MATRIX_SIDE, MATRIX_SIDE), dtype=torch.int8)
    right = torch.randint(-128, 127, (MATRIX_SIDE, MATRIX_SIDE), dtype=torch.int8)
    return lambda: torch._int_mm(left, right)
