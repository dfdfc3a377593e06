"""What keeping freed memory is worth in training on a CPU: steps of facette-embed-xs with glibc's own choice and without.

Processes of the two kinds take turns; each trains on pictures of noise, whose content does not matter for speed.

    python benchmarks/training_speed.py [--rounds 3] [--steps 12] [--threads 2] [--json FILE]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import torch

from facette.cache import tool_versions
from facette.loading import SearchPath, load_embedder
from facette.recipe import EmbedderRecipe
from facette.tables import table
from facette.train.allocator import keep_freed_memory
from facette.train.distillation import EmbeddingTask, LossWeights
from facette.train.log import read_log
from facette.train.loop import LoopConfig, fit
from facette.train.teacher import embedding_size, torch_network
from facette_runtime.errors import FacetteError
from facette_runtime.machine import Machine, describe_machine
from harness import new_parser, run_benchmark

NETWORK = "facette-embed-xs"
BATCH = 64
KINDS = ("given back", "kept")


@dataclass(frozen=True)
class Result:
    """The benchmark's result and what made it.

    Attributes:
        images_per_second: by what happens to freed memory, one value a process, in the order of the rounds.
        ratio: of the medians: kept against given back.
    """

    network: str
    batch: int
    steps: int
    threads: int
    machine: Machine
    tools: dict[str, str]
    images_per_second: dict[str, list[float]]
    ratio: float


def main() -> int:
    """Runs the benchmark."""
    parser = new_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="processes of each kind (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=12, help="of a process, after two to warm up (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=2, help="torch's (default: %(default)s)")
    return run_benchmark(parser, measure, print_result)


def measure(arguments: argparse.Namespace) -> Result:
    """Lets the two kinds of process take turns."""
    if min(arguments.rounds, arguments.steps, arguments.threads) < 1:
        raise FacetteError("--rounds, --steps and --threads must be at least 1")
    speeds: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for _ in range(arguments.rounds):
        for kind in KINDS:
            with ProcessPoolExecutor(1, get_context("spawn")) as fresh:  # the switch can't be turned back
                speeds[kind].append(fresh.submit(train, kind, arguments.steps, arguments.threads).result())
    given_back, kept = (statistics.median(speeds[kind]) for kind in KINDS)
    machine, tools = describe_machine(), tool_versions()
    return Result(NETWORK, BATCH, arguments.steps, arguments.threads, machine, tools, speeds, kept / given_back)


def train(kind: str, steps: int, threads: int) -> float:
    """Images a second of one process: the median over steps."""
    if kind == "kept" and not keep_freed_memory():
        raise FacetteError("this C library is not glibc")
    model = load_embedder(EmbedderRecipe(NETWORK), SearchPath(Path()))
    task = EmbeddingTask(torch_network(model), model.image, LossWeights())
    config = LoopConfig(steps + 2, BATCH, 1e-6, threads=threads, log_every=1, device="cpu")
    with tempfile.TemporaryDirectory() as folder:
        fit(task, lambda first: noise(model.image.size_wh[0], embedding_size(model)), config, Path(folder))
        log = read_log(Path(folder) / "log.csv")
    return statistics.median(float(row["images_per_second"]) for row in log[2:])


def noise(side: int, size: int) -> Iterator[tuple[torch.Tensor, ...]]:
    """The same batch again and again: pixels, faces, answers."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (BATCH, side, side, 3), dtype=torch.uint8, generator=generator)
    answers = torch.randn(BATCH, size, generator=generator)
    while True:
        yield pixels, torch.arange(BATCH), answers


def print_result(result: Result) -> None:
    """A table and the ratio."""
    rows = [
        (kind, f"{statistics.median(speeds):.1f}", f"{min(speeds):.1f}–{max(speeds):.1f}")
        for kind, speeds in result.images_per_second.items()
    ]
    print(f"{result.network}, {result.batch} pictures a step, {result.threads} threads, {result.machine.name}")
    print(table(("freed memory", "images/s", "range over processes"), rows))
    print(f"{result.ratio:.2f} times as fast where it is kept")


if __name__ == "__main__":
    sys.exit(main())
