"""A bundle for a Raspberry Pi in a Raspberry Pi's userland: the same results as here.

The emulated tests need root, qemu and the data; each says what is missing where it skips. FACETTE_VIRTUAL_PI names a Pi made
before with tools/virtual-pi; without it one is made. Emulation runs at about a second a photo and core.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from tools.virtual_pi import host, instructions, userland, wheels
from tools.virtual_pi.boards import BOARDS, find_board, write_board_files
from tools.virtual_pi.errors import VirtualPiError

from facette.data.lfw import RAW, Pairs, Photos, read_pairs
from facette.data.photos import golden_photos
from facette.target import load_target
from facette_runtime.bundle import Bundle
from facette_runtime.gallery import Gallery
from facette_runtime.manifest import TargetFacts
from facette_runtime.pipeline import Pipeline
from facette_runtime.types import Frame
from tests.runtime import bundles

REPOSITORY = Path(__file__).resolve().parents[2]
TOOL = REPOSITORY / "tools" / "virtual-pi"
PAIRS_OF_A_KIND = 150
OFFERS = [
    (engine.name, precision)
    for engine in load_target("raspberry-pi-5").engines
    for precision in ("fp32", "int8")
    if precision in engine.precisions
]


Compiled = Callable[[str, str], Path]


# The tool itself, without root and without an emulator.


@pytest.mark.parametrize("name", sorted(BOARDS))
def test_boards_play_their_targets(tmp_path: Path, name: str) -> None:
    board, target = find_board(name), load_target(name)
    write_board_files(tmp_path, board)
    cpuinfo = (tmp_path / "proc/cpuinfo").read_text()
    assert cpuinfo.count("processor\t:") == board.cores == target.cores
    assert set(target.cpu_features) <= set(board.features.split())
    assert target.cpu.lower().endswith(board.qemu_cpu)
    assert board.memory_mb in target.memory_variants_mb
    assert (tmp_path / "proc/device-tree/model").read_text() == f"{board.model}\0"


def test_an_unknown_board_lists_the_known_ones() -> None:
    with pytest.raises(VirtualPiError, match="unknown board 'zx81'; known boards: raspberry-pi-5, raspberry-pi-4"):
        find_board("zx81")


def test_wheels_fit_the_target() -> None:
    platform = wheels.read_platform("raspberry-pi-5")
    assert platform.python == "3.11"
    assert "manylinux_2_28_aarch64" in platform.tags


def _wheel(folder: Path, name: str, files: dict[str, str]) -> Path:
    path = folder / f"{name}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for member, text in {f"{name}.dist-info/METADATA": "", **files}.items():
            archive.writestr(member, text)
    return path


def test_wheels_are_unpacked_once_and_the_runtime_each_time(tmp_path: Path) -> None:
    platform = wheels.read_platform("raspberry-pi-5")
    site = wheels.site_packages(tmp_path / "pi", platform)
    one, runtime = _wheel(tmp_path, "one-1", {"one.py": "1"}), _wheel(tmp_path, "facette_runtime-1", {"facette_runtime/cli.py": ""})
    wheels.install([runtime, one], tmp_path / "pi", platform)
    assert (tmp_path / "pi/usr/local/bin/facette-run").read_text().startswith("#!/usr/bin/python3.11\n")
    (site / "one.py").write_text("touched")
    (site / "facette_runtime/stale.py").write_text("")
    wheels.install([runtime, one], tmp_path / "pi", platform)
    assert (site / "one.py").read_text() == "touched"
    assert not (site / "facette_runtime/stale.py").exists()
    wheels.install([runtime, _wheel(tmp_path, "one-2", {"one.py": "2"})], tmp_path / "pi", platform)
    assert (site / "one.py").read_text() == "2"
    assert not (site / "one-1.dist-info").exists()


def test_a_wheel_with_files_elsewhere_is_refused(tmp_path: Path) -> None:
    odd = _wheel(tmp_path, "odd-1", {"odd-1.data/scripts/odd": ""})
    with pytest.raises(VirtualPiError, match=r"odd-1-py3-none-any\.whl installs files outside its packages"):
        wheels.install([odd], tmp_path / "pi", wheels.read_platform("raspberry-pi-5"))


@pytest.mark.parametrize("command", [["run", "DIR", "--", "true"], ["clean", "DIR"]])
def test_a_folder_that_is_no_pi_is_left_alone(tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "precious").write_text("")
    said = subprocess.run([TOOL, *(str(tmp_path) if part == "DIR" else part for part in command)], capture_output=True, text=True)
    assert said.returncode == 2
    assert said.stderr == f"virtual-pi: error: {tmp_path} is no virtual Pi; to make one: tools/virtual-pi make {tmp_path}\n"
    assert (tmp_path / "precious").exists()


def test_what_is_missing_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr("shutil.which", lambda program: None if "qemu" in program else f"/usr/bin/{program}")
    monkeypatch.setattr(host, "is_native", lambda: False)
    with pytest.raises(
        VirtualPiError, match=r"must run as root: .*; qemu-aarch64-static not found; .*apt-get install qemu-user-static"
    ):
        host.require()


def test_without_binfmt_scripts_go_behind_their_interpreters(tmp_path: Path) -> None:
    (tmp_path / "usr/bin").mkdir(parents=True)
    (tmp_path / "usr/bin/python3.11").write_bytes(b"\x7fELF")
    (tmp_path / "usr/bin/python3").symlink_to("python3.11")
    (tmp_path / "usr/bin/tool").write_text("#!/usr/bin/python3.11 -I\n")
    assert userland._interpreted(tmp_path, ["tool", "x"]) == ["/usr/bin/python3.11", "-I", "/usr/bin/tool", "x"]
    assert userland._interpreted(tmp_path, ["python3", "-V"]) == ["/usr/bin/python3.11", "-V"]
    with pytest.raises(VirtualPiError, match="nothing: no such program inside"):
        userland._interpreted(tmp_path, ["nothing"])


def test_marks_are_read_in_order(tmp_path: Path) -> None:
    (tmp_path / "marks").write_text("1000 5\n0 7\n1 12\nend 40\n")
    assert instructions.read_marks(tmp_path / "marks") == [("1000", 5), ("0", 7), ("1", 12), ("end", 40)]


# Inside.


@pytest.fixture(scope="session")
def pi(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual Pi 5."""
    named = os.environ.get("FACETTE_VIRTUAL_PI")
    lacking = host.missing(for_making=not named)
    if lacking:
        pytest.skip("; ".join(lacking))
    folder = Path(named) if named else tmp_path_factory.mktemp("virtual") / "pi"
    if not named:
        made = subprocess.run([sys.executable, TOOL, "make", folder], capture_output=True, text=True)
        assert made.returncode == 0, made.stderr
    return folder


