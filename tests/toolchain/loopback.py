"""A real sshd on the loopback interface, for whoever runs the tests, with keys and configuration of its own."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

# Relays standard input and output to a port, counts what goes there, and can be made slow.
_RELAY = """
import os, socket, sys, threading, time
port, pause, tally = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
wire = socket.create_connection(("127.0.0.1", port))
def back():
    while chunk := wire.recv(1 << 16):
        os.write(1, chunk)
    os._exit(0)
threading.Thread(target=back, daemon=True).start()
total = 0
while chunk := os.read(0, 1 << 16):
    wire.sendall(chunk)
    total += len(chunk)
    with open(tally + ".new", "w") as file:
        file.write(str(total))
    os.replace(tally + ".new", tally)
    time.sleep(pause)
"""


@dataclass(frozen=True)
class Loopback:
    """The server.

    Attributes:
        folder: with its keys and configurations.
        port: where it listens.
    """

    folder: Path
    port: int

    @property
    def address(self) -> str:
        """For ``facette deploy``."""
        return f"{getpass.getuser()}@127.0.0.1:{self.port}"

    def options(self, *, pause_s: float | None = None, known: bool = True, identity: str = "user") -> list[str]:
        """Command-line options that lead there.

        Args:
            pause_s: after every 64 KiB; the bytes sent are then counted in `tally`.
            known: whether the host's key is known.
            identity: whose key: "user", or "stranger".
        """
        lines = [
            f"UserKnownHostsFile {self.folder / ('known_hosts' if known else 'nobody')}",
            "GlobalKnownHostsFile /dev/null",
            "StrictHostKeyChecking yes",
            f"IdentityFile {self.folder / identity}",
            "IdentitiesOnly yes",
            "IdentityAgent none",
        ]
        if pause_s is not None:
            lines.append(f"ProxyCommand {sys.executable} {self.folder / 'relay.py'} %p {pause_s} {self.tally}")
        path = self.folder / f"config-{pause_s}-{known}-{identity}"
        path.write_text("\n".join(lines) + "\n")
        return ["--ssh-config", str(path)]

    @property
    def tally(self) -> Path:
        """How many bytes the last relayed connection has sent."""
        return self.folder / "tally"


@contextmanager
def serve(folder: Path, force_command: str | None = None) -> Iterator[Loopback]:
    """Runs the server; skips the test where there is none to run.

    Args:
        folder: for its files.
        force_command: what is run instead of what the client asks for; that is in SSH_ORIGINAL_COMMAND.
    """
    sshd = shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if sshd is None or shutil.which("ssh") is None:
        pytest.skip("OpenSSH's sshd and ssh are not installed (packages openssh-server and openssh-client)")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # sshd asks for it; the service's own start makes it in the same way
    for name in ("host", "user", "stranger"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    (folder / "relay.py").write_text(_RELAY)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {(folder / 'host.pub').read_text()}")
    settings = {
        "Port": port,
        "ListenAddress": "127.0.0.1",
        "HostKey": folder / "host",
        "PidFile": "none",
        "AuthorizedKeysFile": folder / "user.pub",
        "PasswordAuthentication": "no",
        "KbdInteractiveAuthentication": "no",
        "StrictModes": "no",
        "UsePAM": "no",
        **({"ForceCommand": force_command} if force_command else {}),
    }
    (folder / "sshd_config").write_text("".join(f"{key} {value}\n" for key, value in settings.items()))
    log = folder / "sshd.log"
    server = subprocess.Popen([sshd, "-D", "-f", str(folder / "sshd_config"), "-E", str(log)])
    try:
        _wait_for(server, port, log)
        loopback = Loopback(folder, port)
        if force_command is None:
            _try_login(loopback, log)
        yield loopback
    finally:
        server.terminate()
        server.wait()


def _wait_for(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    for _ in range(100):
        if server.poll() is not None:
            pytest.skip(f"sshd doesn't start here: {log.read_text().strip()}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    pytest.fail("sshd doesn't listen after 5 s")


def _try_login(loopback: Loopback, log: Path) -> None:
    """Some systems let nobody in whose account has no password; that is theirs to say and no fault of what is tested."""
    command = ["ssh", "-F", loopback.options()[1], "-o", "BatchMode=yes", "-p", str(loopback.port), "127.0.0.1", "true"]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip(f"sshd lets {getpass.getuser()} in nowhere here: {log.read_text().strip().splitlines()[-1]}")
