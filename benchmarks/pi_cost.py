"""What a frame costs on a Raspberry Pi, as far as emulation can say: instructions executed, stage by stage.

The figures are instructions of the board's own processor, with the kernels that the engines choose for it, counted by a qemu
plugin in the virtual Pi (tools/virtual-pi). They are not device time: they leave out how many instructions a cycle the board
manages and how long it waits for memory. The first frame, which allocates, is left out; of the others the median is given.

    python benchmarks/pi_cost.py [--board raspberry-pi-5] [--pi DIR] [--faces PATH] [--bundle FILE]… [--json FILE]

Without --bundle the default recipe is compiled for the board, once for each engine and precision that its target file names; one
that the compiler refuses is listed with the reason. Needs root and: apt-get install qemu-user-static qemu-user debootstrap gcc
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2

from facette.data.photos import portraits
from facette.tables import table
from facette.target import load_target
from facette_runtime.bundle import Bundle
from facette_runtime.errors import FacetteError
from facette_runtime.manifest import Manifest
from facette_runtime.pipeline import STAGES
from harness import new_parser, run_benchmark

REPOSITORY = Path(__file__).resolve().parents[1]
VIRTUAL_PI = REPOSITORY / "tools" / "virtual-pi"
PROGRAM = REPOSITORY / "tools" / "virtual_pi" / "guest_cost.py"
LABEL = "instructions, emulated; not device time"
FRAME_WH = (640, 480)
FRAME_MARK = 1000  # guest_cost.py's marks of a whole frame are this and the next; of stage s they are 2·s and 2·s + 1


@dataclass(frozen=True)
class Row:
    """One bundle.

    Attributes:
        engine, precision: of its networks, the detector's first where they differ.
        faces: found in the frame.
        stages: instructions by stage.
        frame: instructions of the whole frame.
        refusal: why there is no bundle to count; None where there is one.
    """

    engine: str
    precision: str
    faces: int
    stages: dict[str, int]
    frame: int
    refusal: str | None


@dataclass(frozen=True)
class Result:
    """The counts and what made them.

    Attributes:
        label: what the figures are.
        board: whose processor was played.
        picture, frame_wh: what was recognised.
        frames: counted, after one that is not.
        versions: of the emulator, and of what runs inside.
    """

    label: str
    board: str
    picture: str
    frame_wh: tuple[int, int]
    frames: int
    versions: dict[str, str]
    rows: list[Row]


def main() -> int:
    """Runs the benchmark."""
    parser = new_parser(__doc__)
    parser.add_argument("--board", default="raspberry-pi-5", help="a target that tools/virtual-pi plays (default: raspberry-pi-5)")
    parser.add_argument("--pi", type=Path, metavar="DIR", help="made by tools/virtual-pi make; without it one is made")
    parser.add_argument("--bundle", type=Path, action="append", default=[], metavar="FILE", help="count this one; may be repeated")
    parser.add_argument("--faces", type=Path, metavar="PATH", help="photos to calibrate int8 with, as facette compile takes them")
    parser.add_argument("--frames", type=int, default=3, help="to count (default: 3)")
    return run_benchmark(parser, run, print_result)


def run(arguments: argparse.Namespace) -> Result:
    """Makes what is missing and counts."""
    if arguments.frames < 1:
        raise FacetteError(f"--frames must be at least 1, but got {arguments.frames}")
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        pi = arguments.pi or scratch / "pi"
        if arguments.pi is None:
            _check([str(VIRTUAL_PI), "make", str(pi), "--board", arguments.board])
        name, picture = _picture(scratch)
        if arguments.bundle:
            rows = [_count(pi, bundle, picture, arguments.frames) for bundle in arguments.bundle]
        else:
            rows = [_compile_and_count(pi, arguments, picture, *offer) for offer in _offers(arguments.board)]
        return Result(LABEL, arguments.board, name, FRAME_WH, arguments.frames, _versions(pi), rows)


def print_result(result: Result) -> None:
    """A table in millions."""
    width, height = result.frame_wh
    faces = sorted({row.faces for row in result.rows if row.refusal is None})
    print(f"{result.board}, {width}×{height}, {result.picture}, faces {', '.join(map(str, faces))}: millions of {result.label}")
    headers = ["engine", "precision", *STAGES, "frame"]
    counted = [row for row in result.rows if row.refusal is None]
    rows = [
        [row.engine, row.precision, *(f"{row.stages[stage] / 1e6:.2f}" for stage in STAGES), f"{row.frame / 1e6:.1f}"]
        for row in counted
    ]
    print(table(headers, rows))
    for row in result.rows:
        if row.refusal is not None:
            print(f"{row.engine} {row.precision}: no bundle: {row.refusal}")
    print(", ".join(f"{name} {version}" for name, version in result.versions.items()))


def stage_counts(marks: Sequence[tuple[str, int]]) -> tuple[dict[str, int], int]:
    """Instructions by stage and of the whole frame: the median over the frames after the first.

    Args:
        marks: number and instructions executed until then, in the order in which they were passed.
    """
    frames: list[dict[str, int]] = []
    started: dict[int, int] = {}
    for mark, count in ((int(mark), count) for mark, count in marks if mark != "end"):
        if mark % 2 == 0:
            started[mark] = count
            if mark == FRAME_MARK:
                frames.append({})
            continue
        name = "frame" if mark == FRAME_MARK + 1 else STAGES[mark // 2]
        frames[-1][name] = frames[-1].get(name, 0) + count - started[mark - 1]
    medians = {name: int(statistics.median(frame[name] for frame in frames[1:])) for name in ("frame", *STAGES)}
    return {stage: medians[stage] for stage in STAGES}, medians["frame"]


def _offers(board: str) -> list[tuple[str, str]]:
    return [(engine.name, precision) for engine in load_target(board).engines for precision in engine.precisions]


def _compile_and_count(pi: Path, arguments: argparse.Namespace, picture: Path, engine: str, precision: str) -> Row:
    bundle = picture.with_name(f"{engine}-{precision}.facette")
    faces = [] if arguments.faces is None else ["--faces", str(arguments.faces)]
    refusal = _compile(["--target", arguments.board, "--engine", engine, "--precision", precision, *faces, "--output", str(bundle)])
    if refusal is not None:
        return Row(engine, precision, 0, {}, 0, refusal)
    return _count(pi, bundle, picture, arguments.frames)


def _compile(arguments: list[str]) -> str | None:
    """Compiles one bundle; returns the reason where the compiler refuses."""
    print(f"facette compile {' '.join(arguments)}", file=sys.stderr)
    done = subprocess.run([sys.executable, "-m", "facette.cli", "compile", *arguments], capture_output=True, text=True)
    if done.returncode not in (0, 2):
        raise FacetteError(f"facette compile ended with {done.returncode}: {done.stderr.strip().splitlines()[-1]}")
    return done.stderr.strip().splitlines()[-1].removeprefix("facette: error: ") if done.returncode else None


def _count(pi: Path, bundle: Path, picture: Path, frames: int) -> Row:
    manifest = Bundle.open(bundle, check_target=False).manifest
    brought = [argument for path in (bundle, picture, PROGRAM) for argument in ("--bring", str(path))]
    inside = ["python3", PROGRAM.name, bundle.name, picture.name, str(frames + 1)]
    said = _check([str(VIRTUAL_PI), "run", str(pi), "--count-instructions", *brought, "--", *inside])
    lines = (pi / "home/pi/instructions.txt").read_text(encoding="utf-8").splitlines()
    stages, frame = stage_counts([(mark, int(count)) for mark, count in map(str.split, lines)])
    return Row(_both(manifest, "engine"), _both(manifest, "precision"), int(said.split()[-1]), stages, frame, None)


def _both(manifest: Manifest, attribute: str) -> str:
    values = [getattr(entry, attribute) for entry in (manifest.detector, manifest.embedder)]
    return " and ".join(dict.fromkeys(values))


def _picture(scratch: Path) -> tuple[str, Path]:
    """A portrait's face in the middle of a frame of a camera's size, and nothing else that could be taken for one."""
    portrait = portraits()[-1]
    width, height = FRAME_WH[0] // 2, FRAME_WH[1] // 2
    left, top = (max(0, int(centre) - size // 2) for centre, size in zip(portrait.face_xy, (width, height), strict=True))
    path = scratch / "frame.png"
    cv2.imwrite(str(path), cv2.resize(portrait.image_bgr[top : top + height, left : left + width], FRAME_WH))
    return portrait.name, path


def _versions(pi: Path) -> dict[str, str]:
    emulator = _check(["qemu-aarch64", "--version"]).splitlines()[0].split()[2]
    packages = {"numpy", "opencv_python_headless", "onnxruntime", "ai_edge_litert", "facette_runtime"}
    installed = (
        path.name.removesuffix(".dist-info").split("-") for path in pi.glob("usr/local/lib/python3*/dist-packages/*.dist-info")
    )
    return {"qemu": emulator, **{name: version for name, version in sorted(installed) if name in packages}}


def _check(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        said = (done.stderr.strip() or "no reason given").splitlines()[-1]
        raise FacetteError(f"{Path(command[0]).name} {command[1]}: {said}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
