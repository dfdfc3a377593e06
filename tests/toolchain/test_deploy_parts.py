"""The parts of a deployment that need no device: addresses, the pre-flight's verdicts, the wheel, and the device's half."""

from __future__ import annotations

import ast
import base64
import ensurepip
import hashlib
import io
import json
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from facette.deploy.address import SshOptions, explain, parse_address, ssh_command
from facette.deploy.device.channel import Channel, DeviceError
from facette.deploy.device.environments import make_environment
from facette.deploy.device.layout import Layout
from facette.deploy.environment import fetch_wheels, needed_environment, wheel_platforms
from facette.deploy.facts import Facts, State
from facette.deploy.preflight import Check, Needs, preflight
from facette.deploy.program import program_text, remote_command
from facette.deploy.runtime_wheel import RuntimePackage, runtime_package, write_runtime_wheel
from facette.target import load_target
from facette_runtime import __version__
from facette_runtime.errors import FacetteError
from facette_runtime.manifest import TargetFacts
from tests.runtime import bundles

DEVICE = Path(__file__).parents[2] / "toolchain" / "facette" / "deploy" / "device"

PI = Facts(
    host="pi",
    model="Raspberry Pi 5",
    architecture="aarch64",
    bits=64,
    cpu_features=("asimd", "asimddp"),
    system="Debian GNU/Linux 12 (bookworm)",
    glibc="2.36",
    python="3.11.2",
    executable="/usr/bin/python3",
    modules=("venv",),
    memory_mb=8000.0,
    memory_available_mb=7000.0,
    disk_free_mb=20_000.0,
    writable=True,
    l4t=None,
    jetpack=None,
    cuda=None,
    tensorrt=None,
)
ORIN = replace(PI, python="3.10.12", glibc="2.35", l4t="36.4.3", jetpack="6.2", cuda="12.6.68", tensorrt="10.3.0.30-1+cuda12.5")
NOTHING = State("/home/pi/facette", (), None, None)


def needs(facts: Facts, engine: str = "litert", own_python: bool = False) -> Needs:
    """Of a bundle for a Pi 5 or, for TensorRT, an Orin."""
    target = TargetFacts("raspberry-pi-5", "aarch64", ("asimd", "asimddp"))
    manifest = bundles.manifest(bundles.bundle_files())
    detector, embedder = (replace(entry, engine=engine) for entry in (manifest.detector, manifest.embedder))
    manifest = replace(manifest, target=target, detector=detector, embedder=embedder)
    package = runtime_package()
    environment = None if own_python else needed_environment(frozenset({engine}), facts, package)
    gpu = load_target("jetson-orin-nano").gpu if engine == "tensorrt" else None
    return Needs(manifest, 5.0, package.requires_python, environment, False, gpu)


def verdicts(facts: Facts, **how: object) -> dict[str, Check]:
    return {check.name: check for check in preflight(needs(facts, **how), facts, NOTHING)}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "login", "port"),
    [
        ("raspberrypi", "raspberrypi", None),
        ("pi@10.0.0.7", "pi@10.0.0.7", None),
        ("pi@raspberrypi.local:2222", "pi@raspberrypi.local", 2222),
        ("pi@[fe80::1%eth0]:22", "pi@fe80::1%eth0", 22),
        ("[::1]", "::1", None),
    ],
)
def test_address(text: str, login: str, port: int | None) -> None:
    address = parse_address(text)
    assert (address.login, address.port) == (login, port)
    assert ssh_command(address, SshOptions(), "true")[-3:] == ["--", login, "true"]


