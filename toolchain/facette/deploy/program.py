"""How the device's half gets there: as text on the standard input of a Python that a line of shell finds."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from facette_runtime.errors import FacetteError

_DEVICE = Path(__file__).parent / "device"
_MODULES = (
    "layout",
    "channel",
    "probe",
    "uploads",
    "environments",
    "staging",
    "releases",
    "running",
    "serve",
)  # each imports only those before it

# Nothing but double quotes inside, so that single quotes around it will do for every login shell. The first round takes a Python
# that is new enough for the runtime, the second any that can at least say which one it is.
_TOO_OLD = 86
_FIND_PYTHON = (
    'for p in {pythons}; do command -v "$p" >/dev/null || continue;'
    ' "$p" -uc "import sys; sys.version_info >= (3, 10) or sys.exit({too_old}); {boot}";'
    " s=$?; case $s in {too_old}|126|127) ;; *) exit $s;; esac; done;"
    ' for p in {pythons}; do command -v "$p" >/dev/null && exec "$p" -uc "import sys; {boot}"; done;'
    ' echo "facette-device without python on $(uname -m)"'
)
_PYTHONS = ("python3", "python3.14", "python3.13", "python3.12", "python3.11", "python3.10")


def remote_command(python: str | None, size: int) -> str:
    """The command that starts a program of ``size`` bytes, to be sent first.

    Args:
        python: path of the Python to run it on; None for ``python3`` or, where that is too old, a newer one beside it.
        size: of the program.

    Raises:
        FacetteError: ``python`` has characters that a shell could read otherwise.
    """
    if python is not None and not re.fullmatch(r"[\w./+-]+", python):
        raise FacetteError(f"--python {python!r}: write a path on the device without blanks, quotes or ~")
    boot = f"exec(sys.stdin.buffer.read({size}))"
    pythons = python or " ".join(_PYTHONS)
    return "exec sh -c " + shlex.quote(_FIND_PYTHON.format(pythons=pythons, boot=boot, too_old=_TOO_OLD))


def program_text(folder: str) -> str:
    """One source text that makes modules of ours out of thin air and starts serving."""
    sources = [("facette", ""), ("facette.deploy", ""), ("facette.deploy.device", "")]
    sources += [(f"facette.deploy.device.{name}", (_DEVICE / f"{name}.py").read_text(encoding="utf-8")) for name in _MODULES]
    return (
        "import sys, types\n"
        f"for name, source in {sources!r}:\n"
        "    module = types.ModuleType(name)\n"
        "    sys.modules[name] = module\n"
        "    parent, _, child = name.rpartition('.')\n"
        "    if parent:\n"
        "        setattr(sys.modules[parent], child, module)\n"
        "    exec(compile(source, name, 'exec'), module.__dict__)\n"
        f"sys.modules['facette.deploy.device.serve'].serve({folder!r})\n"
    )
