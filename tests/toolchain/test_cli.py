"""The workstation's commands as a person runs them: results, and one line for every mistake."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from facette.cli import main
from facette.compile_report import read_compile_report
from facette.target import FOLDER
from facette.tensorrt_host.libraries import missing
from facette.tensorrt_host.result import HostBuild
from facette_runtime.bundle import Bundle
from facette_runtime.errors import BundleError
from facette_runtime.types import Image


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACETTE_CACHE", str(tmp_path_factory.getbasetemp() / "cli-cache"))
    monkeypatch.delenv("FACETTE_DATA", raising=False)
    monkeypatch.delenv("FACETTE_WEIGHTS", raising=False)


@pytest.fixture
def photos(tmp_path: Path, picture: Image) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    cv2.imwrite(str(folder / "one.png"), picture)
    cv2.imwrite(str(folder / "two.png"), np.ascontiguousarray(picture[:, ::-1]))
    return folder


@pytest.fixture
def compiled(tiny_recipe_path: Path, photos: Path, tmp_path: Path) -> Path:
    output = tmp_path / "tiny.facette"
    assert main(_compile(tiny_recipe_path, photos, output)) == 0
    return output


def _compile(recipe: Path, photos: Path, output: Path, *more: str) -> list[str]:
    command = ["compile", "--target", "x86-cpu", "--recipe", str(recipe), "--photos", str(photos), "--engine", "onnxruntime"]
    return [*command, "--output", str(output), *more]


def test_compile_writes_a_bundle_that_holds_what_it_says(compiled: Path) -> None:
    manifest = Bundle.open(compiled).manifest
    assert (manifest.name, manifest.target.name) == ("tiny", "x86-cpu")
    assert (manifest.match.threshold, manifest.match.source) == (0.4, "the recipe")
    assert manifest.detector.engine == manifest.embedder.engine == "onnxruntime"
    assert manifest.embedder.parity["embedding"].cosine > 0.999999
    assert manifest.embedder.latency_ms is not None
    assert [Path(face.image).name for face in manifest.golden.faces] == ["1-one-image.png", "2-two-image.png"]


def test_a_second_compile_makes_nothing_anew(
    compiled: Path, tiny_recipe_path: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert main(_compile(tiny_recipe_path, photos, compiled, "--json", "-")) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["cache_misses"] == 0
    assert report["cache_hits"] >= 5


def test_explain_names_every_candidate(
    tiny_recipe_path: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(_compile(tiny_recipe_path, photos, tmp_path / "t.facette", "--explain")) == 0
    printed = capsys.readouterr().out
    for word in ("dw2", "relu", "max", "stock", "shipped", "× stock"):
        assert word in printed


def test_inspect_shows_every_part(compiled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(compiled)]) == 0
    printed = capsys.readouterr().out
    for word in ("match threshold", "0.4000", "parity embedding", "letterbox", "licences", "onnxruntime", "networks/detector.onnx"):
        assert word in printed
    assert main(["inspect", str(compiled), "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["match"]["threshold"] == 0.4


def test_another_machines_bundle_is_compiled_unmeasured_and_refused_here(
    tiny_recipe_path: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    board = tmp_path / "board.toml"
    board.write_text((FOLDER / "x86-cpu.toml").read_text().replace('architecture = "x86_64"', 'architecture = "riscv64"'))
    output = tmp_path / "board.facette"
    command = _compile(tiny_recipe_path, photos, output)
    command[command.index("x86-cpu")] = str(board)
    assert main(command) == 0
    assert "not measured here" in capsys.readouterr().out
    manifest = Bundle.open(output, check_target=False).manifest
    assert (manifest.embedder.form, manifest.embedder.latency_ms) == ("dw2", None)
    with pytest.raises(BundleError, match=r"is for target 'board' \(riscv64\), but this machine is"):
        Bundle.open(output)


def test_targets_lists_x86(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["targets"]) == 0
    assert "x86-cpu" in capsys.readouterr().out


MISTAKES = {
    "unknown target": (["compile", "--target", "toaster"], "unknown target 'toaster'; known targets: "),
    "unknown recipe": (["compile", "--target", "x86-cpu", "--recipe", "lunch"], "unknown recipe 'lunch'"),
    "no such bundle": (["inspect", "nothing.facette"], "nothing.facette does not exist"),
    "bundle is a folder": (["inspect", "."], ". is a directory"),
    "missing weights": (
        ["compile", "--target", "x86-cpu", "--recipe", "retinaface-mobilefacenet"],
        "'retinaface-mobilenet025.safetensors' not found",
    ),
    "weights folder": (["compile", "--target", "x86-cpu", "--weights", "/no/such"], "/no/such: no such folder"),
    "threads": (["compile", "--target", "x86-cpu", "--threads", "0"], "--threads must be at least 1, but got 0"),
    "data": (["evaluate", "x.facette"], "--lfw: missing"),
    "signing key": (["compile", "--target", "x86-cpu", "--sign", "no.pem"], "no.pem: no such file"),
    "engine": (["compile", "--target", "x86-cpu", "--engine", "abacus"], "nothing to compile facette-detect to"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line_and_status_2(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command, message = MISTAKES[name]
    monkeypatch.chdir(tmp_path)
    assert main(command) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert error.startswith("facette: error: ")
    assert len(error.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_weights_that_may_not_be_sold_are_refused(
    tiny_recipe_path: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "t.facette"
    assert main(_compile(tiny_recipe_path, photos, output, "--commercial")) == 2
    assert "--commercial: not allowed for weights: tests.toolchain.tiny:detector (unknown)" in capsys.readouterr().err
    assert not output.exists()


def test_a_signed_bundle_is_trusted_by_its_key_alone(tiny_recipe_path: Path, photos: Path, tmp_path: Path) -> None:
    keys = [Ed25519PrivateKey.generate() for _ in range(2)]
    secret = keys[0].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "key.pem").write_bytes(secret)
    output = tmp_path / "signed.facette"
    assert main(_compile(tiny_recipe_path, photos, output, "--sign", str(tmp_path / "key.pem"))) == 0
    trusted, other = (key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo) for key in keys)
    assert Bundle.open(output, trust=trusted).manifest.name == "tiny"
    with pytest.raises(BundleError, match="signature was not made with the key"):
        Bundle.open(output, trust=other)


def test_a_photo_folder_without_pictures(tiny_recipe_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert main(_compile(tiny_recipe_path, empty, tmp_path / "t.facette")) == 2
    assert "holds no pictures" in capsys.readouterr().err


def test_tensorrt_builds_a_jetsons_graph_on_the_host(tiny_recipe_path: Path, photos: Path, tmp_path: Path) -> None:
    if (reason := missing()) is not None:
        pytest.skip(reason)
    output = tmp_path / "jetson.facette"
    arguments = ["compile", "--target", "jetson-orin-nano", "--recipe", str(tiny_recipe_path), "--photos", str(photos)]
    assert main([*arguments, "--engine", "tensorrt", "--precision", "fp16", "--output", str(output)]) == 0
    report = read_compile_report(Bundle.open(output, check_target=False))
    assert report is not None
    for row in report.rows:
        assert isinstance(row.host_build, HostBuild)
        assert row.host_build.failure is None
        assert all(build.layers > 0 and build.plan_bytes > 0 for build in row.host_build.builds)


def test_a_search_compiles_what_fits_the_budget(
    tiny_recipe_path: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("optuna")
    output, front = tmp_path / "small.facette", tmp_path / "front.png"
    command = _compile(tiny_recipe_path, photos, output, "--precision", "fp32", "--trials", "2", "--plot", str(front))
    assert main([*command, "--budget", "cosine>=0.99 size<=1MB"]) == 0
    assert "best within the budget: onnxruntime fp32" in capsys.readouterr().out
    assert Bundle.open(output).manifest.embedder.precision == "fp32"
    assert front.read_bytes().startswith(b"\x89PNG")


def test_a_budget_that_nothing_fits_names_what_stands_in_the_way(
    tiny_recipe_path: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("optuna")
    output = tmp_path / "small.facette"
    command = _compile(tiny_recipe_path, photos, output, "--precision", "fp32", "--trials", "2", "--budget", "size<=1KB")
    assert main(command) == 2
    assert "nothing fits the budget" in capsys.readouterr().err
    assert not output.exists()