@pytest.fixture(scope="session")
def bundle_of(pi: Path, data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    """Compiles the default recipe for a Pi 5 with an engine and a precision, once a session.

    Float must compile; where the gate refuses int8, the test skips with its reason.
    """
    folder = tmp_path_factory.mktemp("bundles")
    refusals: dict[Path, str] = {}

    def compiled(engine: str, precision: str) -> Path:
        path = folder / f"{engine}-{precision}.facette"
        if not path.exists() and path not in refusals:
            # Without the data in the environment the card's threshold is taken: deriving one from LFW takes minutes.
            environment = {name: value for name, value in os.environ.items() if name != "FACETTE_DATA"}
            choices = ["--target", "raspberry-pi-5", "--engine", engine, "--precision", precision]
            faces = [] if precision == "fp32" else ["--faces", str(data_dir / "utkface-128.zip")]
            command = [sys.executable, "-m", "facette.cli", "compile", *choices, *faces, "--output", str(path)]
            done = subprocess.run(command, capture_output=True, text=True, env=environment)
            assert done.returncode in ((0,) if precision == "fp32" else (0, 2)), done.stderr
            if done.returncode:
                refusals[path] = done.stderr.strip().splitlines()[-1]
        if path in refusals:
            pytest.skip(refusals[path])
        return path

    return compiled


def run_inside(pi: Path, brought: Sequence[Path], *command: str, status: int = 0) -> str:
    """Runs a program inside and returns what it prints."""
    copies = [argument for path in brought for argument in ("--bring", str(path))]
    done = subprocess.run([TOOL, "run", pi, *copies, "--", *command], capture_output=True, text=True)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.data
def test_it_is_a_pi(pi: Path) -> None:
    told = json.loads(run_inside(pi, [], "facette-run", "doctor", "--json", "-"))
    assert told["device"]["machine"]["model"] == "Raspberry Pi 5 Model B Rev 1.0"
    assert told["device"]["architecture"] == "aarch64"
    assert told["device"]["machine"]["python"].startswith("3.11.")
    assert set(load_target("raspberry-pi-5").cpu_features) <= set(told["device"]["cpu_features"])
    assert set(told["device"]["engines"]) == {"litert", "onnxruntime"}


@pytest.mark.data
@pytest.mark.parametrize(("engine", "precision"), OFFERS)
def test_every_golden_stage_is_within_tolerance(pi: Path, bundle_of: Compiled, engine: str, precision: str) -> None:
    bundle = bundle_of(engine, precision)
    said = run_inside(pi, [bundle], "facette-run", "selftest", "--bundle", bundle.name, "--threads", "1")
    golden = Bundle.open(bundle, check_target=False).manifest.golden
    cosines = [(float(value), float(least)) for value, least in re.findall(r"embed: cosine (\S+) >= (\S+) ", said)]
    assert len(cosines) == len(golden.faces)
    assert said.count("\nok ") + said.startswith("ok ") == 5 * len(golden.faces)
    if precision == "fp32":
        assert min(least for _, least in cosines) >= 0.9999
    assert f"selftest passed: {5 * len(golden.faces)} checks" in said


@pytest.mark.data
@pytest.mark.parametrize(("engine", "precision"), OFFERS)
def test_identify_says_what_the_host_says(pi: Path, bundle_of: Compiled, engine: str, precision: str, tmp_path: Path) -> None:
    bundle = bundle_of(engine, precision)
    for name, image in golden_photos(None):
        folder = tmp_path / "people" / name
        folder.mkdir(parents=True)
        cv2.imwrite(str(folder / "portrait.png"), cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
    name, image = golden_photos(None)[-1]
    probe = cv2.resize(image[:, ::-1], None, fx=0.4, fy=0.4, interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(tmp_path / "probe.png"), probe)
    (pi / userland.HOME / "people.npz").unlink(missing_ok=True)
    common = ["--bundle", bundle.name, "--threads", "1", "--gallery", "people.npz", "--source"]
    run_inside(pi, [bundle, tmp_path / "people"], "facette-run", "enroll", *common, "people")
    run_inside(pi, [tmp_path / "probe.png"], "facette-run", "identify", *common, "probe.png", "--json", "found.jsonl")
    found = json.loads((pi / userland.HOME / "found.jsonl").read_text().splitlines()[0])["faces"][0]
    gallery = Gallery.load(pi / userland.HOME / "people.npz")
    here = Pipeline.load(Bundle.open(bundle, check_target=False), gallery, threads=1).process(Frame(0, "probe", probe))[0]
    assert found["name"] == here.match.name
    assert found["similarity"] == pytest.approx(here.match.similarity, abs=0.002 if precision == "fp32" else 0.03)
    assert found["box_xyxy"] == pytest.approx(here.box_xyxy, abs=0.5)


@pytest.mark.data
def test_a_bundle_for_another_architecture_is_refused(pi: Path, tmp_path: Path) -> None:
    bundle = bundles.write_bundle(tmp_path / "pc.facette", target=TargetFacts("x86-cpu", "x86_64", ()))
    said = run_inside(pi, [bundle], "facette-run", "selftest", "--bundle", bundle.name, status=2)
    assert said.strip().endswith("pc.facette is for target 'x86-cpu' (x86_64), but this machine is aarch64")


@pytest.mark.data
def test_instructions_are_counted(pi: Path, bundle_of: Compiled, tmp_path: Path) -> None:
    try:
        instructions.prepare(pi)
    except VirtualPiError as error:
        pytest.skip(str(error))
    bundle = bundle_of("litert", "fp32")
    cv2.imwrite(str(tmp_path / "face.png"), golden_photos(None)[-1][1])
    program = REPOSITORY / "tools/virtual_pi/guest_cost.py"
    copies = [argument for path in (bundle, program, tmp_path / "face.png") for argument in ("--bring", str(path))]
    command = ["python3", program.name, bundle.name, "face.png", "2"]
    done = subprocess.run([TOOL, "run", pi, "--count-instructions", *copies, "--", *command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    marks = instructions.read_marks(pi / instructions.MARKS)
    counts = [count for _, count in marks]
    assert counts == sorted(counts)
    starts = [count for mark, count in marks if mark == "1000"]
    ends = [count for mark, count in marks if mark == "1001"]
    frames = [end - start for start, end in zip(starts, ends, strict=True)]
    manifest = Bundle.open(bundle, check_target=False).manifest
    macs = (manifest.detector.macs or 0) + (manifest.embedder.macs or 0)
    # A vector instruction does four fp32 multiply-accumulates; scalar reference kernels would need many times more than this.
    assert macs / 4 < frames[-1] < 2 * macs


def few_photos(pairs: Pairs, each: int) -> Pairs:
    """``each`` pairs of one person and as many of two, chosen so that few photos are needed: emulation is slow.

    Pairs whose photos occur in the fewest other pairs are dropped until so many are left.
    """
    kept = np.arange(len(pairs.first))
    while len(kept) > 2 * each:
        used = np.bincount(np.concatenate([pairs.first[kept], pairs.second[kept]]), minlength=len(pairs.photos))
        drop = np.zeros(len(kept), bool)
        for kind in (True, False):
            (mine,) = np.nonzero(pairs.same[kept] == kind)
            surplus = min(len(mine) - each, max(1, len(mine) // 10))
            shared = used[pairs.first[kept[mine]]] + used[pairs.second[kept[mine]]]
            drop[mine[np.argsort(shared, kind="stable")[:surplus]]] = True
        kept = kept[~drop]
    names, position = np.unique(np.concatenate([pairs.first[kept], pairs.second[kept]]), return_inverse=True)
    photos = tuple(pairs.photos[index] for index in names)
    return Pairs(photos, position[: len(kept)], position[len(kept) :], pairs.same[kept], pairs.folds[kept])


def _embeddings(path: Path) -> dict[str, NDArray[np.float32]]:
    with np.load(path) as found:
        return dict(zip(found["names"].tolist(), found["embeddings"], strict=True))


@pytest.mark.data
def test_lfw_pairs_are_decided_as_here(pi: Path, bundle_of: Compiled, data_dir: Path, tmp_path: Path) -> None:
    bundle = bundle_of("litert", "fp32")
    pairs, archive = few_photos(read_pairs(data_dir), PAIRS_OF_A_KIND), Photos(data_dir, RAW)
    assert len(pairs.first) == 2 * PAIRS_OF_A_KIND
    parts = [tmp_path / f"photos-{part}" for part in range(os.cpu_count() or 1)]
    for index, photo in enumerate(pairs.photos):
        place = parts[index % len(parts)] / Path(photo).with_suffix(".png").name
        place.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(place), archive.read(photo))
    program = REPOSITORY / "tools/virtual_pi/guest_embed.py"

    def there(part: Path) -> dict[str, NDArray[np.float32]]:
        run_inside(pi, [bundle, program, part], "python3", program.name, bundle.name, part.name, f"{part.name}.npz")
        return _embeddings(pi / userland.HOME / f"{part.name}.npz")

    def here(part: Path) -> dict[str, NDArray[np.float32]]:
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "runtime")}
        output = tmp_path / f"{part.name}.npz"
        subprocess.run([sys.executable, program, bundle, part, output], check=True, env=environment)
        return _embeddings(output)

    with ThreadPoolExecutor() as pool:
        device = {name: row for rows in pool.map(there, parts) for name, row in rows.items()}
    mine = {name: row for part in parts for name, row in here(part).items()}
    names = [Path(photo).with_suffix(".png").name for photo in pairs.photos]
    cosines = [
        np.sum(np.stack([rows[names[i]] for i in pairs.first]) * np.stack([rows[names[i]] for i in pairs.second]), axis=1)
        for rows in (device, mine)
    ]
    threshold = Bundle.open(bundle, check_target=False).manifest.match.threshold
    decisions = [row >= threshold for row in cosines]
    agreement = float((decisions[0] == decisions[1]).mean())
    right = float((decisions[1] == pairs.same).mean())
    furthest = np.abs(cosines[0] - cosines[1]).max()
    print(f"{len(pairs.photos)} photos: {agreement:.2%} decided alike, {right:.2%} right, cosines at most {furthest:.5f} apart")
    assert agreement >= 0.995
    assert right > 0.9  # the pairs are real ones, and the bundle recognises people
    assert furthest < 0.05
