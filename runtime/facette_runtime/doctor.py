"""First aid: what this device has against what the runtime and a bundle need, and what to do about the difference."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from facette_runtime import __version__
from facette_runtime.bundle import Bundle
from facette_runtime.device import Device
from facette_runtime.engines import ENGINES
from facette_runtime.manifest import Manifest, NetworkEntry
from facette_runtime.processor import int8_overflows
from facette_runtime.schema import to_dict
from facette_runtime.target import canonical_architecture

Verdict = Literal["ok", "warning", "missing", "unknown"]

PYTHON = (3, 10)
"""The oldest Python that the runtime supports."""

HOT_C = 80.0
"""A Raspberry Pi lowers its clock from here on; so do others, a little later."""

BASE_MB = 120.0
"""Memory that Python, numpy, OpenCV and an engine take before a network is loaded: bench reports 94 to 101 MB at the peak."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing, found against needed.

    Attributes:
        what: "architecture", "engine of the detector", …
        found, needed: for people.
        verdict: "missing" is what keeps it from working; "warning" makes it slow or shaky; "unknown" could not be looked up.
        advice: what to do; empty when all is well.
    """

    what: str
    found: str
    needed: str
    verdict: Verdict
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Everything that `facette-run doctor` has to say; ``bundle`` is None when none was asked about."""

    runtime: str
    device: Device
    bundle: str | None
    target: str | None
    checks: tuple[Check, ...]

    @property
    def fit(self) -> bool:
        """Whether nothing that is needed is missing."""
        return all(check.verdict != "missing" for check in self.checks)

    def to_json(self) -> str:
        """For machines."""
        return json.dumps({**to_dict(self), "fit": self.fit}, indent=2) + "\n"


def diagnose(device: Device, bundle: Bundle | None = None) -> Diagnosis:
    """Compares.

    Args:
        device: see `facette_runtime.device.inspect_device`.
        bundle: opened without the check of its target, so that a wrong one is told here, among the rest.
    """
    checks = [*_runtime_needs(device), *_health(device)]
    if bundle is None:
        return Diagnosis(__version__, device, None, None, tuple(checks))
    checks += _bundle_needs(device, bundle.manifest)
    return Diagnosis(__version__, device, str(bundle.path), bundle.manifest.target.name, tuple(checks))


def _runtime_needs(device: Device) -> Iterator[Check]:
    oldest = ".".join(map(str, PYTHON))
    new_enough = tuple(map(int, device.machine.python.split(".")[:2])) >= PYTHON
    advice = "" if new_enough else f"install Python {oldest} or newer beside the system's"
    yield Check("Python", device.machine.python, f"{oldest} or newer", "ok" if new_enough else "missing", advice)
    for library, prefix in (("numpy", "numpy"), ("OpenCV", "opencv")):
        versions = [version for name, version in device.libraries.items() if name.startswith(prefix)]
        # A build of one's own, as JetPack's OpenCV is, has no package entry, and this program has already imported it.
        yield Check(library, versions[0] if versions else "imported; its package is unknown", "any", "ok")
    engines = ", ".join(f"{name} {version}" for name, version in device.engines.items())
    advice = "" if engines else "pip install 'facette-runtime[onnxruntime]' or 'facette-runtime[litert]'"
    yield Check("engines", engines or "none", "at least one", "ok" if engines else "missing", advice)


def _health(device: Device) -> Iterator[Check]:
    if device.temperature_c is not None:
        hot = device.temperature_c >= HOT_C
        advice = "cool it: a heat sink, a fan, air around it" if hot else ""
        found = f"{device.temperature_c:.0f} °C"
        yield Check("temperature", found, f"below {HOT_C:.0f} °C", "warning" if hot else "ok", advice)
    if device.throttling is not None:
        advice = ""
        if any("under-voltage" in word for word in device.throttling):
            advice = "use the power supply and cable that the board's maker names"
        elif device.throttling:
            advice = "cool it, and measure again after a restart"
        found = ", ".join(device.throttling) or "none"
        yield Check("throttling", found, "none", "warning" if device.throttling else "ok", advice)
    if device.governor == "powersave":
        yield Check("clock governor", "powersave", "any other", "warning", "the processor stays at its lowest clock")


