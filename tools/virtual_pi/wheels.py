"""facette-runtime and what it needs, as arm64 wheels: fetched on the host, unpacked into the userland."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from dataclasses import dataclass
from pathlib import Path

from tools.virtual_pi.errors import VirtualPiError

REPOSITORY = Path(__file__).resolve().parents[2]
EXTRAS = "litert,onnxruntime"
_COMMAND = """#!/usr/bin/python{python}
import sys
from facette_runtime.cli import main
sys.exit(main())
"""


@dataclass(frozen=True, slots=True)
class Platform:
    """What wheels must fit, from the target's file.

    Attributes:
        python: "major.minor".
        tags: platform tags, newest first.
    """

    python: str
    tags: tuple[str, ...]


def read_platform(target: str) -> Platform:
    """Python and wheel tags of a target."""
    data = tomllib.loads((REPOSITORY / "targets" / f"{target}.toml").read_text(encoding="utf-8"))
    return Platform(data["device_python"], tuple(data["wheel_tags"]))


def site_packages(root: Path, platform: Platform) -> Path:
    """Where Debian's Python looks for what isn't Debian's."""
    return root / "usr/local/lib" / f"python{platform.python}" / "dist-packages"


def build_runtime(folder: Path) -> Path:
    """The repository's own wheel of the runtime.

    Raises:
        VirtualPiError: pip can't build it.
    """
    _pip("wheel", "--no-deps", "--wheel-dir", str(folder), str(REPOSITORY / "runtime"))
    (wheel,) = folder.glob("facette_runtime-*.whl")
    return wheel


def fetch_needed(runtime: Path, platform: Platform, cache: Path) -> list[Path]:
    """Wheels of everything that the runtime needs with `EXTRAS`, from the cache or fetched anew.

    Raises:
        VirtualPiError: pip finds no fitting wheel, or no network.
    """
    folder = cache / f"wheels-{_requirements_digest(runtime, platform)}"
    if not folder.is_dir():
        fresh = cache / f".{folder.name}.{os.getpid()}"
        tags = [argument for tag in platform.tags for argument in ("--platform", tag)]
        chosen = ["--only-binary=:all:", "--implementation", "cp", "--python-version", platform.python, *tags]
        try:
            _pip("download", *chosen, "--dest", str(fresh), f"{runtime}[{EXTRAS}]")
            fresh.replace(folder)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    return sorted(wheel for wheel in folder.glob("*.whl") if not wheel.name.startswith("facette_runtime-"))


def install(wheels: list[Path], root: Path, platform: Platform) -> None:
    """Unpacks wheels and writes the ``facette-run`` command.

    The runtime's own is always put in anew. The others stay where they are there already, unless one of another version is.
    """
    site = site_packages(root, platform)
    for old in site.glob("facette_runtime*"):
        shutil.rmtree(old)
    wanted = {wheel: "-".join(wheel.name.split("-")[:2]) for wheel in wheels}
    there = {path.name.removesuffix(".dist-info") for path in site.glob("*.dist-info")}
    if there - set(wanted.values()):
        shutil.rmtree(site)
        there = set()
    site.mkdir(parents=True, exist_ok=True)
    for wheel in (wheel for wheel, name in wanted.items() if name not in there):
        with zipfile.ZipFile(wheel) as archive:
            if any(name.partition("/")[0].endswith(".data") for name in archive.namelist()):
                raise VirtualPiError(f"{wheel.name} installs files outside its packages, which is not provided for")
            archive.extractall(site)
    command = root / "usr/local/bin/facette-run"
    command.parent.mkdir(parents=True, exist_ok=True)
    command.write_text(_COMMAND.format(python=platform.python), encoding="utf-8")
    command.chmod(0o755)


def _requirements_digest(runtime: Path, platform: Platform) -> str:
    with zipfile.ZipFile(runtime) as archive:
        (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        lines = archive.read(metadata).decode().splitlines()
    needs = sorted(line for line in lines if line.startswith("Requires-"))
    return hashlib.sha256("\n".join([platform.python, *platform.tags, EXTRAS, *needs]).encode()).hexdigest()[:12]


def _pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        said = (
            [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
            or done.stderr.splitlines()
            or ["no reason given"]
        )
        raise VirtualPiError(f"pip {arguments[0]} fails: {said[-1]}")
