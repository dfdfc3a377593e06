"""Requests in on standard input, answers out on standard output: one JSON object a line, a payload's bytes after its request."""

import json
import select
import signal
from collections.abc import Iterator
from typing import BinaryIO

IDLE_S = 3600
"""After so long without a word from the workstation it is taken for gone; the program ends and the lock is free again."""

_CHUNK = 1 << 18


class DeviceError(Exception):
    """Something a person can put right; it becomes one line on the workstation."""


class Channel:
    """One connection to a workstation."""

    def __init__(self, incoming: "BinaryIO", outgoing: "BinaryIO") -> None:
        self._incoming = incoming
        self._outgoing = outgoing
        self._owed = 0

    def requests(self) -> "Iterator[dict[str, object]]":
        """Every request until the workstation hangs up. What an operation left of its payload is read and dropped."""
        while True:
            for _ in self.payload():
                pass
            signal.alarm(IDLE_S)
            line = self._incoming.readline()
            signal.alarm(0)
            if not line.endswith(b"\n"):
                return
            request = json.loads(line.decode())
            self._owed = request.pop("payload", 0)
            yield request

    def payload(self) -> "Iterator[bytes]":
        """The bytes that came with the request, in pieces.

        Raises:
            EOFError: the connection ended first.
        """
        while self._owed:
            signal.alarm(IDLE_S)
            chunk = self._incoming.read(min(_CHUNK, self._owed))
            signal.alarm(0)
            if not chunk:
                raise EOFError("the workstation hung up in the middle of a file")
            self._owed -= len(chunk)
            yield chunk

    def hung_up(self, wait_s: float) -> bool:
        """Whether the workstation has gone, to be asked while it waits for an answer, when it has nothing to say."""
        return bool(select.select([self._incoming], [], [], wait_s)[0])

    def tell(self, line: str) -> None:
        """A word on what is going on."""
        self._send({"tell": line})

    def result(self, value: object) -> None:
        """What the operation gave."""
        self._send({"result": value})

    def error(self, line: str) -> None:
        """Why the operation could not be done."""
        self._send({"error": line})

    def _send(self, message: "dict[str, object]") -> None:
        self._outgoing.write(json.dumps(message).encode() + b"\n")
        self._outgoing.flush()
