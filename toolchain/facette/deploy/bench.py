"""A benchmark by the device runtime, here or on a device, told in the same way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from facette.deploy.plan import ask_state
from facette.deploy.session import Session
from facette_runtime.bundle import Bundle
from facette_runtime.errors import FacetteError
from facette_runtime.report import Report
from facette_runtime.schema import from_dict


@dataclass(frozen=True, slots=True)
class BenchRequest:
    """What to measure; see ``facette-run bench --help``.

    Attributes:
        source: a picture, folder, video or camera on the machine that runs; None for the bundle's golden pictures.
        frames: to measure.
        warmup: frames before.
        threads: None for those that the bundle was measured with.
    """

    source: str | None = None
    frames: int = 200
    warmup: int = 10
    threads: int | None = None

    def words(self, bundle: str, golden: str) -> list[str]:
        """The runtime's command line, the report to standard output."""
        words = ["bench", "--bundle", bundle, "--source", self.source or golden, "--json", "-"]
        words += ["--frames", str(self.frames), "--warmup", str(self.warmup)]
        return words + (["--threads", str(self.threads)] if self.threads else [])


def bench_here(bundle: Path, request: BenchRequest) -> Report:
    """Measures on this machine, in a process of its own, so that speed and memory are the runtime's alone.

    Raises:
        FacetteError: the bundle or the source can't be opened, or the bundle is for another machine.
    """
    opened = Bundle.open(bundle)
    with tempfile.TemporaryDirectory(prefix="facette-golden-") as folder:
        for image in {face.image for face in opened.manifest.golden.faces}:
            (Path(folder) / Path(image).name).write_bytes(opened.read(image))
        command = [sys.executable, "-m", "facette_runtime", *request.words(os.fspath(bundle), folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    return _report(done.returncode, done.stdout, done.stderr, "here")


def bench_there(session: Session, release: str | None, request: BenchRequest) -> Report:
    """Measures a release on a device.

    Args:
        session: to the device.
        release: its name; None for the current one.
        request: what to measure.

    Raises:
        FacetteError: nothing is deployed there, or the runtime's own error.
    """
    state = ask_state(session)
    release = release or state.current
    if release is None:
        raise FacetteError(f"{session.address.text}: nothing is deployed in {state.root}; name a bundle")
    session.tell(f"measuring {request.frames} frames on the device")
    answer = session.call("run", release=release, arguments=request.words("{bundle}", "{golden}"))
    return _report(answer["status"], answer["output"], answer["errors"], session.address.text)


def _report(status: int, output: str, errors: str, where: str) -> Report:
    if status:
        lines = errors.strip().splitlines() or [f"exit status {status}"]
        raise FacetteError(f"{where}: facette-run bench: {lines[-1].removeprefix('facette-run: error: ')}")
    return from_dict(Report, json.loads(output), "the report", ignore_unknown=True)
