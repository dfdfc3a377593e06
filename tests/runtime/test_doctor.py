"""First aid on machines that are folders: a Raspberry Pi 5 and a Jetson, as their kernels present them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from facette_runtime import device as device_module
from facette_runtime.bundle import Bundle
from facette_runtime.cli import main
from facette_runtime.device import Camera, Device, Jetson, inspect_device
from facette_runtime.doctor import Diagnosis, diagnose
from facette_runtime.doctor_table import to_table
from facette_runtime.manifest import TargetFacts
from tests.runtime import bundles

PI_FEATURES = "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"
PI = {
    "proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0",
    "proc/device-tree/compatible": "raspberrypi,5-model-b\0brcm,bcm2712\0",
    "proc/cpuinfo": f"processor\t: 0\nBogoMIPS\t: 108.00\nFeatures\t: {PI_FEATURES}\n\nModel\t\t: Raspberry Pi 5\n",
    "proc/meminfo": "MemTotal:        8388608 kB\nMemFree:   1 kB\nMemAvailable:    4194304 kB\n",
    "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq": "2400000\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "ondemand\n",
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
    "sys/class/thermal/thermal_zone0/temp": "51250\n",
    "sys/devices/platform/soc/soc:firmware/get_throttled": "0\n",
    "sys/class/video4linux/video0/name": "HD Webcam: HD Webcam\n",
    "sys/class/video4linux/video10/name": "rp1-cfe-csi2_ch0\n",
    "dev/video0": "",
    "dev/video10": "",
    "etc/os-release": 'NAME="Debian GNU/Linux"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
}
JETSON = {
    "proc/device-tree/model": "NVIDIA Jetson Orin Nano Developer Kit\0",
    "proc/device-tree/compatible": "nvidia,p3768-0000+p3767-0003\0nvidia,p3767-0003\0nvidia,tegra234\0",
    "proc/cpuinfo": f"processor\t: 0\nFeatures\t: {PI_FEATURES} flagm\n",
    "proc/meminfo": "MemTotal:        7802456 kB\nMemAvailable:    5213000 kB\n",
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
    "sys/class/thermal/thermal_zone0/temp": "47812\n",
    "etc/os-release": 'PRETTY_NAME="Ubuntu 22.04.5 LTS"\n',
    "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64\n",
    "var/lib/nvpmodel/status": "pmode:0002 fmode:quiet\n",
    "var/lib/dpkg/status": (
        "Package: nvidia-jetpack\nStatus: install ok installed\nVersion: 6.2+b77\nDescription: NVIDIA Jetpack\n goes on: here\n\n"
        "Package: libnvinfer10\nStatus: install ok installed\nVersion: 10.3.0.30-1+cuda12.5\n\n"
        "Package: libnvinfer8\nStatus: deinstall ok config-files\nVersion: 8.6.2-1\n\n"
        "Package: cuda-cudart-12-6\nStatus: install ok installed\nVersion: 12.6.68-1\n"
    ),
}


def make_root(folder: Path, files: dict[str, str]) -> Path:
    """A machine's files below a folder."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


@pytest.fixture
def pi(tmp_path: Path) -> Device:
    """A Pi 5 in good health with LiteRT only, whatever this machine is."""
    found = inspect_device(tmp_path, make_root(tmp_path / "pi", PI))
    machine = replace(found.machine, cores=4, python="3.11.2", architecture="aarch64")
    libraries = {"numpy": "2.4.6", "opencv-python-headless": "5.0.0.93"}
    return replace(
        found, machine=machine, architecture="aarch64", engines={"litert": "2.3.0"}, libraries=libraries, disk_free_mb=5000.0
    )


def pi_bundle(folder: Path, engine: str = "litert", features: tuple[str, ...] = ("asimddp", "fphp")) -> Bundle:
    """A bundle for a Pi 5; its networks are never loaded."""
    return make_bundle(folder, TargetFacts("raspberry-pi-5", "arm64", features), engine=engine, threads=4)


def make_bundle(folder: Path, target: TargetFacts, **changes: object) -> Bundle:
    """A bundle whose networks are never loaded; ``changes`` are of both entries."""
    entries = {"detector": bundles.DETECTOR, "embedder": bundles.EMBEDDER}
    path = bundles.write_bundle(
        folder / "some.facette", target=target, **{role: replace(entry, **changes) for role, entry in entries.items()}
    )
    return Bundle.open(path, check_target=False)


