"""The story of a deployment: environment, copy, self-test, and only then the switch. And the way back."""

from __future__ import annotations

import getpass
import platform
import tempfile
from dataclasses import dataclass
from pathlib import Path

from facette.deploy.environment import Environment, fetch_wheels
from facette.deploy.plan import Plan, ask_state, file_sha256
from facette.deploy.preflight import refuse
from facette.deploy.session import Session
from facette.deploy.upload import Upload, upload
from facette_runtime.errors import FacetteError
from facette_runtime.schema import from_dict

_LOCK_WAIT_S = 10.0  # after a deployment was killed, its program on the device still reads what was under way


@dataclass(frozen=True, slots=True)
class Staged:
    """A release that lies on the device, whole; whether it runs is for the self-test to say.

    Attributes:
        release: its name.
        root: the deployment's folder there.
        copied_bytes: sent for it, wheels included; 0 where all was there.
        resumed_bytes: left by a deployment that was cut off, and used.
        repaired: whether what lay there or arrived was damaged and was sent again.
        environment: the environment's key; None where it runs on a Python that the user named.
        installed: version by distribution, of an environment that was made now; empty where it was there.
        removed: older releases that were cleared away.
    """

    release: str
    root: str
    copied_bytes: int
    resumed_bytes: int
    repaired: bool
    environment: str | None
    installed: dict[str, str]
    removed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Switched:
    """What runs now.

    Attributes:
        current, previous: releases; ``previous`` is None after the first deployment.
        changed: whether ``current`` is another than before.
        selftest: its last line.
    """

    current: str
    previous: str | None
    changed: bool
    selftest: str


@dataclass(frozen=True, slots=True)
class Release:
    """What ``release.json`` says of a release; see `facette.deploy.device.staging.stage`."""

    release: str
    name: str
    bundle_sha256: str
    runtime: str
    python: str
    environment: str | None
    staged: float


def stage(plan: Plan, session: Session, keep: int) -> Staged:
    """Brings a release to the device beside the one that runs, which stays as it is.

    Args:
        plan: whose checks must have passed.
        session: to the device.
        keep: how many releases stay there, the current and the previous one among them.

    Raises:
        FacetteError: a check refuses, somebody else is deploying, no wheels, no room, or the connection broke.
    """
    refuse(session.address.text, plan.checks)
    _lock(session)
    state = ask_state(session)  # again: before we had the lock somebody could have changed things
    before = session.sent_bytes
    installed: dict[str, str] = {}
    if plan.environment is not None and plan.environment.key not in state.environments:
        installed = _make_environment(plan, plan.environment, session)
    uploads: list[Upload] = []
    session.tell("comparing digests")
    condition = session.call("condition", release=plan.release, bundle_sha256=plan.bundle_sha256)
    if condition != "intact":
        uploads = [upload(session, plan.bundle, plan.bundle_sha256), upload(session, plan.wheel, plan.wheel_sha256)]
        session.tell("staging the release")
        session.call("stage", release=plan.release, wheel_sha256=plan.wheel_sha256, python=_python(plan), record=_record(plan))
    return Staged(
        release=plan.release,
        root=state.root,
        copied_bytes=session.sent_bytes - before,
        resumed_bytes=sum(item.resumed for item in uploads),
        repaired=condition == "damaged" or any(item.repeated for item in uploads),
        environment=plan.environment.key if plan.environment else None,
        installed=installed,
        removed=tuple(session.call("prune", keep=keep, staged=plan.release)),
    )


def switch(staged: Staged, session: Session) -> Switched:
    """Replays the golden certificate on the device and, if it passes, makes the release the current one.

    Raises:
        FacetteError: the self-test failed; the release is removed and what ran before still runs.
    """
    state = ask_state(session)
    session.tell("self-test on the device")
    answer = session.call("run", release=staged.release, arguments=["selftest", "--bundle", "{bundle}"])
    if answer["status"]:
        if staged.release not in (state.current, state.previous):
            session.call("discard", release=staged.release)
        said = (answer["output"].strip() or answer["errors"].strip() or f"status {answer['status']}").splitlines()
        failed = next((line for line in said if line.startswith("FAIL")), said[-1])
        runs = f"{state.current} still runs" if state.current else "nothing was switched on"
        raise FacetteError(f"{session.address.text}: self-test failed: {failed}; {runs}")
    session.call("switch", release=staged.release)
    now = ask_state(session)
    return Switched(staged.release, now.previous, state.current != staged.release, answer["output"].strip().splitlines()[-1])


def rollback(session: Session) -> Release:
    """Makes the previous release the current one, and the current the previous.

    Raises:
        FacetteError: there is none to go back to, or somebody else is deploying.
    """
    state = ask_state(session)
    if state.previous is None:
        raise FacetteError(f"{session.address.text}: {state.root} has no previous release to go back to")
    _lock(session)
    return from_dict(Release, session.call("rollback"), "release.json")


def _lock(session: Session) -> None:
    session.call("lock", who=f"{getpass.getuser()} on {platform.node()}", wait_s=_LOCK_WAIT_S)


def _make_environment(plan: Plan, environment: Environment, session: Session) -> dict[str, str]:
    """Has the device make it: with pip from its index, or from wheels that are fetched here and sent."""
    offline = plan.settings.offline
    with tempfile.TemporaryDirectory(prefix="facette-wheels-") as folder:
        wanted = [*environment.requirements, "pip"] if offline else [] if "ensurepip" in plan.facts.modules else ["pip"]
        wheels = []
        if wanted:
            session.tell(f"fetching wheels for {plan.facts.architecture}, Python {plan.facts.python}")
            wheels = fetch_wheels(wanted, plan.facts, plan.settings.wheels, Path(folder))
        sent = []
        for wheel in wheels:
            sha256 = file_sha256(wheel)
            upload(session, wheel, sha256)
            sent.append((sha256, wheel.name))
        installed: dict[str, str] = session.call(
            "environment",
            key=environment.key,
            requirements=environment.requirements,
            wheels=sent,
            offline=offline,
            system_packages=environment.system_packages,
        )
    return installed


def _python(plan: Plan) -> str:
    if plan.environment is None:
        return plan.facts.executable
    return f"{plan.state.root}/envs/{plan.environment.key}/bin/python"


def _record(plan: Plan) -> dict[str, object]:
    return {
        "name": plan.manifest.name,
        "bundle_sha256": plan.bundle_sha256,
        "runtime": plan.package.version,
        "python": _python(plan),
        "environment": plan.environment.key if plan.environment else None,
    }
