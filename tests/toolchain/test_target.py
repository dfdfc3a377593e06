"""Every target file follows the schema and hangs together."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from facette.cli import main
from facette.export import ENGINES
from facette.passes.lower import FORMS
from facette.target import FOLDER, load_target, target_names
from facette_runtime.engines import ENGINES as RUNTIME_ENGINES
from facette_runtime.errors import FacetteError
from facette_runtime.target import canonical_architecture

PROMISED = {
    "x86-cpu",
    "raspberry-pi-zero-2-w",
    "raspberry-pi-3",
    "raspberry-pi-4",
    "raspberry-pi-5",
    "jetson-nano",
    "jetson-xavier-nx",
    "jetson-orin-nano",
    "jetson-agx-orin",
}


def test_all_promised_targets_are_there() -> None:
    assert set(target_names()) >= PROMISED


@pytest.mark.parametrize("name", target_names())
def test_every_target_is_readable_and_says_what_exists(name: str) -> None:
    target = load_target(name)
    assert target.name == name
    assert target.cores >= 1
    assert target.memory_mb >= 256
    assert 1 <= target.threads <= target.cores
    assert target.sources
    assert canonical_architecture(target.architecture) == target.architecture
    for engine in target.engines:
        assert engine.name in ENGINES
        assert engine.name in RUNTIME_ENGINES
        assert engine.precisions
        assert len(set(engine.precisions)) == len(engine.precisions)
        assert set(engine.forms) <= {"stock", *FORMS}
        assert "stock" in engine.forms


@pytest.mark.parametrize("name", target_names())
def test_every_targets_wheels_fit_its_system(name: str) -> None:
    target = load_target(name)
    assert all(tag.endswith("_" + target.architecture) for tag in target.wheel_tags)
    if target.glibc is not None:
        newest = tuple(map(int, target.glibc.split(".")))
        tags = [re.match(r"manylinux_(\d+)_(\d+)_", tag) for tag in target.wheel_tags]
        versions = [(int(tag[1]), int(tag[2])) for tag in tags if tag is not None]
        assert versions == sorted(versions, reverse=True)
        assert versions[0] <= newest
    if target.device_python is not None:
        assert tuple(map(int, target.device_python.split("."))) >= (3, 10), "facette-runtime needs Python 3.10"
        assert target.python.startswith(target.device_python)


@pytest.mark.parametrize("name", target_names())
def test_a_gpus_engine_needs_a_gpu_and_the_cpu_can_stand_in(name: str) -> None:
    target = load_target(name)
    engines = [engine.name for engine in target.engines]
    if "tensorrt" in engines:
        assert target.gpu is not None
        assert "onnxruntime" in engines
    if target.gpu is not None:
        assert 50 <= target.gpu.sm < 200
        assert target.gpu.sm not in target.gpu.stand_in_sms


def test_int8_is_offered_on_every_board_and_never_first_where_nothing_can_be_measured() -> None:
    for name in sorted(PROMISED - {"x86-cpu"}):
        target = load_target(name)
        # JetPack 5's TensorRT may not parse int8 beside half precision, and nobody has tried.
        tried = [engine for engine in target.engines if (name, engine.name) != ("jetson-xavier-nx", "tensorrt")]
        assert all("int8" in engine.precisions for engine in tried), name
        assert all(engine.precisions[0] != "int8" for engine in target.engines), name


def test_a_pi_4_is_not_taken_for_a_pi_5() -> None:
    old, new = (set(load_target(f"raspberry-pi-{number}").cpu_features) for number in (4, 5))
    assert {"asimddp", "asimdhp", "fphp"} <= new - old


def test_the_jetson_nano_says_why_it_has_no_tensorrt() -> None:
    target = load_target("jetson-nano")
    assert "tensorrt" not in {engine.name for engine in target.engines}
    assert "TensorRT is not offered" in target.remark
    assert "3.10" in target.remark


def test_unknown_target_lists_the_known_ones() -> None:
    with pytest.raises(FacetteError, match=r"unknown target 'toaster'; known targets: .*raspberry-pi-5, .*x86-cpu"):
        load_target("toaster")


def test_a_users_own_target_by_path(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "board.toml"
    path.write_text((FOLDER / "raspberry-pi-5.toml").read_text().replace("threads = 4", "threads = 3"))
    assert (load_target(str(path)).name, load_target(str(path)).threads) == ("board", 3)
    assert main(["targets", str(path)]) == 0
    assert capsys.readouterr().out.startswith("target         board\n")


def test_a_misspelt_key_lists_the_known_ones(tmp_path: Path) -> None:
    path = tmp_path / "board.toml"
    path.write_text("achitecture = 'x86_64'\n" + (FOLDER / "x86-cpu.toml").read_text())
    with pytest.raises(FacetteError, match=r"unknown key 'achitecture'; known keys: .*architecture"):
        load_target(str(path))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("sm = 87", "sm = '8.7'", r"gpu\.sm: expected int, got str"),
        ('precisions = ["fp16"', 'precisions = ["fp17"', r"'fp17' is not one of fp32, fp16"),
        ("memory_mb = 4096", "memory_mb = 8192", r"memory_mb must be the smallest of memory_variants_mb, but got 8192"),
    ],
)
def test_wrong_values_are_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = (FOLDER / "jetson-orin-nano.toml").read_text()
    assert old in text
    path = tmp_path / "board.toml"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(FacetteError, match=message):
        load_target(str(path))


def test_the_list_and_one_whole(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["targets"]) == 0
    lines = capsys.readouterr().out.splitlines()
    (orin,) = (line for line in lines if line.startswith("jetson-orin-nano "))
    assert "6× Arm Cortex-A78AE" in orin
    assert "4/8 GB" in orin
    assert "SM 8.7" in orin
    assert "tensorrt (fp16/int8/fp32), litert" in orin
    assert main(["targets", "jetson-orin-nano"]) == 0
    whole = capsys.readouterr().out
    assert "JetPack 6.2 (Jetson Linux 36.4.3), TensorRT 10.3.0, CUDA 12.6" in whole
    assert "https://developer.nvidia.com/embedded/jetpack-sdk-62" in whole
    assert main(["targets", "--json", "-"]) == 0
    assert {entry["name"] for entry in json.loads(capsys.readouterr().out)} == set(target_names())
    assert main(["targets", "raspberry-pi-4", "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["memory_variants_mb"] == [1024, 2048, 4096, 8192]
