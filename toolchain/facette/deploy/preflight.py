"""Is this the device for this bundle, and has it all that is needed? Asked before anything is copied."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from packaging.specifiers import SpecifierSet

from facette.deploy.environment import Environment
from facette.deploy.facts import Facts, State
from facette.tables import table
from facette.target import Gpu
from facette_runtime.engines import ENGINES
from facette_runtime.errors import FacetteError
from facette_runtime.manifest import Manifest
from facette_runtime.target import canonical_architecture

Verdict = Literal["ok", "note", "refused"]

LIBRARIES = ("numpy", "cv2")

# What the oldest wheels of the libraries are built against (manylinux_2_27, PEP 600).
_OLDEST_GLIBC = (2, 27)
# Room for Python with numpy, OpenCV and an engine in memory; a report's peak says what it really was.
_RUNTIME_MEMORY_MB = 128
# Room for the same three unpacked, with pip's downloads beside them while it installs.
_ENVIRONMENT_MB = 600


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the pre-flight.

    Attributes:
        name: what is looked at.
        needed, found: for people.
        verdict: "note" is worth knowing and no obstacle.
    """

    name: str
    needed: str
    found: str
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Needs:
    """What a bundle asks of a device.

    Attributes:
        manifest: the bundle's.
        bundle_mb: its size in MB of 10^6 bytes.
        requires_python: of the runtime.
        environment: to be made or found there; None where the user named a Python that has everything.
        offline: whether the environment's wheels are carried along.
        gpu: the target's; None where it has none or isn't known here.
    """

    manifest: Manifest
    bundle_mb: float
    requires_python: str
    environment: Environment | None
    offline: bool
    gpu: Gpu | None

    @property
    def engines(self) -> frozenset[str]:
        """Of both networks."""
        return frozenset({self.manifest.detector.engine, self.manifest.embedder.engine})


def preflight(needs: Needs, facts: Facts, state: State) -> tuple[Check, ...]:
    """Every check, in the order in which a refusal tells most."""
    to_make = needs.environment is not None and needs.environment.key not in state.environments
    checks = [_architecture(needs, facts)]
    if needs.manifest.target.cpu_features:
        checks.append(_features(needs, facts))
    checks.append(_python(needs, facts))
    checks.append(_libraries(needs, facts, state))
    if to_make:
        checks.append(_glibc(facts))
    checks += [_memory(needs, facts), _disk(needs, facts, to_make), _folder(facts, state)]
    if "tensorrt" in needs.engines:
        checks.append(_tensorrt(needs, facts))
    return tuple(checks)


def refused(checks: Sequence[Check]) -> list[Check]:
    """Those that keep the bundle off the device."""
    return [check for check in checks if check.verdict == "refused"]


def refuse(where: str, checks: Sequence[Check]) -> None:
    """Raises FacetteError when a check says so."""
    if refused(checks):
        lines = "; ".join(f"{check.name}: needed {check.needed}, found {check.found}" for check in refused(checks))
        raise FacetteError(f"{where} can't take this bundle ({lines}); nothing was copied")


def to_table(checks: Sequence[Check]) -> str:
    """Found against needed, for people."""
    return table(["check", "needed", "found", "verdict"], [[c.name, c.needed, c.found, c.verdict] for c in checks])


def _verdict(fits: bool) -> Verdict:
    return "ok" if fits else "refused"


def _architecture(needs: Needs, facts: Facts) -> Check:
    target = needs.manifest.target
    here = facts.architecture if facts.bits == 64 else f"{facts.architecture}, but a {facts.bits}-bit system"
    fits = canonical_architecture(target.architecture) == canonical_architecture(facts.architecture) and facts.bits == 64
    return Check("architecture", f"{target.architecture} ({target.name})", here, _verdict(fits))


def _features(needs: Needs, facts: Facts) -> Check:
    wanted = needs.manifest.target.cpu_features
    text = ", ".join(wanted)
    if facts.cpu_features is None:
        return Check("CPU features", text, "the system doesn't tell", "note")
    missing = [feature for feature in wanted if feature not in facts.cpu_features]
    return Check("CPU features", text, f"without {', '.join(missing)}" if missing else "all of them", _verdict(not missing))


