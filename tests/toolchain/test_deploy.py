"""Deployment to a real sshd on this machine: nothing is pretended but the distance."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from facette.cli import main
from facette.deploy.address import SshOptions, parse_address
from facette.deploy.session import Session
from facette.deploy.upload import upload
from facette_runtime.errors import FacetteError
from facette_runtime.manifest import Golden, TargetFacts
from facette_runtime.schema import to_dict
from tests.runtime import bundles
from tests.toolchain.loopback import Loopback, serve

ROOT = Path(__file__).parents[2]
_OTHER = "aarch64" if platform.machine() == "x86_64" else "x86_64"


@pytest.fixture(scope="module")
def loopback(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loopback]:
    with serve(tmp_path_factory.mktemp("sshd")) as server:
        yield server


@dataclass
class Device:
    """A deployment's folder and how to go there; its libraries are those of the Python that runs the tests."""

    loopback: Loopback
    folder: Path

    def words(self, command: str, *words: str | Path, **ssh: Any) -> list[str]:
        where = ["--to", str(self.folder), "--python", sys.executable, *self.loopback.options(**ssh)]
        return [command, *map(str, words), *where]

    def deploy(self, bundle: Path, *words: str | Path, **ssh: Any) -> dict[str, Any]:
        """Deploys and gives what ``--json`` wrote."""
        result = self.folder.parent / "result.json"
        assert main(self.words("deploy", bundle, self.loopback.address, "--json", result, *words, **ssh)) == 0
        return dict(json.loads(result.read_text()))

    def current(self) -> str:
        return (self.folder / "current").resolve().name

    def run_current(self) -> subprocess.CompletedProcess[str]:
        """What somebody on the device would run."""
        current = self.folder / "current"
        command = [current / "facette-run", "selftest", "--bundle", current / "bundle.facette"]
        return subprocess.run(command, capture_output=True, text=True, env={"PATH": os.environ["PATH"]})


@pytest.fixture
def device(loopback: Loopback, tmp_path: Path) -> Device:
    return Device(loopback, tmp_path / "device" / "facette")


@pytest.fixture
def bundle_path(tmp_path: Path) -> Path:
    return bundles.write_bundle(tmp_path / "null.facette")


def make_bundle(path: Path, padding: int = 0, **changes: Any) -> Path:
    """A null bundle with so many bytes more."""
    files = {**bundles.bundle_files(), "padding.bin": os.urandom(padding)}
    content = to_dict(replace(bundles.manifest(files), **changes))
    return bundles.write_zip(path, {"manifest.json": json.dumps(content).encode(), **files})


def one_error(capsys: pytest.CaptureFixture[str]) -> str:
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("facette: error: ")]
    assert len(lines) == 1
    return lines[0]


def test_first_deployment_runs_and_the_second_copies_nothing(device: Device, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "a.facette", 3_000_000)
    first = device.deploy(bundle, pause_s=0)
    first_bytes = int(device.loopback.tally.read_text())
    before = {path: path.stat() for path in device.folder.rglob("*") if path.is_file() and path.name != "lock"}
    second = device.deploy(bundle, pause_s=0)
    after = {path: path.stat() for path in device.folder.rglob("*") if path.is_file() and path.name != "lock"}
    ran = device.run_current()

    assert first["switched"]["changed"]
    assert first["staged"]["copied_bytes"] > 3_000_000
    assert first_bytes > first["staged"]["copied_bytes"]
    assert second["staged"]["copied_bytes"] == 0
    assert not second["switched"]["changed"]
    assert int(device.loopback.tally.read_text()) < 150_000, "only the program and its questions went over the wire"
    assert {path: (s.st_ino, s.st_mtime_ns) for path, s in before.items()} == {
        path: (s.st_ino, s.st_mtime_ns) for path, s in after.items()
    }
    assert ran.returncode == 0, ran.stderr
    assert "selftest passed" in ran.stdout
    assert not list((device.folder / "uploads").iterdir())


def test_a_release_runs_on_its_own_runtime(device: Device, bundle_path: Path) -> None:
    device.deploy(bundle_path)
    launcher = (device.folder / "current" / "facette-run").read_text().replace("-m facette_runtime", "-c")
    program = "import facette_runtime; print(facette_runtime.__file__)"
    where = subprocess.run(["sh", "-c", launcher, "sh", program], capture_output=True, text=True).stdout

    assert Path(where).is_relative_to(device.folder / "releases" / device.current() / "lib")


