"""``facette deploy``: a bundle onto a device over SSH."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING

from facette.commands.common import Commands, new_command, steps, write_json
from facette.commands.over_ssh import Outcome, add_bench_options, add_device_options, bench_request, bring, open_session, say
from facette_runtime.errors import FacetteError

if TYPE_CHECKING:
    from facette.deploy.deploy import Staged, Switched
    from facette.deploy.plan import Plan

_EXAMPLES = """  facette deploy door.facette pi@raspberrypi.local --dry-run
  facette deploy door.facette pi@raspberrypi.local --bench
  facette deploy door.facette pi@10.0.0.7:2222 --offline
  facette deploy pi@raspberrypi.local --rollback"""


def add(commands: Commands[argparse.ArgumentParser]) -> None:
    """Describes the command."""
    command = new_command(commands, "deploy", "put a bundle on a device over SSH, test it there, switch to it", _EXAMPLES, run)
    command.add_argument("bundle", type=Path, nargs="?", help="made by facette compile; not with --rollback")
    command.add_argument("device", help="user@host[:port], or a name from ~/.ssh/config")
    command.add_argument("--rollback", action="store_true", help="switch back to the previous release")
    command.add_argument("--dry-run", action="store_true", help="only compare what the device has with what is needed")
    command.add_argument("--bench", action="store_true", help="measure there afterwards; see facette bench")
    command.add_argument("--json", metavar="FILE", help="write what was found and done; - for standard output")
    add_bench_options(command)
    add_device_options(command)


def run(arguments: argparse.Namespace) -> None:
    """Does it."""
    from facette.deploy.bench import bench_there
    from facette.deploy.deploy import switch
    from facette.deploy.preflight import refuse
    from facette_runtime.report import to_table

    if arguments.rollback:
        _roll_back(arguments)
        return
    if arguments.bundle is None:
        raise FacetteError("deploy: name a bundle and a device, or --rollback and a device")
    with open_session(arguments, arguments.device) as session:
        plan, staged = bring(arguments, session, arguments.dry_run)
        switched = report = None
        if staged is not None:
            with steps() as session.tell:
                switched = switch(staged, session)
                report = bench_there(session, staged.release, bench_request(arguments)) if arguments.bench else None
            say(arguments, describe(plan, staged, switched))
            if report is not None:
                say(arguments, "\n" + to_table(report))
    if arguments.json:
        write_json(arguments.json, Outcome(arguments.device, plan.facts, plan.checks, staged, switched, report))
    refuse(arguments.device, plan.checks)


def describe(plan: Plan, staged: Staged, switched: Switched) -> str:
    """What was done, for people."""
    copied = (
        f"{staged.copied_bytes:,} bytes copied, sha256 checked on the device"
        if staged.copied_bytes
        else "nothing to copy: all there"
    )
    resumed = f" ({staged.resumed_bytes:,} bytes were there from a deployment that was cut off)" if staged.resumed_bytes else ""
    lines = [
        ("environment", _environment(plan, staged)),
        ("copy", copied + resumed + (" (what was there was damaged)" if staged.repaired else "")),
        ("self-test", switched.selftest.removeprefix("selftest ")),
        ("current", f"{plan.manifest.name}, {switched.current}" + ("" if switched.changed else " (as before)")),
        ("previous", switched.previous or "none"),
    ]
    if staged.removed:
        lines.append(("removed", ", ".join(staged.removed)))
    lines.append(("to use it", f"{staged.root}/current/facette-run identify --bundle {staged.root}/current/bundle.facette …"))
    width = max(len(name) for name, _ in lines)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in lines)


def _environment(plan: Plan, staged: Staged) -> str:
    if plan.environment is None:
        return "the Python that --python names"
    if staged.installed:
        wanted = [re.split(r"[^\w.-]", requirement)[0] for requirement in plan.environment.requirements]
        versions = [f"{name} {staged.installed[name]}" for name in wanted if name in staged.installed]
        return f"made envs/{staged.environment}: {', '.join(versions)}"
    return f"envs/{staged.environment}, there already"


def _roll_back(arguments: argparse.Namespace) -> None:
    from facette.deploy.deploy import rollback

    if arguments.bundle is not None:
        raise FacetteError("--rollback takes a device and no bundle")
    with open_session(arguments, arguments.device) as session, steps() as session.tell:
        release = rollback(session)
    if arguments.json:
        write_json(arguments.json, release)
    say(arguments, f"{arguments.device}: switched back to {release.name}, {release.release} (facette-runtime {release.runtime})")
