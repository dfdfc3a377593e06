"""Virtual environments: numpy, OpenCV and an engine, made once and shared by all releases that need the same."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from facette.deploy.device.channel import Channel, DeviceError
from facette.deploy.device.layout import MADE, Layout, write_json

_VERSIONS = """
import importlib.metadata, json
print(json.dumps({d.metadata["Name"]: d.version for d in importlib.metadata.distributions()}))
"""


def make_environment(
    root: Layout,
    channel: Channel,
    key: str,
    requirements: "list[str]",
    wheels: "list[tuple[str, str]]",
    offline: bool,
    system_packages: bool,
) -> "dict[str, str]":
    """Makes a virtual environment and installs into it.

    Args:
        root: the deployment.
        channel: is told what pip is doing.
        key: its name.
        requirements: as pip understands them.
        wheels: digest and file name of what was sent for it; pip's own wheel among them where this Python has no ensurepip.
        offline: install from those wheels alone.
        system_packages: the system's packages can be imported too, as JetPack's TensorRT must be.

    Returns:
        Version by installed distribution.

    Raises:
        DeviceError: venv or pip failed; what was half made is removed.
    """
    folder = root.env(key)
    shutil.rmtree(str(folder), ignore_errors=True)  # half made by a deployment that was cut off
    with tempfile.TemporaryDirectory(prefix="wheels-", dir=str(root.uploads)) as temporary:
        for sha256, name in wheels:
            os.link(str(root.uploads / sha256), str(Path(temporary) / name))
        try:
            return _make(channel, folder, requirements, Path(temporary), offline, system_packages)
        except BaseException:
            shutil.rmtree(str(folder), ignore_errors=True)
            raise


def _make(
    channel: Channel, folder: Path, requirements: "list[str]", wheels: Path, offline: bool, system_packages: bool
) -> "dict[str, str]":
    carried_pip = sorted(wheels.glob("pip-*.whl"))
    options = (["--without-pip"] if carried_pip else []) + (["--system-site-packages"] if system_packages else [])
    channel.tell("making the virtual environment")
    _run(channel, "venv", [sys.executable, "-m", "venv"] + options + [str(folder)])
    python = str(folder / "bin" / "python")
    pip = [python, str(carried_pip[0] / "pip")] if carried_pip else [python, "-m", "pip"]
    place = ["--no-index", "--find-links", str(wheels)] if offline else []
    flags = ["--disable-pip-version-check", "--no-input", "--no-cache-dir", "--prefer-binary", "--progress-bar", "off"]
    _run(channel, "pip", pip + ["install"] + flags + place + requirements)
    listed = subprocess.Popen([python, "-c", _VERSIONS], stdout=subprocess.PIPE).communicate()[0]
    versions = {str(name): str(version) for name, version in json.loads(listed.decode()).items()}
    write_json(folder / MADE, {"requirements": requirements, "versions": versions})
    return versions


def _run(channel: Channel, name: str, command: "list[str]") -> None:
    """Runs a command and passes its lines on; its last one of error becomes ours."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert process.stdout is not None
    last = ""
    for raw in process.stdout:
        line = raw.decode(errors="replace").strip()
        if line and not last.startswith("ERROR"):
            last = line
        channel.tell(f"{name}: {line}")
    if process.wait():
        raise DeviceError(f"{name} failed: {last or 'no reason given'}")