def test_rollback_goes_back_and_forth(device: Device, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    device.deploy(make_bundle(tmp_path / "a.facette", name="old"))
    old = device.current()
    rollback = device.words("deploy", device.loopback.address, "--rollback")
    assert main(rollback) == 2
    assert "no previous release" in one_error(capsys)
    device.deploy(make_bundle(tmp_path / "b.facette", name="new"))
    new = device.current()

    assert main(rollback) == 0
    assert "switched back to old, " + old in capsys.readouterr().out
    assert device.current() == old
    assert device.run_current().returncode == 0
    assert main(rollback) == 0
    assert device.current() == new


def test_a_bundle_for_another_processor_is_refused_before_anything_is_copied(
    device: Device, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = make_bundle(tmp_path / "a.facette", target=TargetFacts("some-board", _OTHER, ()))
    result = tmp_path / "result.json"

    assert main(device.words("deploy", bundle, device.loopback.address, "--json", result)) == 2
    assert f"architecture: needed {_OTHER} (some-board), found {platform.machine()}" in one_error(capsys)
    assert not device.folder.parent.exists()
    assert json.loads(result.read_text())["checks"][0]["verdict"] == "refused"


def test_a_dry_run_changes_nothing(device: Device, bundle_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(device.words("deploy", bundle_path, device.loopback.address, "--dry-run")) == 0
    out = capsys.readouterr().out
    assert all(word in out for word in ("architecture", "Python", "libraries", "memory", "disk"))
    assert not device.folder.parent.exists()


def test_killed_while_copying_the_old_version_runs_and_the_rest_follows_later(device: Device, tmp_path: Path) -> None:
    device.deploy(make_bundle(tmp_path / "a.facette"))
    old = device.current()
    bundle = make_bundle(tmp_path / "b.facette", 12_000_000)
    words = device.words("deploy", bundle, device.loopback.address, pause_s=0.02)
    deploying = subprocess.Popen([sys.executable, "-m", "facette.cli", *words], stderr=subprocess.DEVNULL, env=_environment())
    part = _wait_for_part(device.folder / "uploads", deploying)
    deploying.send_signal(signal.SIGKILL)
    deploying.wait()

    assert part.stat().st_size < 12_000_000
    assert device.current() == old
    assert device.run_current().returncode == 0
    result = device.deploy(bundle)
    assert result["staged"]["resumed_bytes"] > 1_000_000
    assert result["staged"]["copied_bytes"] < 11_200_000
    assert device.current() != old
    assert device.run_current().returncode == 0


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "toolchain"), str(ROOT / "runtime")])}


def _wait_for_part(folder: Path, deploying: subprocess.Popen[bytes]) -> Path:
    for _ in range(600):
        assert deploying.poll() is None, "it ended before it could be killed"
        for path in folder.glob("*.part"):
            if path.stat().st_size > 1_000_000:
                return path
        time.sleep(0.05)
    pytest.fail("nothing was copied in 30 s")


def test_what_was_left_damaged_on_the_device_is_sent_again(device: Device, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "a.facette", 500_000)
    first = device.deploy(bundle)
    (device.folder / "current" / "bundle.facette").write_bytes(b"rotten")
    uploads = device.folder / "uploads"
    (uploads / (first["staged"]["release"] + ".part")).write_bytes(b"nobody's")
    again = device.deploy(bundle)
    (device.folder / "current" / "lib" / "facette_runtime" / "align.py").write_text("# half a fi")
    third = device.deploy(bundle)

    assert again["staged"]["repaired"]
    assert third["staged"]["repaired"]
    assert third["staged"]["copied_bytes"] < 200_000, "the bundle was sound"
    assert device.run_current().returncode == 0
    assert again["staged"]["copied_bytes"] > 500_000
    assert (device.folder / "current" / "bundle.facette").read_bytes() == bundle.read_bytes()
    assert not list(uploads.iterdir())


