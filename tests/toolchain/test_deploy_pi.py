"""Deployment to a virtual Raspberry Pi behind a real sshd: another processor, and nothing of Facette on it.

It takes minutes and wheels from an index, so it runs only where FACETTE_VIRTUAL_PI names a folder that ``tools/virtual-pi make``
has made, as root. FACETTE_PI_BUNDLE names a bundle compiled for raspberry-pi-5; without it one with null engines is deployed.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from facette.cli import main
from facette_runtime.manifest import TargetFacts
from facette_runtime.schema import to_dict
from tests.runtime import bundles
from tests.toolchain.loopback import Loopback, serve

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def pi() -> Path:
    folder = os.environ.get("FACETTE_VIRTUAL_PI")
    if not folder or not Path(folder, ".virtual-pi.json").is_file():
        pytest.skip("FACETTE_VIRTUAL_PI does not name a virtual Pi; to make one, as root: tools/virtual-pi make FOLDER")
    if os.geteuid() != 0:
        pytest.skip("a virtual Pi needs root")
    return Path(folder)


@pytest.fixture(scope="module")
def behind_ssh(pi: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loopback]:
    inside = f'{sys.executable} {ROOT}/tools/virtual-pi run {pi} -- sh -c "$SSH_ORIGINAL_COMMAND"'
    with serve(tmp_path_factory.mktemp("sshd"), force_command=inside) as server:
        yield server


@pytest.fixture
def home(pi: Path) -> Path:
    """The Pi's home with nothing deployed."""
    shutil.rmtree(pi / "home/pi/facette", ignore_errors=True)
    return pi / "home/pi"


def _bundle(path: Path, target: TargetFacts) -> Path:
    files = bundles.bundle_files()
    content = to_dict(replace(bundles.manifest(files), target=target))
    return bundles.write_zip(path, {"manifest.json": json.dumps(content).encode(), **files})


@pytest.fixture
def for_pi(tmp_path: Path) -> Path:
    named = os.environ.get("FACETTE_PI_BUNDLE")
    return Path(named) if named else _bundle(tmp_path / "pi.facette", TargetFacts("raspberry-pi-5", "aarch64", ("asimddp",)))


def test_from_nothing_to_a_report_and_then_nothing_to_copy(behind_ssh: Loopback, home: Path, for_pi: Path, tmp_path: Path) -> None:
    result = tmp_path / "result.json"
    words = ["deploy", str(for_pi), behind_ssh.address, "--json", str(result), *behind_ssh.options()]
    bench = ["--bench", "--frames", "2", "--warmup", "1", "--threads", "1"]

    assert main([*words, "--offline", *bench]) == 0
    first = json.loads(result.read_text())
    assert first["facts"]["architecture"] == "aarch64"
    assert first["staged"]["installed"]["numpy"]
    assert first["report"]["machine"]["architecture"] == "aarch64"
    assert first["report"]["frames"] == 2
    assert (home / "facette" / "releases" / first["switched"]["current"] / "bundle.facette").read_bytes() == for_pi.read_bytes()

    assert main(words) == 0
    second = json.loads(result.read_text())
    assert second["staged"]["copied_bytes"] == 0
    assert second["staged"]["installed"] == {}
    assert second["switched"]["current"] == first["switched"]["current"]


def test_a_bundle_for_x86_is_refused_before_anything_is_copied(
    behind_ssh: Loopback, home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = _bundle(tmp_path / "x86.facette", TargetFacts("x86-cpu", "x86_64", ()))
    assert main(["deploy", str(bundle), behind_ssh.address, *behind_ssh.options()]) == 2
    assert "needed x86_64 (x86-cpu), found aarch64" in capsys.readouterr().err
    assert not (home / "facette").exists()
