"""Where a device is, and how ssh is to go there."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from facette_runtime.errors import FacetteError

_ADDRESS = re.compile(r"(?:(?P<user>[^@\s]+)@)?(?:\[(?P<v6>[0-9A-Fa-f:.%\w]+)\]|(?P<host>[^@:/\s\[\]]+))(?::(?P<port>\d{1,5}))?")
_UNREACHED = ("resolve hostname", "refused", "timed out", "timeout", "no route", "unreachable", "closed", "reset by peer")


@dataclass(frozen=True, slots=True)
class Address:
    """``user@host:port``; the user and the port may be left to ssh's configuration.

    Attributes:
        text: as the user wrote it, for messages.
        login: what ssh is given: ``user@host`` or ``host``, which may be an alias in ``~/.ssh/config``.
    """

    text: str
    login: str
    port: int | None


@dataclass(frozen=True, slots=True)
class SshOptions:
    """What the user wants ssh to do differently from its configuration.

    Attributes:
        identity: a private key's file.
        config: instead of ``~/.ssh/config``.
        ask: let ssh ask for a password or passphrase on the terminal.
    """

    identity: Path | None = None
    config: Path | None = None
    ask: bool = False


def parse_address(text: str) -> Address:
    """Reads ``host``, ``user@host``, ``user@host:2222`` or ``user@[fe80::1]:2222``.

    Raises:
        FacetteError: it is none of these.
    """
    found = _ADDRESS.fullmatch(text)
    if found is None or text.startswith("-") or not 0 < int(found["port"] or 22) < 65536:
        raise FacetteError(f"{text!r} is no address of a device; write host, user@host or user@host:port")
    host = found["v6"] or found["host"]
    if host.startswith("-"):
        raise FacetteError(f"{text!r} is no address of a device: a host's name can't begin with -")
    login = f"{found['user']}@{host}" if found["user"] else host
    return Address(text, login, int(found["port"]) if found["port"] else None)


def ssh_command(address: Address, options: SshOptions, remote: str) -> list[str]:
    """The command line that runs ``remote`` on the device.

    The connection is tested every 15 s, so that a device that vanished is an error within a minute.
    """
    words = ["ssh", "-T", "-o", "ConnectTimeout=15", "-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=4"]
    words += ["-o", f"BatchMode={'no' if options.ask else 'yes'}", "-o", "ForwardX11=no", "-o", "ClearAllForwardings=yes"]
    if options.config is not None:
        words += ["-F", str(options.config)]
    if options.identity is not None:
        words += ["-i", str(options.identity), "-o", "IdentitiesOnly=yes"]
    if address.port is not None:
        words += ["-p", str(address.port)]
    return [*words, "--", address.login, remote]


def explain(address: Address, stderr: str) -> str:
    """One line for what ssh said when it gave up, with what mends it."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    said = stderr.lower()
    if "remote host identification has changed" in said:
        return (
            f"{address.text}: its host key is not the one that ssh knows: another machine may be answering."
            f" If the device was set up anew: ssh-keygen -R {_known_name(address)}"
        )
    if "host key verification failed" in said:
        port = f" -p {address.port}" if address.port else ""
        return f"{address.text}: ssh doesn't know its host key yet; look at it and accept it once: ssh{port} {address.login}"
    if "permission denied" in said or "too many authentication failures" in said:
        port = f" -p {address.port}" if address.port else ""
        return (
            f"{address.text} refused to let us in; install your key there (ssh-copy-id{port} {address.login}),"
            " name another with --identity, or let ssh ask for the password with --ask"
        )
    for line in reversed(lines):
        if any(word in line.lower() for word in _UNREACHED):
            return f"{address.text} can't be reached: {line.removeprefix('ssh: ')}"
    return f"{address.text}: ssh failed: {lines[-1] if lines else 'without a word'}"


def _known_name(address: Address) -> str:
    host = address.login.rpartition("@")[2]
    return f"'[{host}]:{address.port}'" if address.port else host
