"""facette-run as a person meets it: what it prints, what it exits with, and one line for each mistake."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from facette_runtime import __version__
from facette_runtime.cli import main
from facette_runtime.gallery import Gallery
from facette_runtime.manifest import TargetFacts
from tests.runtime import bundles


@pytest.fixture
def gallery(tmp_path: Path, bundle_path: Path, people: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A gallery of Red (two templates) and Blue (one)."""
    path = tmp_path / "people.npz"
    assert main(["enroll", "--bundle", str(bundle_path), "--gallery", str(path), "--source", str(people)]) == 0
    capsys.readouterr()
    return path


def _video(path: Path, colours: list[tuple[int, int, int]]) -> Path:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (100, 80))
    for colour in colours:
        writer.write(bundles.picture(colour))
    writer.release()
    return path


def _fails(argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """Runs a command that must fail in one line, and gives that line."""
    assert main(argv) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("skipped ")]
    assert len(lines) == 1
    assert lines[0].startswith("facette-run: error: ")
    return lines[0]


# enroll


def test_enroll_one_person_then_more(tmp_path: Path, bundle_path: Path, people: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "g.npz"
    command = ["enroll", "--bundle", str(bundle_path), "--gallery", str(path)]
    assert main([*command, "--name", "Red", "--source", str(people / "Red")]) == 0
    assert capsys.readouterr().out == f"enrolled Red: 2 templates\n{path}: 1 person, 2 templates\n"
    assert main([*command, "--name", "Blue", "--source", str(people / "Blue" / "0.png")]) == 0
    assert Gallery.load(path).names == ("Red", "Red", "Blue")


def test_enroll_skips_counts_and_names_photos_without_a_face(
    tmp_path: Path, bundle_path: Path, people: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundles.write_picture(people / "Red" / "night.png", bundles.BLACK)
    (people / "Blue" / "broken.jpg").write_bytes(b"hello")
    path = tmp_path / "g.npz"
    assert main(["enroll", "--bundle", str(bundle_path), "--gallery", str(path), "--source", str(people)]) == 0
    out, err = capsys.readouterr()
    assert "skipped Red/night.png: no face found" in err
    assert "skipped Blue/broken.jpg: " in err
    assert out.endswith("2 people, 3 templates, 2 pictures skipped\n")


def test_enroll_a_photo_without_a_face(tmp_path: Path, bundle_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dark = bundles.write_picture(tmp_path / "dark.png", bundles.BLACK)
    command = ["enroll", "--bundle", str(bundle_path), "--gallery", str(tmp_path / "g.npz"), "--name", "X", "--source"]
    assert _fails([*command, str(dark)], capsys).endswith("dark.png: no face found")
    (tmp_path / "dark").mkdir()
    bundles.write_picture(tmp_path / "dark" / "0.png", bundles.BLACK)
    assert "nobody enrolled" in _fails([*command, str(tmp_path / "dark")], capsys)
    assert not (tmp_path / "g.npz").exists()


# identify


def test_identify_a_picture(
    tmp_path: Path, bundle_path: Path, gallery: Path, people: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [
        "identify",
        "--bundle",
        str(bundle_path),
        "--gallery",
        str(gallery),
        "--source",
        str(people / "Red" / "0.png"),
    ]
    assert main([*command, "--output", str(tmp_path / "marked.png"), "--json", str(tmp_path / "who.jsonl")]) == 0
    assert capsys.readouterr().out == "0.png: Red (1.000)\n"
    marked = cv2.imread(str(tmp_path / "marked.png"))
    assert marked.shape == (80, 100, 3)
    assert not np.array_equal(marked, bundles.picture(bundles.RED))
    (record,) = [json.loads(line) for line in (tmp_path / "who.jsonl").read_text().splitlines()]
    assert (record["index"], record["name"], record["faces"][0]["name"]) == (0, "0.png", "Red")
    assert np.shape(record["faces"][0]["landmarks_xy"]) == (5, 2)


def test_identify_a_video_to_a_video(tmp_path: Path, bundle_path: Path, gallery: Path, capsys: pytest.CaptureFixture[str]) -> None:
    video = _video(tmp_path / "in.avi", [bundles.RED, bundles.BLACK, bundles.BLUE])
    output = tmp_path / "out.avi"
    command = ["identify", "--bundle", str(bundle_path), "--gallery", str(gallery), "--source", str(video)]
    assert main([*command, "--output", str(output), "--json", "-"]) == 0
    out, err = capsys.readouterr()
    assert [[face["name"] for face in json.loads(line)["faces"]] for line in out.splitlines()] == [
        ["Red"],
        [],
        ["Blue"],
    ]
    assert err.splitlines()[1].endswith("frame 1: no face found")
    assert int(cv2.VideoCapture(str(output)).get(cv2.CAP_PROP_FRAME_COUNT)) == 3
    assert not list(tmp_path.glob(".*"))


def test_identify_a_folder_to_a_folder(
    tmp_path: Path, bundle_path: Path, gallery: Path, people: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (people / "Red" / "broken.jpg").write_bytes(b"hello")
    command = ["identify", "--bundle", str(bundle_path), "--gallery", str(gallery), "--source", str(people / "Red")]
    assert main([*command, "--output", str(tmp_path / "marked")]) == 0
    assert "1 skipped in all" in capsys.readouterr().err
    assert sorted(path.name for path in (tmp_path / "marked").iterdir()) == ["0.png", "1.png"]


def test_identify_threshold_and_max_frames(
    tmp_path: Path, bundle_path: Path, gallery: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = _video(tmp_path / "in.avi", [bundles.RED] * 5)
    command = ["identify", "--bundle", str(bundle_path), "--gallery", str(gallery), "--source", str(video)]
    assert main([*command, "--threshold", "1.5", "--max-frames", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert all("unknown" in line for line in lines)


def test_identify_a_photo_without_a_face(
    tmp_path: Path, bundle_path: Path, gallery: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dark = bundles.write_picture(tmp_path / "dark.png", bundles.BLACK)
    command = ["identify", "--bundle", str(bundle_path), "--gallery", str(gallery), "--source", str(dark)]
    assert _fails(command, capsys).endswith("dark.png: no face found")


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("marked.png", "is one picture, but"),
        ("marked.xyz", "unknown suffix .xyz"),
        ("file/marked.mp4", "cannot be written"),
    ],
)
def test_identify_refuses_an_output_that_does_not_fit(
    output: str,
    message: str,
    tmp_path: Path,
    bundle_path: Path,
    gallery: Path,
    people: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "file").touch()
    command = ["identify", "--bundle", str(bundle_path), "--gallery", str(gallery), "--source", str(people / "Red")]
    assert message in _fails([*command, "--output", str(tmp_path / output)], capsys)


# bench and selftest


def test_bench_reports(tmp_path: Path, bundle_path: Path, gallery: Path, capsys: pytest.CaptureFixture[str]) -> None:
    video = _video(tmp_path / "in.avi", [bundles.RED, bundles.BLACK, bundles.BLUE])
    command = [
        "bench",
        "--bundle",
        str(bundle_path),
        "--gallery",
        str(gallery),
        "--source",
        str(video),
        "--warmup",
        "3",
    ]
    assert main([*command, "--frames", "30", "--json", str(tmp_path / "report.json")]) == 0
    table = capsys.readouterr().out
    assert all(word in table for word in ("FPS", "cold start", "memory", "p95", "embed"))
    assert "Red 10x, Blue 10x" in table
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["format"], report["frames"], report["faces"], report["recognised"]) == (
        1,
        30,
        20,
        {"Red": 10, "Blue": 10},
    )
    assert {name: times["count"] for name, times in report["stages"].items()} == dict.fromkeys(
        ("read", "letterbox", "detect", "decode", "align", "embed", "match", "frame"), 30
    )
    assert 0 < report["fps"] <= report["pipeline_fps"]
    assert report["cold_start"]["load_ms"] > 0


def test_bench_repeats_one_picture(bundle_path: Path, people: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(
            [
                "bench",
                "--bundle",
                str(bundle_path),
                "--source",
                str(people / "Red" / "0.png"),
                "--frames",
                "5",
                "--json",
                "-",
            ]
        )
        == 0
    )
    report = json.loads(capsys.readouterr().out)
    assert (report["frames"], report["faces"], report["recognised"]) == (5, 5, {})


def test_bench_of_unreadable_pictures_ends(tmp_path: Path, bundle_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "0.jpg").write_bytes(b"hello")
    assert "none of its 1 pictures can be read" in _fails(
        ["bench", "--bundle", str(bundle_path), "--source", str(tmp_path / "bad")], capsys
    )


def test_selftest(tmp_path: Path, bundle_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["selftest", "--bundle", str(bundle_path)]) == 0
    assert "selftest passed: 5 checks on 1 pictures" in capsys.readouterr().out
    swapped = replace(bundles.EMBEDDER, input=replace(bundles.EMBEDDER.input, color_order="bgr"))
    assert main(["selftest", "--bundle", str(bundles.write_bundle(tmp_path / "bad", embedder=swapped))]) == 1
    assert "the first that differs is embed" in capsys.readouterr().out


# mistakes


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[content.index(b"IHDR") + 5] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.unlink(), "does not exist"),
        (lambda path: (path.unlink(), path.mkdir()), "is a directory"),
        (lambda path: path.write_bytes(path.read_bytes()[:-50]), "cut short or damaged"),
        (_flip, "is damaged"),
        (lambda path: bundles.write_bundle(path, format=(9, 1)), "bundle format 9.1 is newer; this runtime reads 1.x"),
        (lambda path: bundles.write_bundle(path, target=TargetFacts("cray", "cray1", ())), "but this machine is"),
        (
            lambda path: bundles.write_bundle(path, detector=replace(bundles.DETECTOR, engine="abacus")),
            "unknown engine 'abacus'",
        ),
    ],
    ids=["missing", "directory", "truncated", "flipped", "newer", "other machine", "engine"],
)
@pytest.mark.parametrize("command", ["identify", "selftest", "bench", "enroll"])
def test_bad_bundle(
    command: str,
    spoil,
    message: str,
    bundle_path: Path,
    gallery: Path,
    people: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    spoil(bundle_path)
    argv = [command, "--bundle", str(bundle_path)]
    if command != "selftest":
        argv += ["--source", str(people if command == "enroll" else people / "Red"), "--gallery", str(gallery)]
    assert message in _fails(argv, capsys)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.jpg", None, "does not exist"),
        ("corrupt.jpg", b"\xff\xd8\xff\xe0 not a jpeg", "is damaged, or not a picture"),
        ("empty.png", b"", "is an empty file"),
        ("broken.mp4", b"not a video", "not a picture or video"),
        ("folder", "folder", "holds no pictures"),
    ],
)
@pytest.mark.parametrize("command", ["identify", "bench"])
def test_bad_source(
    command: str,
    name: str,
    content: bytes | str | None,
    message: str,
    tmp_path: Path,
    bundle_path: Path,
    gallery: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if content == "folder":
        (tmp_path / name).mkdir()
    elif isinstance(content, bytes):
        (tmp_path / name).write_bytes(content)
    argv = [command, "--bundle", str(bundle_path), "--gallery", str(gallery), "--source", str(tmp_path / name)]
    assert message in _fails(argv, capsys)


def test_bad_gallery_and_bad_key(tmp_path: Path, bundle_path: Path, people: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = [
        "identify",
        "--bundle",
        str(bundle_path),
        "--gallery",
        str(tmp_path / "none.npz"),
        "--source",
        str(people / "Red"),
    ]
    assert "make it with: facette-run enroll" in _fails(argv, capsys)
    assert "cannot be read" in _fails([*argv, "--trust", str(tmp_path / "none.pem")], capsys)


def test_enroll_without_a_name_needs_subfolders(
    bundle_path: Path, tmp_path: Path, people: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["enroll", "--bundle", str(bundle_path), "--gallery", str(tmp_path / "g.npz"), "--source"]
    assert "one subfolder a person" in _fails([*argv, str(people / "Red")], capsys)
    assert "--name NAME" in _fails([*argv, str(people / "Red" / "0.png")], capsys)


@pytest.mark.parametrize("arguments", [["--threads", "0"], ["--threads", "x"], ["--max-frames", "-1"]])
def test_bad_numbers(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["identify", "--bundle", "b", "--gallery", "g", "--source", "s", *arguments])
    assert stopped.value.code == 2
    assert "whole number of at least 1" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["enroll", "identify", "bench", "selftest"])
def test_help_has_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([command, "--help"])
    assert stopped.value.code == 0
    assert f"facette-run {command} --bundle" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"facette-run {__version__}\n"


def test_interrupt_and_closed_pipe(bundle_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("facette_runtime.selftest.self_test", interrupt)
    assert main(["selftest", "--bundle", str(bundle_path)]) == 130
    command = f"{sys.executable} -m facette_runtime selftest --bundle {bundle_path} | true"
    run = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True, timeout=60)
    assert (run.returncode, run.stderr) == (0, "")