def verdicts(diagnosis: Diagnosis) -> dict[str, str]:
    """What is not in order."""
    return {check.what: check.verdict for check in diagnosis.checks if check.verdict != "ok"}


def test_a_pi_tells_everything(pi: Device) -> None:
    assert pi.machine.model == "Raspberry Pi 5 Model B Rev 1.0"
    assert pi.soc == "brcm,bcm2712"
    assert pi.cpu_features is not None
    assert set(pi.cpu_features) == set(PI_FEATURES.split())
    assert (pi.clock_mhz, pi.governor) == (2400, "ondemand")
    assert (pi.machine.memory_mb, pi.memory_free_mb) == (8192, 4096)
    assert (pi.temperature_c, pi.throttling) == (51.25, ())
    assert pi.cameras == (Camera("/dev/video0", "HD Webcam: HD Webcam"), Camera("/dev/video10", "rp1-cfe-csi2_ch0"))
    assert pi.system == "Debian GNU/Linux 12 (bookworm)"
    assert pi.jetson is None


def test_a_jetson_tells_its_releases(tmp_path: Path) -> None:
    found = inspect_device(tmp_path, make_root(tmp_path / "jetson", JETSON))
    assert found.machine.model == "NVIDIA Jetson Orin Nano Developer Kit"
    assert found.soc == "nvidia,tegra234"
    assert found.jetson == Jetson("36.4.3", "6.2", "10.3.0.30", "12.6.68", "2")
    table = to_table(diagnose(found))
    assert "JetPack 6.2, Jetson Linux 36.4.3, TensorRT 10.3.0.30, CUDA 12.6.68" in table


