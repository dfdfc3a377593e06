"""The libraries that a bundle needs on a device, and where they come from."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement

from facette.deploy.facts import Facts
from facette.deploy.runtime_wheel import RuntimePackage
from facette_runtime.errors import FacetteError

_JETPACKS_OWN = frozenset({"tensorrt", "cuda-python"})


@dataclass(frozen=True, slots=True)
class Environment:
    """A virtual environment as it should be on the device.

    Attributes:
        key: its name: the same needs on the same Python give the same one.
        requirements: for pip.
        system_packages: whether the system's Python packages can be imported too.
    """

    key: str
    requirements: tuple[str, ...]
    system_packages: bool


def needed_environment(engines: frozenset[str], facts: Facts, package: RuntimePackage) -> Environment:
    """What these engines need there.

    TensorRT is part of JetPack and can't be installed by pip on a Jetson: its own is used, with the bindings for its CUDA. ONNX
    Runtime comes along, because the TensorRT engine falls back to it.
    """
    extras = engines | {"onnxruntime"} if "tensorrt" in engines else engines
    requirements = package.requirements_for(extras, facts.python, facts.architecture)
    system_packages = False
    if "tensorrt" in engines and facts.l4t is not None:
        requirements = [text for text in requirements if Requirement(text).name not in _JETPACKS_OWN]
        if facts.tensorrt is not None and facts.cuda is not None:
            requirements.append(f"cuda-python=={facts.cuda.partition('.')[0]}.*")
            system_packages = True
    python = ".".join(facts.python.split(".")[:2])
    content = "\n".join([facts.executable, *requirements, str(system_packages)])
    key = f"py{python}-{hashlib.sha256(content.encode()).hexdigest()[:12]}"
    return Environment(key, tuple(requirements), system_packages)


def fetch_wheels(requirements: Sequence[str], facts: Facts, source: Path | None, folder: Path) -> list[Path]:
    """Fetches wheels for the device's processor, C library and Python, with all that they need, into ``folder``.

    Args:
        requirements: for pip.
        facts: of the device.
        source: a folder of wheels to take them from; None for pip's index.
        folder: where they are put.

    Raises:
        FacetteError: there are no such wheels, or this Python has no pip.
    """
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input", "--prefer-binary"]
    command += ["--dest", str(folder), "--only-binary", ":all:", "--implementation", "cp"]
    command += ["--python-version", ".".join(facts.python.split(".")[:2])]
    for tag in wheel_platforms(facts):
        command += ["--platform", tag]
    if source is not None:
        command += ["--no-index", "--find-links", str(source)]
    done = subprocess.run([*command, *requirements], capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or done.stderr.strip().splitlines()
        where = source or "pip's index"
        raise FacetteError(
            f"no wheels for {facts.architecture}, Python {facts.python}, glibc {facts.glibc} from {where}:"
            f" {(lines or ['pip gave no reason'])[-1].removeprefix('ERROR: ')}"
        )
    return sorted(folder.glob("*.whl"))


def wheel_platforms(facts: Facts) -> list[str]:
    """Platform tags of the wheels that install there, newest first (PEP 600: a wheel for an older glibc runs on a newer one)."""
    _, _, minor = (facts.glibc or "2.17").partition(".")
    tags = [f"manylinux_2_{version}_{facts.architecture}" for version in range(int(minor), 16, -1)]
    return [*tags, f"manylinux2014_{facts.architecture}", f"linux_{facts.architecture}"]