def test_a_damaged_part_is_noticed_and_a_damaged_file_never_kept(device: Device, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(os.urandom(300_000))
    right = hashlib.sha256(file.read_bytes()).hexdigest()
    with open_session(device) as session:
        session.call("lock", who="a test", wait_s=0)
        uploads = device.folder / "uploads"
        (uploads / f"{right}.part").write_bytes(bytes(100_000))
        done = upload(session, file, right)
        with pytest.raises(FacetteError, match=r"arrived damaged .* twice"):
            upload(session, file, "0" * 64)

    assert (done.repeated, done.sent) == (True, 500_000)
    assert [path.name for path in uploads.iterdir()] == [right]
    assert (uploads / right).read_bytes() == file.read_bytes()


def open_session(device: Device) -> Session:
    config = Path(device.loopback.options()[1])
    address = parse_address(device.loopback.address)
    return Session(address, SshOptions(config=config), str(device.folder), sys.executable, lambda line: None)


def test_two_cannot_deploy_at_once(device: Device) -> None:
    with open_session(device) as first, open_session(device) as second:
        first.call("lock", who="Ann on her laptop", wait_s=0)
        with pytest.raises(FacetteError, match="is locked: Ann on her laptop has been deploying since"):
            second.call("lock", who="Bob", wait_s=0)
        first.close()
        second.call("lock", who="Bob", wait_s=10)


def test_a_failed_self_test_changes_nothing(device: Device, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    device.deploy(make_bundle(tmp_path / "a.facette"))
    old = device.current()
    face = bundles.manifest(bundles.bundle_files()).golden.faces[0]
    wrong = replace(face, embedding=tuple(-value for value in face.embedding))
    bad = make_bundle(tmp_path / "b.facette", golden=Golden((wrong,), bundles.manifest(bundles.bundle_files()).golden.tolerance))

    assert main(device.words("deploy", bad, device.loopback.address)) == 2
    error = one_error(capsys)
    assert "self-test failed: FAIL embed" in error
    assert f"{old} still runs" in error
    assert device.current() == old
    assert [path.name for path in (device.folder / "releases").iterdir()] == [old]


def test_old_releases_are_cleared_away(device: Device, tmp_path: Path) -> None:
    names = []
    for name in ("a", "b", "c"):
        result = device.deploy(make_bundle(tmp_path / f"{name}.facette", name=name), "--keep", "2")
        names.append(device.current())

    assert result["staged"]["removed"] == []  # the one before last is still what a rollback would go to
    result = device.deploy(tmp_path / "c.facette", "--keep", "2")
    assert result["staged"]["removed"] == [names[0]]
    assert {path.name for path in (device.folder / "releases").iterdir()} == set(names[1:])


def test_bench_there_does_not_change_what_runs(device: Device, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bench = ["--on", device.loopback.address, "--frames", "5", "--warmup", "1"]
    assert main(device.words("bench", *bench)) == 2
    assert "nothing is deployed" in one_error(capsys)
    deployed = device.deploy(make_bundle(tmp_path / "a.facette", name="a"), "--bench")
    assert deployed["report"]["frames"] == 200
    capsys.readouterr()
    assert main(device.words("bench", make_bundle(tmp_path / "b.facette", name="b"), *bench, "--json", tmp_path / "b.json")) == 0
    assert "b for this-machine on" in capsys.readouterr().out
    assert json.loads((tmp_path / "b.json").read_text())["frames"] == 5
    assert json.loads((device.folder / "current" / "release.json").read_text())["name"] == "a"
    assert main(device.words("bench", *bench, "--json", "-")) == 0
    assert json.loads(capsys.readouterr().out)["bundle"] == "a"


def test_bench_here(bundle_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", _environment()["PYTHONPATH"])
    assert main(["bench", str(bundle_path), "--frames", "5", "--json", str(tmp_path / "run.json")]) == 0
    assert "FPS" in capsys.readouterr().out
    assert json.loads((tmp_path / "run.json").read_text())["frames"] == 5
    assert main(["bench", str(bundle_path), "--source", "nothing.mp4"]) == 2
    assert "nothing.mp4 does not exist" in one_error(capsys)
    assert main(["bench"]) == 2
    assert "name a bundle" in one_error(capsys)


@pytest.mark.parametrize(
    ("ssh", "expected"),
    [
        ({"known": False}, "ssh doesn't know its host key yet"),
        ({"identity": "stranger"}, "refused to let us in; install your key there (ssh-copy-id -p"),
    ],
)
def test_not_let_in(
    device: Device, bundle_path: Path, ssh: dict[str, Any], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(device.words("deploy", bundle_path, device.loopback.address, **ssh)) == 2
    assert expected in one_error(capsys)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1:1", "127.0.0.1:1 can't be reached: connect to host 127.0.0.1 port 1: Connection refused"),
        ("pi@no-such-host.invalid", "can't be reached: Could not resolve hostname no-such-host.invalid"),
        ("two words", "is no address of a device"),
        ("-oProxyCommand=x", "is no address of a device"),
    ],
)
def test_not_reached(device: Device, bundle_path: Path, address: str, expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["deploy", *device.loopback.options(), "--", str(bundle_path), address]) == 2
    assert expected in one_error(capsys)