def test_an_empty_machine_is_unknown_not_invented(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = inspect_device(tmp_path, tmp_path / "nothing")
    unknown = (found.machine.model, found.soc, found.cpu_features, found.clock_mhz, found.memory_free_mb, found.temperature_c)
    assert unknown == (None,) * 6
    assert (found.throttling, found.cameras, found.system, found.jetson) == (None, (), None, None)


def test_tensorrt_counts_only_where_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(device_module, "installed_engines", lambda: ("onnxruntime", "tensorrt", "null"))
    monkeypatch.setattr(device_module, "find_spec", lambda name: None)
    assert list(inspect_device(tmp_path).engines) == ["onnxruntime"]


def test_a_fit_pi(pi: Device, tmp_path: Path) -> None:
    bundle = pi_bundle(tmp_path)
    diagnosis = diagnose(pi, bundle)
    assert diagnosis.fit
    assert verdicts(diagnosis) == {}
    assert to_table(diagnosis).splitlines()[-1] == f"fit; next: facette-run selftest --bundle {bundle.path}"


def test_another_architecture_is_missing_and_features_are_not_asked(pi: Device, tmp_path: Path) -> None:
    diagnosis = diagnose(replace(pi, architecture="armv7l"), pi_bundle(tmp_path))
    assert verdicts(diagnosis) == {"architecture": "missing"}
    assert "NOT FIT: 1 thing missing" in to_table(diagnosis)


def test_lacking_features_are_named(pi: Device, tmp_path: Path) -> None:
    diagnosis = diagnose(replace(pi, cpu_features=("asimd", "crc32", "fp")), pi_bundle(tmp_path))
    assert verdicts(diagnosis) == {"CPU features": "missing"}
    assert "no asimddp, fphp" in to_table(diagnosis)
    assert verdicts(diagnose(replace(pi, cpu_features=None), pi_bundle(tmp_path))) == {"CPU features": "unknown"}


def test_a_missing_engine_comes_with_its_remedy(pi: Device, tmp_path: Path) -> None:
    diagnosis = diagnose(pi, pi_bundle(tmp_path, engine="onnxruntime"))
    assert verdicts(diagnosis) == {"engine of the detector": "missing", "engine of the embedder": "missing"}
    assert "pip install 'facette-runtime[onnxruntime]'" in to_table(diagnosis)


def test_tensorrts_stand_in_is_a_warning(pi: Device, tmp_path: Path) -> None:
    bundle = pi_bundle(tmp_path, engine="tensorrt")
    with_stand_in = diagnose(replace(pi, engines={"onnxruntime": "1.23.2"}), bundle)
    assert with_stand_in.fit
    assert verdicts(with_stand_in) == {"engine of the detector": "warning", "engine of the embedder": "warning"}
    assert not diagnose(pi, bundle).fit


@pytest.mark.parametrize(
    ("features", "verdict"), [(("avx2",), "warning"), (("avx2", "avx_vnni"), "ok"), (("sse4_2",), "ok"), (None, "unknown")]
)
def test_int8_is_doubted_where_it_overflows(pi: Device, tmp_path: Path, features: tuple[str, ...] | None, verdict: str) -> None:
    device = replace(pi, architecture="x86_64", cpu_features=features)
    bundle = make_bundle(tmp_path, TargetFacts("x86-cpu", "x86_64", ()), engine="litert", precision="int8")
    diagnosis = diagnose(device, bundle)
    assert {check.verdict for check in diagnosis.checks if check.what.startswith("int8 of the")} == {verdict}
    assert diagnosis.fit
    assert "selftest tells" not in to_table(diagnosis).split("fit;")[0]


@pytest.mark.parametrize("features", [("asimddp",), None])
def test_int8_on_arm_is_not_asked_about(pi: Device, tmp_path: Path, features: tuple[str, ...] | None) -> None:
    bundle = make_bundle(tmp_path, TargetFacts("raspberry-pi-5", "arm64", ()), engine="litert", precision="int8")
    diagnosis = diagnose(replace(pi, cpu_features=features), bundle)
    assert not [check for check in diagnosis.checks if check.what.startswith("int8")]


def test_openvinos_int8_may_be_wrong_where_it_overflows(pi: Device, tmp_path: Path) -> None:
    device = replace(pi, architecture="x86_64", cpu_features=("avx2",), engines={"openvino": "2026.1"})
    bundle = make_bundle(tmp_path, TargetFacts("x86-cpu", "x86_64", ()), engine="openvino", precision="int8")
    assert "OpenVINO's may be wrong, which facette-run selftest tells" in to_table(diagnose(device, bundle))


@pytest.mark.parametrize(
    ("change", "what", "words"),
    [
        ({"temperature_c": 84.0}, "temperature", "cool it"),
        ({"throttling": ("under-voltage has occurred",)}, "throttling", "power supply"),
        ({"throttling": ("throttled now",)}, "throttling", "cool it"),
        ({"governor": "powersave"}, "clock governor", "lowest clock"),
        ({"memory_free_mb": 60.0}, "free memory", "stop what else runs"),
        ({"disk_free_mb": 0.001}, "free disk", "make room"),
    ],
)
def test_ill_health_is_a_warning_with_advice(pi: Device, tmp_path: Path, change: dict[str, object], what: str, words: str) -> None:
    diagnosis = diagnose(replace(pi, **change), pi_bundle(tmp_path))
    assert verdicts(diagnosis) == {what: "warning"}
    assert diagnosis.fit
    assert words in to_table(diagnosis)


def test_an_old_python_and_no_engine_are_missing_even_without_a_bundle(pi: Device) -> None:
    old = replace(pi, machine=replace(pi.machine, python="3.6.9"), engines={})
    assert verdicts(diagnose(old)) == {"Python": "missing", "engines": "missing"}


def test_fewer_cores_than_threads(pi: Device, tmp_path: Path) -> None:
    diagnosis = diagnose(replace(pi, machine=replace(pi.machine, cores=1)), pi_bundle(tmp_path))
    assert verdicts(diagnosis) == {"cores": "warning"}
    assert "--threads 1" in to_table(diagnosis)


def test_the_command_and_its_statuses(tmp_path: Path, bundle_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", str(bundle_path), "--json", str(tmp_path / "doctor.json")]) == 0
    assert "engine of the detector" in capsys.readouterr().out
    told = json.loads((tmp_path / "doctor.json").read_text())
    assert (told["fit"], told["target"]) == (True, "this-machine")
    wrong = bundles.write_bundle(tmp_path / "wrong", target=TargetFacts("toaster", "sparc", ()))
    assert main(["doctor", "--bundle", str(wrong), "--json", "-"]) == 1
    checks = {check["what"]: check["verdict"] for check in json.loads(capsys.readouterr().out)["checks"]}
    assert checks["architecture"] == "missing"
    (tmp_path / "broken").write_bytes(b"no zip")
    assert main(["doctor", str(tmp_path / "broken")]) == 2
    assert capsys.readouterr().err.startswith("facette-run: error: ")
