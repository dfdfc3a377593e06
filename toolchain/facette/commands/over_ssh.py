"""What ``facette deploy`` and ``facette bench`` share: the options, the connection, and the way to a release on the device."""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from facette.commands.common import steps
from facette_runtime.errors import FacetteError

if TYPE_CHECKING:
    from facette.deploy.bench import BenchRequest
    from facette.deploy.deploy import Staged, Switched
    from facette.deploy.facts import Facts
    from facette.deploy.plan import Plan
    from facette.deploy.preflight import Check
    from facette.deploy.session import Session
    from facette_runtime.report import Report


@dataclass(frozen=True, slots=True)
class Outcome:
    """What ``--json`` writes.

    Attributes:
        device: as the user named it.
        facts, checks: the pre-flight.
        staged, switched: what was done; None where it didn't come to that.
        report: of ``--bench``.
    """

    device: str
    facts: Facts
    checks: tuple[Check, ...]
    staged: Staged | None = None
    switched: Switched | None = None
    report: Report | None = None


def add_device_options(command: argparse.ArgumentParser) -> None:
    """What everything that goes to a device over SSH understands."""
    group = command.add_argument_group("the device")
    group.add_argument("--to", default="facette", metavar="FOLDER", help="on the device, from its home folder (default: facette)")
    group.add_argument("--python", metavar="PATH", help="a Python there that has numpy, OpenCV and the engine: install nothing")
    group.add_argument("--offline", action="store_true", help="carry the libraries' wheels along: the device needs no network")
    group.add_argument("--wheels", type=Path, metavar="FOLDER", help="take them from here, not from an index (means --offline)")
    group.add_argument("--keep", type=_at_least_two, default=3, metavar="N", help="releases to keep there (default: 3)")
    group.add_argument("--identity", "-i", type=Path, metavar="FILE", help="private key for ssh")
    group.add_argument("--ssh-config", type=Path, metavar="FILE", help="instead of ~/.ssh/config")
    group.add_argument("--ask", action="store_true", help="let ssh ask for a password")


def add_bench_options(command: argparse.ArgumentParser) -> None:
    """How to measure."""
    group = command.add_argument_group("the benchmark")
    group.add_argument("--source", help="picture, folder, video or camera there (default: the bundle's golden pictures)")
    group.add_argument("--frames", type=_positive, default=200, metavar="N", help="to measure (default: 200)")
    group.add_argument("--warmup", type=_positive, default=10, metavar="N", help="frames before measuring (default: 10)")
    group.add_argument("--threads", type=_positive, metavar="N", help="default: those that the bundle was measured with")


def bench_request(arguments: argparse.Namespace) -> BenchRequest:
    """What these options ask for."""
    from facette.deploy.bench import BenchRequest

    return BenchRequest(arguments.source, arguments.frames, arguments.warmup, arguments.threads)


def open_session(arguments: argparse.Namespace, device: str) -> Session:
    """Connects as the options say."""
    from facette.deploy.address import SshOptions, parse_address
    from facette.deploy.session import Session

    for option, path in (("--identity", arguments.identity), ("--ssh-config", arguments.ssh_config)):
        if path is not None and not path.is_file():
            raise FacetteError(f"{option} {path}: no such file")
    if arguments.wheels is not None and not arguments.wheels.is_dir():
        raise FacetteError(f"--wheels {arguments.wheels}: no such folder")
    options = SshOptions(arguments.identity, arguments.ssh_config, arguments.ask)
    with steps() as tell:
        tell(f"connecting to {device}")
        return Session(parse_address(device), options, arguments.to, arguments.python, tell)


def bring(arguments: argparse.Namespace, session: Session, dry_run: bool = False) -> tuple[Plan, Staged | None]:
    """The pre-flight, its table and the staging, which is None where the pre-flight refuses or was all that was asked for."""
    from facette.deploy.deploy import stage
    from facette.deploy.plan import Settings, make_plan
    from facette.deploy.preflight import refused, to_table

    settings = Settings(arguments.python, arguments.offline or arguments.wheels is not None, arguments.wheels)
    with tempfile.TemporaryDirectory(prefix="facette-deploy-") as folder:
        with steps() as session.tell:
            plan = make_plan(arguments.bundle, session, settings, Path(folder))
        say(arguments, f"{session.address.text}: {plan.facts.model or plan.facts.host}, {plan.facts.system}")
        say(arguments, to_table(plan.checks) + "\n")
        if dry_run or refused(plan.checks):
            return plan, None
        with steps() as session.tell:
            return plan, stage(plan, session, arguments.keep)


def say(arguments: argparse.Namespace, text: str) -> None:
    """Prints for people: on standard error when standard output carries JSON."""
    print(text, file=sys.stderr if arguments.json == "-" else sys.stdout, flush=True)


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, but got {text!r}")
    return int(text)


def _at_least_two(text: str) -> int:
    if not text.isdigit() or int(text) < 2:
        raise argparse.ArgumentTypeError(f"must be at least 2, the current and the previous one, but got {text!r}")
    return int(text)
