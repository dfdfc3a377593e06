"""Builds a release beside its place, and says whether one is still what it was."""

import base64
import os
import shlex
import shutil
import subprocess
import time
import zipfile
from pathlib import Path

from facette.deploy.device.layout import BUNDLE, LAUNCHER, RECORD, Layout, digest, sync, write_json

_LAUNCHER_TEXT = """#!/bin/sh
# Written by facette deploy: this release's runtime in the environment that it was tested with.
export PYTHONPATH={lib} PYTHONNOUSERSITE=1
exec {python} -m facette_runtime "$@"
"""


def condition_of(root: Layout, release: str, bundle_sha256: str) -> str:
    """``absent``, ``intact``, or ``damaged`` where the bundle or the runtime isn't what it was."""
    folder = root.release(release)
    if not (folder / RECORD).is_file():
        return "absent"
    bundle = folder / BUNDLE
    sound = bundle.is_file() and digest(bundle) == bundle_sha256 and os.access(str(folder / LAUNCHER), os.X_OK)
    return "intact" if sound and _is_as_recorded(folder / "lib") else "damaged"


def _is_as_recorded(lib: Path) -> bool:
    """Whether every file of an unpacked wheel has the digest that the wheel's RECORD gives it."""
    lines = [line for record in lib.glob("*.dist-info/RECORD") for line in record.read_text(encoding="utf-8").splitlines()]
    for line in lines:
        name, told, _ = line.rsplit(",", 2)
        path = lib / name
        if told and not (path.is_file() and told == _wheel_digest(path)):
            return False
    return bool(lines)


def _wheel_digest(path: Path) -> str:
    return "sha256=" + base64.urlsafe_b64encode(bytes.fromhex(digest(path))).decode().rstrip("=")


def stage(root: Layout, release: str, wheel_sha256: str, python: str, record: "dict[str, object]") -> None:
    """Builds a release from uploaded files, beside its place, and moves it there when it is whole.

    Args:
        root: the deployment.
        release: its name.
        wheel_sha256: of the runtime's wheel, uploaded.
        python: that runs it.
        record: what ``release.json`` says; ``bundle_sha256`` is the uploaded bundle.
    """
    folder, building = root.release(release), root.releases / f".{release}.part"
    shutil.rmtree(str(building), ignore_errors=True)
    building.mkdir()
    (root.uploads / str(record["bundle_sha256"])).replace(building / BUNDLE)
    with zipfile.ZipFile(str(root.uploads / wheel_sha256)) as wheel:
        wheel.extractall(str(building / "lib"))
    subprocess.Popen([python, "-m", "compileall", "-q", str(building / "lib")], stdout=subprocess.DEVNULL).wait()
    launcher = building / LAUNCHER
    launcher.write_text(_LAUNCHER_TEXT.format(lib=shlex.quote(str(folder / "lib")), python=shlex.quote(python)), encoding="utf-8")
    launcher.chmod(0o755)
    write_json(building / RECORD, dict(record, staged=time.time()))
    shutil.rmtree(str(folder), ignore_errors=True)
    os.sync()  # all of it is on the disk before any name leads to it
    building.replace(folder)
    sync(root.releases)
