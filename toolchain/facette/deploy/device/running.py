"""Runs what a release brings."""

import json
import subprocess
import tempfile
import zipfile
from pathlib import Path
from typing import IO

from facette.deploy.device.channel import Channel
from facette.deploy.device.layout import BUNDLE, LAUNCHER, Layout


def run(root: Layout, channel: Channel, release: str, arguments: "list[str]") -> "dict[str, object]":
    """Runs a release's ``facette-run``, and ends it should the workstation hang up meanwhile.

    Args:
        root: the deployment.
        channel: to the workstation.
        release: its name.
        arguments: ``{bundle}`` among them is the release's bundle, ``{golden}`` a folder with its golden pictures.

    Returns:
        Exit status, and what it printed on standard output and standard error.
    """
    folder = root.release(release)
    with tempfile.TemporaryDirectory(prefix="facette-golden-") as golden, tempfile.TemporaryFile() as output:
        if "{golden}" in arguments:
            _unpack_golden(folder / BUNDLE, Path(golden))
        words = {"{bundle}": str(folder / BUNDLE), "{golden}": golden}
        command = [str(folder / LAUNCHER)] + [words.get(argument, argument) for argument in arguments]
        with tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=errors)
            while process.poll() is None:
                if channel.hung_up(wait_s=0.05):
                    process.terminate()
                    process.wait()
            printed = [_content(file) for file in (output, errors)]
    return {"status": process.returncode, "output": printed[0], "errors": printed[1]}


def _content(file: "IO[bytes]") -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def _unpack_golden(bundle: Path, folder: Path) -> None:
    with zipfile.ZipFile(str(bundle)) as archive:
        faces = json.loads(archive.read("manifest.json").decode())["golden"]["faces"]
        for name in sorted({face["image"] for face in faces}):
            (folder / Path(name).name).write_bytes(archive.read(name))
