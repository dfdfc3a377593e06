"""What a deployment will do: the device's facts against the bundle's needs. Planning changes nothing on the device."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from facette.deploy.environment import Environment, needed_environment
from facette.deploy.facts import Facts, State
from facette.deploy.preflight import LIBRARIES, Check, Needs, preflight
from facette.deploy.runtime_wheel import RuntimePackage, runtime_package, write_runtime_wheel
from facette.deploy.session import Session
from facette.target import Gpu, load_target, target_names
from facette_runtime.bundle import Bundle
from facette_runtime.engines import ENGINES
from facette_runtime.errors import FacetteError
from facette_runtime.manifest import Manifest
from facette_runtime.schema import from_dict


@dataclass(frozen=True, slots=True)
class Settings:
    """What the user decides.

    Attributes:
        python: a Python on the device that has all libraries; None to make an environment for them.
        offline: carry the libraries' wheels along; the device needs no network.
        wheels: the folder that they are taken from; None for pip's index.
    """

    python: str | None = None
    offline: bool = False
    wheels: Path | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """A deployment that is about to be.

    Attributes:
        bundle, bundle_sha256: the file.
        manifest: what it says.
        wheel, wheel_sha256: the runtime.
        package: what the runtime says of itself.
        settings: the user's.
        facts: what the device is.
        state: what was deployed there.
        environment: see `Needs`.
        checks: the pre-flight.
        release: name of the release: bundle, runtime and the Python that runs them.
    """

    bundle: Path
    bundle_sha256: str
    manifest: Manifest
    wheel: Path
    wheel_sha256: str
    package: RuntimePackage
    settings: Settings
    facts: Facts
    state: State
    environment: Environment | None
    checks: tuple[Check, ...]
    release: str


def make_plan(bundle: Path, session: Session, settings: Settings, folder: Path) -> Plan:
    """Reads the bundle, asks the device, and compares.

    Args:
        bundle: made by ``facette compile``.
        session: to the device.
        settings: the user's.
        folder: where the runtime's wheel is written to, here.

    Raises:
        FacetteError: the bundle is damaged, or the connection broke. What the device lacks is in the plan's checks.
    """
    session.tell("checking the bundle")
    manifest = Bundle.open(bundle, check_target=False).manifest
    bundle_sha256 = file_sha256(bundle)
    package = runtime_package()
    wheel = write_runtime_wheel(folder, package)
    wheel_sha256 = file_sha256(wheel)
    session.tell(f"asking {session.address.text} what it is")
    engines = frozenset({manifest.detector.engine, manifest.embedder.engine})
    facts, state = _ask_facts(session, engines), ask_state(session)
    environment = None if settings.python else needed_environment(engines, facts, package)
    size_mb = bundle.stat().st_size / 1e6
    needs = Needs(manifest, size_mb, package.requires_python, environment, settings.offline, _gpu(manifest))
    python = environment.key if environment else facts.executable
    release = f"{bundle_sha256[:16]}-{hashlib.sha256(f'{wheel_sha256} {python}'.encode()).hexdigest()[:8]}"
    checks = preflight(needs, facts, state)
    return Plan(bundle, bundle_sha256, manifest, wheel, wheel_sha256, package, settings, facts, state, environment, checks, release)


def ask_state(session: Session) -> State:
    """What is deployed there now.

    Raises:
        FacetteError: the connection broke.
    """
    return from_dict(State, session.call("state"), f"{session.address.text}'s answer")


def _ask_facts(session: Session, engines: frozenset[str]) -> Facts:
    unknown = sorted(engines - set(ENGINES))
    if unknown:
        raise FacetteError(f"unknown engine {unknown[0]!r}; known engines: {', '.join(ENGINES)}")
    modules = ["venv", "ensurepip", *LIBRARIES, *(module for engine in sorted(engines) for module in ENGINES[engine].needs)]
    return from_dict(Facts, session.call("probe", modules=modules), f"{session.address.text}'s answer")


def file_sha256(path: Path) -> str:
    """Digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _gpu(manifest: Manifest) -> Gpu | None:
    """Of the target, which is known by name unless it is the user's own file."""
    return load_target(manifest.target.name).gpu if manifest.target.name in target_names() else None
