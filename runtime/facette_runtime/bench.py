"""Runs the pipeline over a source and measures: steady state after warm-up, cold start apart."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import perf_counter, perf_counter_ns

from facette_runtime import __version__
from facette_runtime.bundle import Bundle
from facette_runtime.errors import SourceError
from facette_runtime.gallery import Gallery
from facette_runtime.machine import cpu_temperature_c, describe_machine, peak_rss_mb, rss_mb, throttling
from facette_runtime.manifest import NetworkEntry
from facette_runtime.meter import Meter, memory_trend
from facette_runtime.pipeline import Pipeline
from facette_runtime.report import REPORT_FORMAT, Climate, ColdStart, Memory, NetworkRun, Report
from facette_runtime.sources import Source
from facette_runtime.types import Frame

Progress = Callable[[int, int], None]
"""Called with frames done and frames in all."""


@dataclass(frozen=True, slots=True)
class BenchSettings:
    """How to measure.

    Attributes:
        frames: to measure; None for each frame of the source once (200 for one picture).
        warmup: frames to run before measuring.
        threads: intra-op threads; None for those that the bundle was measured with.
        start_ms: time from the process's start to this call, where the caller knows it.
    """

    frames: int | None = None
    warmup: int = 10
    threads: int | None = None
    start_ms: float | None = None


def run_bench(
    open_bundle: Callable[[], Bundle],
    source: Source,
    gallery: Gallery | None,
    settings: BenchSettings,
    progress: Progress = lambda done, total: None,
) -> Report:
    """Measures a bundle on a source, which starts again as often as the frames need.

    Args:
        open_bundle: opens the bundle; checking it belongs to the cold start.
        source: frames to recognise.
        gallery: who is known, or None.
        settings: how to measure.
        progress: told after every measured frame.

    Raises:
        FacetteError: whatever the bundle, an engine or the source raises.
    """
    meter = Meter()
    started = perf_counter_ns()
    bundle = open_bundle()
    pipeline = Pipeline.load(bundle, gallery, settings.threads, meter=meter)
    load_ms = (perf_counter_ns() - started) / 1e6
    after_load = rss_mb()
    start_c = cpu_temperature_c()
    frames = _endless(source)
    first_frame_ms = _time_first_frame(pipeline, next(frames))
    for _ in range(settings.warmup - 1):
        pipeline.process(next(frames))
    meter.reset()
    total = settings.frames or (200 if source.still else source.length or 200)
    run = _measure(pipeline, frames, total, progress)
    stages = meter.stages()
    stages["frame"] = stages.pop("frame")  # the sum below its parts
    manifest = bundle.manifest
    detector_engine, embedder_engine = pipeline.engines
    return Report(
        format=REPORT_FORMAT,
        created=time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime()),
        runtime=__version__,
        bundle=manifest.name,
        target=manifest.target.name,
        source=source.name,
        detector=_network_run(manifest.detector, detector_engine, settings),
        embedder=_network_run(manifest.embedder, embedder_engine, settings),
        frames=total,
        warmup=settings.warmup,
        faces=run.faces,
        recognised=dict(run.recognised.most_common()),
        skipped=len(source.skipped),
        fps=total / run.seconds,
        pipeline_fps=1000 / stages["frame"].mean,
        stages=stages,
        cold_start=ColdStart(settings.start_ms, load_ms, first_frame_ms),
        memory=Memory(after_load, peak_rss_mb(), memory_trend(run.rss_frames, run.rss_mb)),
        climate=Climate(start_c, cpu_temperature_c(), throttling()),
        machine=describe_machine(),
    )


@dataclass(slots=True)
class _Run:
    seconds: float
    faces: int
    recognised: Counter[str]
    rss_frames: list[int]
    rss_mb: list[float]


def _measure(pipeline: Pipeline, frames: Iterator[Frame], total: int, progress: Progress) -> _Run:
    meter = pipeline.meter
    run = _Run(0.0, 0, Counter(), [], [])
    sample_every = max(1, total // 64)  # reading /proc takes some 30 µs: 64 samples are enough for a line
    started = perf_counter()
    for done in range(1, total + 1):
        with meter.stage("read"):
            frame = next(frames)
        with meter.stage("frame"):
            faces = pipeline.process(frame)
        run.faces += len(faces)
        run.recognised.update(face.match.name for face in faces if face.match.name is not None)
        if done % sample_every == 0:
            memory = rss_mb()
            if memory is not None:
                run.rss_frames.append(done)
                run.rss_mb.append(memory)
        progress(done, total)
    run.seconds = perf_counter() - started
    return run


def _time_first_frame(pipeline: Pipeline, frame: Frame) -> float:
    started = perf_counter_ns()
    pipeline.process(frame)
    return (perf_counter_ns() - started) / 1e6


def _endless(source: Source) -> Iterator[Frame]:
    while True:
        delivered = False
        for frame in source:
            delivered = True
            yield frame
        if not delivered:
            raise SourceError(f"{source.name}: none of its {len(source.skipped)} pictures can be read")


def _network_run(entry: NetworkEntry, engine: str, settings: BenchSettings) -> NetworkRun:
    return NetworkRun(entry.name, engine, entry.precision, settings.threads or entry.threads)