def _bundle_needs(device: Device, manifest: Manifest) -> Iterator[Check]:
    wanted = canonical_architecture(manifest.target.architecture)
    right = device.architecture == wanted
    advice = "" if right else f"compile for this device: it is {device.architecture}; facette targets lists the known ones"
    yield Check("architecture", device.architecture, wanted, "ok" if right else "missing", advice)
    if right and manifest.target.cpu_features:
        yield _features(device, manifest.target.cpu_features)
    for role, entry in (("detector", manifest.detector), ("embedder", manifest.embedder)):
        yield _engine(device, role, entry)
        # Arm processors multiply int8 without overflow.
        if right and wanted == "x86_64" and entry.precision == "int8":
            yield _int8(device, role, entry)
    yield _memory(device, manifest)
    threads = max(manifest.detector.threads, manifest.embedder.threads)
    enough = device.machine.cores >= threads
    advice = "" if enough else f"run it with --threads {device.machine.cores}"
    yield Check(
        "cores", str(device.machine.cores), f"{threads} (threads it was compiled for)", "ok" if enough else "warning", advice
    )
    yield _disk(device, manifest)


def _features(device: Device, wanted: tuple[str, ...]) -> Check:
    needed = " ".join(wanted)
    if device.cpu_features is None:
        return Check("CPU features", "unknown", needed, "unknown", "/proc/cpuinfo cannot be read")
    lacking = [feature for feature in wanted if feature not in device.cpu_features]
    if not lacking:
        return Check("CPU features", "all of them", needed, "ok")
    return Check("CPU features", f"no {', '.join(lacking)}", needed, "missing", "compile for this device's own target")


def _engine(device: Device, role: str, entry: NetworkEntry) -> Check:
    what, needed = f"engine of the {role}", f"{entry.engine} ({entry.precision})"
    kind = ENGINES.get(entry.engine)
    version = "built in" if kind is not None and not kind.needs else device.engines.get(entry.engine)
    if version is None and entry.engine == "tensorrt" and "onnxruntime" in device.engines:
        stand_in = f"onnxruntime {device.engines['onnxruntime']} in its place"
        return Check(what, stand_in, needed, "warning", "this Python has no TensorRT: the network will run on the CPU")
    if version is None:
        return Check(what, "not installed", needed, "missing", "update facette-runtime" if kind is None else kind.install)
    return Check(what, f"{entry.engine} {version}", needed, "ok")


def _int8(device: Device, role: str, entry: NetworkEntry) -> Check:
    what, needed = f"int8 of the {role}", "no overflow"
    if device.cpu_features is None:
        return Check(what, "unknown", needed, "unknown", "/proc/cpuinfo cannot be read")
    if not int8_overflows(device.cpu_features):
        return Check(what, "none", needed, "ok")
    # OpenVINO's graph was given seven bits a weight if it was compiled on such a processor, else eight, which overflow here.
    wrong = ", and OpenVINO's may be wrong, which facette-run selftest tells" if entry.engine == "openvino" else ""
    advice = f"compile on a processor like this one: int8 is seldom faster than float here{wrong}"
    return Check(what, "x86 without VNNI", needed, "warning", advice)


def _memory(device: Device, manifest: Manifest) -> Check:
    # An engine holds a network's file, its own packed copy of the weights and the activations: about three times the file.
    networks = sum(manifest.files[entry.file].bytes for entry in (manifest.detector, manifest.embedder)) / 2**20
    need = BASE_MB + 3 * networks
    needed = f"about {need:.0f} MB"
    if device.memory_free_mb is None:
        return Check("free memory", "unknown", needed, "unknown")
    enough = device.memory_free_mb >= need
    return Check(
        "free memory",
        f"{device.memory_free_mb:.0f} MB",
        needed,
        "ok" if enough else "warning",
        "" if enough else "stop what else runs",
    )


def _disk(device: Device, manifest: Manifest) -> Check:
    need = 2 * sum(file.bytes for file in manifest.files.values()) / 2**20
    enough = device.disk_free_mb >= need
    needed = f"{need:.0f} MB (the next version beside this one)"
    return Check("free disk", f"{device.disk_free_mb:.0f} MB", needed, "ok" if enough else "warning", "" if enough else "make room")
