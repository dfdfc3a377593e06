"""How a diagnosis is told to people."""

from __future__ import annotations

import platform
import textwrap

from facette_runtime.device import Device
from facette_runtime.doctor import Diagnosis


def to_table(diagnosis: Diagnosis) -> str:
    """For people: the device, then found against needed, then what to do; no trailing newline."""
    facts = _facts(diagnosis.device)
    lines = [f"facette-runtime {diagnosis.runtime} on Python {platform.python_version()}", ""]
    for name, fact in facts.items():
        lines += textwrap.wrap(fact, 100, initial_indent=f"{name:<13}", subsequent_indent=" " * 13) or [name]
    lines += [
        "",
        f"{diagnosis.bundle}, for {diagnosis.target}" if diagnosis.bundle else "no bundle given: what the runtime itself needs",
    ]
    rows = [("", "found", "needed"), *((check.what, check.found, check.needed) for check in diagnosis.checks)]
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    verdicts = ["", *(check.verdict.upper() if check.verdict != "ok" else "ok" for check in diagnosis.checks)]
    for verdict, row in zip(verdicts, rows):
        lines.append(f"{verdict:<8} {row[0]:<{widths[0]}}  {row[1]:<{widths[1]}}  {row[2]}".rstrip())
    lines += [f"{check.what}: {check.advice}" for check in diagnosis.checks if check.advice]
    missing = sum(check.verdict == "missing" for check in diagnosis.checks)
    lines += ["", "fit" if diagnosis.fit else f"NOT FIT: {missing} thing{'s' if missing > 1 else ''} missing"]
    if diagnosis.fit and diagnosis.bundle:
        lines[-1] += f"; next: facette-run selftest --bundle {diagnosis.bundle}"
    return "\n".join(lines)


def _facts(device: Device) -> dict[str, str]:
    machine, unknown = device.machine, "unknown"
    clock = f", {device.clock_mhz} MHz" if device.clock_mhz else ""
    free = unknown if device.memory_free_mb is None else f"{device.memory_free_mb:.0f} MB"
    total = unknown if machine.memory_mb is None else f"{machine.memory_mb:.0f} MB"
    facts = {
        "device": machine.model or unknown,
        "chip": device.soc or unknown,
        "processor": f"{device.architecture}, {machine.cores} cores{clock}",
        "features": unknown if device.cpu_features is None else " ".join(device.cpu_features),
        "memory": f"{total}, {free} free",
        "disk": f"{device.disk_free_mb / 1024:.1f} GB free",
        "temperature": unknown if device.temperature_c is None else f"{device.temperature_c:.1f} °C",
        "throttling": unknown if device.throttling is None else ", ".join(device.throttling) or "none",
        "system": f"{device.system or machine.system}, glibc {device.glibc or unknown}",
        "libraries": ", ".join(f"{name} {version}" for name, version in device.libraries.items()) or unknown,
        "engines": ", ".join(f"{name} {version}" for name, version in device.engines.items()) or "none",
        "cameras": ", ".join(f"{camera.device} ({camera.name or unknown})" for camera in device.cameras) or "none",
    }
    if device.jetson is not None:
        jetson = device.jetson
        versions = {
            "JetPack": jetson.jetpack,
            "Jetson Linux": jetson.jetson_linux,
            "TensorRT": jetson.tensorrt,
            "CUDA": jetson.cuda,
        }
        facts["Jetson"] = ", ".join(f"{name} {version or unknown}" for name, version in versions.items())
        facts["power mode"] = jetson.power_mode or unknown
    return facts
