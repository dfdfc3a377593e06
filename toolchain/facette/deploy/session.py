"""One SSH connection to a device, with our program at its other end for as long as a deployment takes.

It goes through the system's ``ssh`` rather than a library: a user's ``~/.ssh/config``, agent, jump hosts, hardware keys and known
hosts all count, and nothing needs installing. One process for everything means one authentication and one Python's start on a
slow device, and a lock that the device's kernel frees when the connection ends, however it ends.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, BinaryIO

from facette.deploy.address import Address, SshOptions, explain, ssh_command
from facette.deploy.device.serve import GREETING
from facette.deploy.program import program_text, remote_command
from facette_runtime.errors import FacetteError

Tell = Callable[[str], None]

_PIECE = 1 << 16


class Session:
    """A connection; use it as a context manager.

    Attributes:
        address: of the device.
        sent_bytes: of files, so far.
        tell: is called with what is going on.
    """

    def __init__(self, address: Address, options: SshOptions, folder: str, python: str | None, tell: Tell) -> None:
        """Connects.

        Args:
            address: of the device.
            options: for ssh.
            folder: the deployment's, relative to the home folder there or absolute.
            python: to run on, there; None for ``python3`` or, where that is too old, the first newer one.
            tell: is called with what the device is doing.

        Raises:
            FacetteError: no such host, not let in, an unknown host key, or no Python there.
        """
        self.address = address
        self.sent_bytes = 0
        self.tell = tell
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  # lives as long as the process that writes to it
        program = program_text(folder).encode()
        command = ssh_command(address, options, remote_command(python, len(program)))
        try:
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors)
        except FileNotFoundError:
            self._errors.close()
            raise FacetteError("ssh is not installed here; it is in the package openssh-client") from None
        try:
            self._write(program)
            self._greet(python)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Session:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Hangs up; the program on the device ends."""
        if self._process.poll() is None:
            self._stop()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            assert stream is not None
            with suppress(BrokenPipeError):  # closing flushes what a dead connection never took
                stream.close()

    def call(self, operation: str, **arguments: object) -> Any:
        """Has the device do something.

        Raises:
            FacetteError: it couldn't, and says why, or the connection broke.
        """
        self._request(operation, arguments, 0)
        return self._answer()

    def send(self, file: BinaryIO, count: int, progress: Callable[[int], None], operation: str, **arguments: object) -> Any:
        """As `call`, with ``count`` bytes of a file, from where it stands; ``progress`` is called with bytes sent."""
        self._request(operation, arguments, count)
        done = 0
        while done < count:
            piece = file.read(min(_PIECE, count - done)) or bytes(min(_PIECE, count - done))  # cut short: the digest will tell
            self._write(piece)
            done += len(piece)
            self.sent_bytes += len(piece)
            progress(done)
        return self._answer()

    def _request(self, operation: str, arguments: dict[str, object], payload: int) -> None:
        self._write(json.dumps({"operation": operation, "payload": payload, **arguments}).encode() + b"\n")

    def _write(self, data: bytes) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(data)
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._broken() from None

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.endswith(b"\n"):
            raise self._broken()
        return line.decode(errors="replace").rstrip("\r\n")

    def _greet(self, python: str | None) -> None:
        while (line := self._line()) != GREETING:
            if line.startswith("facette-device without python"):
                what = python or "Python"
                raise FacetteError(f"{self.address.text}: no {what} there ({line.split()[-1]}); it needs Python 3.10 or newer")

    def _answer(self) -> Any:
        while True:
            answer = json.loads(self._line())
            if "error" in answer:
                raise FacetteError(f"{self.address.text}: {answer['error']}")
            if "result" in answer:
                return answer["result"]
            self.tell(f"{self.address.text}: {answer['tell']}")

    def _broken(self) -> FacetteError:
        status = self._stop()
        self._errors.seek(0)
        said = self._errors.read().decode(errors="replace")
        if status == 255:
            return FacetteError(explain(self.address, said))
        last = (said.strip().splitlines() or ["without a word"])[-1]
        return FacetteError(f"{self.address.text}: the program on the device ended (status {status}): {last}")

    def _stop(self) -> int:
        """Ends the connection, which ends the program there, and gives ssh's exit status."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it has hung up before us
            self._process.stdin.close()
        try:
            return self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.terminate()
            return self._process.wait()
