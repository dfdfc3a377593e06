"""The runtime's wheel installs alone into an empty environment and works there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent / "runtime"


def _run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    # Without PYTHONPATH: what is tested is what the wheel brings.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=600, cwd=cwd, env=environment)


def test_wheel_installs_alone_and_runs_the_selftest(tmp_path: Path, bundle_path: Path) -> None:
    wheels = tmp_path / "wheels"
    built = _run(sys.executable, "-m", "pip", "wheel", "--no-deps", "-q", "-w", wheels, ROOT, cwd=tmp_path)
    if built.returncode:
        pytest.skip(f"pip cannot build a wheel here: {built.stderr.strip().splitlines()[-1]}")
    (wheel,) = wheels.glob("facette_runtime-*.whl")
    assert _run(sys.executable, "-m", "venv", tmp_path / "venv", cwd=tmp_path).returncode == 0
    binaries = tmp_path / "venv" / "bin"
    installed = _run(binaries / "pip", "install", "-q", wheel, cwd=tmp_path)
    if installed.returncode:
        pytest.skip(f"pip cannot fetch numpy and OpenCV here: {installed.stderr.strip().splitlines()[-1]}")
    listed = _run(binaries / "pip", "list", "--format=freeze", cwd=tmp_path).stdout
    assert {line.partition("==")[0] for line in listed.splitlines()} <= {
        "facette-runtime",
        "numpy",
        "opencv-python-headless",
        "pip",
        "setuptools",
    }
    tested = _run(binaries / "facette-run", "selftest", "--bundle", bundle_path, cwd=tmp_path)
    assert tested.returncode == 0, tested.stderr
    assert "selftest passed" in tested.stdout