@pytest.mark.parametrize(
    "text", ["", "pi@", "pi@host:", "pi@host:0", "pi@host:70000", "a b", "-oX", "pi@-oX", "fe80::1", "pi@host/x"]
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(FacetteError, match="is no address of a device"):
        parse_address(text)


def test_a_changed_host_key_is_told_apart_from_an_unknown_one() -> None:
    said = "@@@@\n@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\n@@@@\nHost key verification failed.\n"
    line = explain(parse_address("pi@10.0.0.7:2222"), said)
    assert "ssh-keygen -R '[10.0.0.7]:2222'" in line
    assert "\n" not in line


def test_preflight_of_a_fitting_device() -> None:
    checks = verdicts(PI)
    assert list(checks) == ["architecture", "CPU features", "Python", "libraries", "glibc", "memory", "disk", "folder"]
    assert {check.verdict for check in checks.values()} == {"ok"}


@pytest.mark.parametrize(
    ("change", "name", "found"),
    [
        ({"architecture": "x86_64"}, "architecture", "x86_64"),
        ({"architecture": "aarch64", "bits": 32}, "architecture", "aarch64, but a 32-bit system"),
        ({"cpu_features": ("asimd",)}, "CPU features", "without asimddp"),
        ({"python": "3.9.2"}, "Python", "3.9.2 (/usr/bin/python3)"),
        ({"modules": ()}, "libraries", "no venv to install them into (apt install python3-venv)"),
        ({"glibc": "2.26"}, "glibc", "2.26 (Debian GNU/Linux 12 (bookworm))"),
        ({"glibc": None}, "glibc", "no glibc (Debian GNU/Linux 12 (bookworm))"),
        ({"memory_available_mb": 60.0}, "memory", "60 MB free of 8000 MB"),
        ({"disk_free_mb": 300.0}, "disk", "300 MB free"),
        ({"writable": False}, "folder", "/home/pi/facette can't"),
    ],
)
def test_preflight_refuses(change: dict[str, object], name: str, found: str) -> None:
    checks = verdicts(replace(PI, **change))  # type: ignore[arg-type]
    assert [check.name for check in checks.values() if check.verdict == "refused"] == [name]
    assert checks[name].found == found


def test_what_the_device_does_not_tell_is_no_obstacle() -> None:
    assert verdicts(replace(PI, cpu_features=None))["CPU features"].verdict == "note"
    assert verdicts(replace(PI, memory_available_mb=None))["memory"].verdict == "ok"


def test_a_python_of_the_users_own_must_have_the_engine() -> None:
    checks = verdicts(replace(PI, modules=("numpy", "cv2")), own_python=True)
    assert (checks["libraries"].found, checks["libraries"].verdict) == ("no litert", "refused")
    checks = verdicts(replace(PI, modules=("numpy", "cv2", "tflite_runtime.interpreter")), own_python=True)
    assert checks["libraries"].verdict == "ok"
    assert "glibc" not in checks, "nothing is installed"


def test_tensorrt_is_jetpacks_own() -> None:
    environment = needed_environment(frozenset({"tensorrt"}), ORIN, runtime_package())
    names = [requirement.split(">")[0].split("=")[0] for requirement in environment.requirements]
    assert "tensorrt" not in names
    assert "cuda-python==12.*" in environment.requirements
    assert "onnxruntime" in names, "the engine falls back to it"
    assert environment.system_packages
    assert verdicts(ORIN, engine="tensorrt")["JetPack"].verdict == "ok"


def test_jetson_without_tensorrt_falls_back_and_says_so() -> None:
    bare = replace(ORIN, tensorrt=None)
    environment = needed_environment(frozenset({"tensorrt"}), bare, runtime_package())
    assert not environment.system_packages
    assert not any("cuda" in requirement for requirement in environment.requirements)
    check = verdicts(bare, engine="tensorrt")["JetPack"]
    assert (check.verdict, check.found) == ("note", "no TensorRT: the networks will run on ONNX Runtime")
    assert verdicts(replace(ORIN, l4t="35.4.1"), engine="tensorrt")["JetPack"].verdict == "note"


def test_environments_differ_by_what_they_hold_and_by_python() -> None:
    package = runtime_package()
    keys = {needed_environment(frozenset({engine}), PI, package).key for engine in ("litert", "onnxruntime", "null")}
    keys.add(needed_environment(frozenset({"litert"}), replace(PI, python="3.13.1"), package).key)
    assert len(keys) == 4
    assert needed_environment(frozenset({"litert"}), replace(PI, python="3.11.9"), package).key in keys


def test_requirements_by_engine_and_device() -> None:
    package = RuntimePackage(
        "1.0", ">=3.10", ("numpy", 'tomli; python_version < "3.11"', 'litert; sys_platform == "linux" and extra == "litert"')
    )
    assert package.requirements_for(frozenset({"litert"}), "3.11.2", "aarch64") == ["litert", "numpy"]
    assert package.requirements_for(frozenset({"null"}), "3.10.12", "aarch64") == ["numpy", "tomli"]


def test_wheel_platforms_reach_from_the_devices_glibc_down() -> None:
    tags = wheel_platforms(PI)
    assert tags[0] == "manylinux_2_36_aarch64"
    assert set(load_target("raspberry-pi-5").wheel_tags) <= set(tags)


def test_wheels_that_are_not_there_are_named_with_the_device(tmp_path: Path) -> None:
    expected = r"no wheels for aarch64, Python 3.11.2, glibc 2.36 from .*: .*numpy>=1.24"
    with pytest.raises(FacetteError, match=expected):
        fetch_wheels(["numpy>=1.24"], PI, tmp_path, tmp_path / "fetched")


def test_the_wheel_is_the_same_every_time_and_says_what_is_in_it(tmp_path: Path) -> None:
    package = runtime_package()
    first, second = (write_runtime_wheel(tmp_path / name, package) for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()
    with zipfile.ZipFile(first) as wheel:
        files = {name: wheel.read(name) for name in wheel.namelist()}
    info = f"facette_runtime-{__version__}.dist-info"
    metadata = files[f"{info}/METADATA"].decode().splitlines()
    assert f"Version: {__version__}" in metadata
    assert "Provides-Extra: litert" in metadata
    assert any(line.startswith("Requires-Dist: numpy") for line in metadata)
    recorded = dict(line.split(",", 1) for line in files.pop(f"{info}/RECORD").decode().splitlines()[:-1])
    assert recorded == {
        name: f"sha256={base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip('=')},{len(data)}"
        for name, data in files.items()
    }
    assert "facette_runtime/engines/litert.py" in files


@pytest.mark.parametrize("path", sorted(DEVICE.glob("*.py")), ids=lambda path: path.name)
def test_the_devices_half_parses_on_old_pythons_and_needs_nothing(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 6))
    modules = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    modules |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert "__future__" not in modules, "annotations from the future came with 3.7"
    assert {name for name in modules if name.partition(".")[0] not in sys.stdlib_module_names} <= {
        f"facette.deploy.device{name}" for name in ("", ".channel", ".layout", ".probe")
    }


def test_the_program_is_one_text_and_its_command_safe_in_any_shell() -> None:
    ast.parse(program_text("it's"))
    command = remote_command(None, 1000)
    assert command.startswith("exec sh -c '")
    assert command.count("'") == 2
    with pytest.raises(FacetteError, match="without blanks"):
        remote_command("/opt/my python", 1000)


def test_an_environment_from_carried_wheels_alone(tmp_path: Path) -> None:
    pip = sorted((Path(ensurepip.__file__).parent / "_bundled").glob("pip-*.whl"))
    if not pip:
        pytest.skip("this Python's ensurepip brings no wheel of pip")
    root = Layout(str(tmp_path / "facette"))
    for folder in (root.releases, root.envs, root.uploads):
        folder.mkdir(parents=True)
    wheel = write_runtime_wheel(tmp_path, replace(runtime_package(), requirements=()))
    wheels = []
    for path in (pip[0], wheel):
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        (root.uploads / sha256).write_bytes(path.read_bytes())
        wheels.append((sha256, path.name))
    told = io.BytesIO()
    channel = Channel(io.BytesIO(), told)
    versions = make_environment(root, channel, "key", ["facette-runtime"], wheels, offline=True, system_packages=False)

    assert versions == {"facette-runtime": __version__}
    assert root.environments() == ["key"]
    assert any("Successfully installed" in json.loads(line)["tell"] for line in told.getvalue().splitlines())


def test_a_half_made_environment_is_not_left(tmp_path: Path) -> None:
    root = Layout(str(tmp_path / "facette"))
    root.uploads.mkdir(parents=True)
    (root.uploads / "0").write_bytes(b"no zip")
    channel = Channel(io.BytesIO(), io.BytesIO())
    with pytest.raises(DeviceError, match="pip failed: "):
        make_environment(root, channel, "key", ["numpy"], [("0", "pip-1-py3-none-any.whl")], offline=True, system_packages=False)
    assert root.environments() == []
    assert not (root.envs / "key").exists()