def _python(needs: Needs, facts: Facts) -> Check:
    fits = SpecifierSet(needs.requires_python).contains(facts.python, prereleases=True)
    return Check("Python", needs.requires_python, f"{facts.python} ({facts.executable})", _verdict(fits))


def _libraries(needs: Needs, facts: Facts, state: State) -> Check:
    """The environment is there, or can be made, or the user's own Python has what is needed."""
    wanted = ", ".join(["numpy", "OpenCV", *sorted(needs.engines - {"null"})])
    if needs.environment is None:
        missing = [module for module in LIBRARIES if module not in facts.modules]
        missing += [
            engine
            for engine in sorted(needs.engines)
            if ENGINES[engine].needs and not set(ENGINES[engine].needs) & set(facts.modules)
        ]
        return Check("libraries", wanted, f"no {', '.join(missing)}" if missing else "in that Python", _verdict(not missing))
    if needs.environment.key in state.environments:
        return Check("libraries", wanted, f"in envs/{needs.environment.key}", "ok")
    if "venv" not in facts.modules:
        return Check("libraries", wanted, "no venv to install them into (apt install python3-venv)", "refused")
    return Check("libraries", wanted, f"to be installed {'from here' if needs.offline else 'from its package index'}", "ok")


def _glibc(facts: Facts) -> Check:
    found = tuple(int(part) for part in (facts.glibc or "0.0").split(".")[:2])
    needed = ".".join(map(str, _OLDEST_GLIBC))
    told = f"{facts.glibc} ({facts.system})" if facts.glibc else f"no glibc ({facts.system})"
    return Check("glibc", f"{needed} or newer, for the wheels", told, _verdict(found >= _OLDEST_GLIBC))


def _memory(needs: Needs, facts: Facts) -> Check:
    needed = _RUNTIME_MEMORY_MB + 4 * needs.bundle_mb
    if facts.memory_available_mb is None:
        return Check("memory", f"{needed:.0f} MB free", f"{facts.memory_mb:.0f} MB in all", _verdict(facts.memory_mb >= needed))
    found = f"{facts.memory_available_mb:.0f} MB free of {facts.memory_mb:.0f} MB"
    return Check("memory", f"{needed:.0f} MB free", found, _verdict(facts.memory_available_mb >= needed))


def _disk(needs: Needs, facts: Facts, to_make: bool) -> Check:
    needed = 10 + 2 * needs.bundle_mb + (_ENVIRONMENT_MB if to_make else 0)
    return Check("disk", f"{needed:.0f} MB free", f"{facts.disk_free_mb:.0f} MB free", _verdict(facts.disk_free_mb >= needed))


def _folder(facts: Facts, state: State) -> Check:
    return Check("folder", "can be written to", state.root if facts.writable else f"{state.root} can't", _verdict(facts.writable))


def _tensorrt(needs: Needs, facts: Facts) -> Check:
    """Absent TensorRT is no obstacle: the engine falls back to ONNX Runtime. It is told, since it is much slower."""
    wanted = f"TensorRT {needs.gpu.tensorrt} of JetPack {needs.gpu.jetpack}" if needs.gpu else "TensorRT"
    if facts.tensorrt is None and "tensorrt" not in facts.modules:
        return Check("JetPack", wanted, "no TensorRT: the networks will run on ONNX Runtime", "note")
    jetpack = f" of JetPack {facts.jetpack}" if facts.jetpack else f", Jetson Linux {facts.l4t}" if facts.l4t else ""
    found = f"TensorRT {facts.tensorrt or 'of that Python'}{jetpack}"
    same = needs.gpu is None or facts.l4t is None or facts.l4t.split(".")[0] == needs.gpu.jetson_linux.split(".")[0]
    return Check("JetPack", wanted, found, "ok" if same else "note")
