"""What the system says about this machine. A fact that it does not tell is None, never a guess."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
from dataclasses import dataclass
from pathlib import Path

from facette_runtime.processor import cpu_features

ROOT = Path("/")
"""Where the system's files are looked for; tests give a folder that plays another machine."""

# `vcgencmd get_throttled`, documentation of Raspberry Pi OS: bits 0-3 now, 16-19 since boot.
_THROTTLE_BITS = {
    0: "under-voltage now",
    1: "ARM frequency capped now",
    2: "throttled now",
    3: "soft temperature limit now",
    16: "under-voltage has occurred",
    17: "ARM frequency capping has occurred",
    18: "throttling has occurred",
    19: "soft temperature limit has occurred",
}

_INSTRUCTIONS = (
    *("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16"),
    *("asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve"),
)


@dataclass(frozen=True, slots=True)
class Machine:
    """The device as a report names it.

    Attributes:
        model: board or CPU name, None where the system does not tell.
        architecture: as Python names it, e.g. "aarch64".
        cores: that this process may use.
        memory_mb: installed memory.
        system: operating system and kernel.
        python: version.
        instructions: those of the processor that decide how fast it multiplies in each precision, as Linux names them; empty where
            the system does not tell. Processors of one name differ in them, above all in clouds.
    """

    model: str | None
    architecture: str
    cores: int
    memory_mb: float | None
    system: str
    python: str
    instructions: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Model and instructions, for people."""
        model = self.model or "unknown CPU"
        return f"{model} ({', '.join(self.instructions)})" if self.instructions else model


def describe_machine(root: Path = ROOT) -> Machine:
    """Facts that do not change while running."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    can = cpu_features(root / "proc/cpuinfo") or ()
    return Machine(
        _model(root),
        platform.machine(),
        cores,
        proc_mb("meminfo", "MemTotal", root),
        platform.platform(),
        platform.python_version(),
        tuple(name for name in _INSTRUCTIONS if name in can),
    )


def rss_mb(root: Path = ROOT) -> float | None:
    """Resident memory of this process now, in MB of 2^20 bytes."""
    return proc_mb("self/status", "VmRSS", root)


def peak_rss_mb(root: Path = ROOT) -> float | None:
    """Highest resident memory so far, in MB of 2^20 bytes.

    From VmHWM: ru_maxrss survives exec on Linux, so it may show the memory of the program that started this one.
    """
    peak = proc_mb("self/status", "VmHWM", root)
    if peak is not None:
        return peak
    unit = 2**20 if platform.system() == "Darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def process_age_ms(root: Path = ROOT) -> float | None:
    """Time since this process started, to the kernel's clock tick (10 ms)."""
    try:
        fields = (root / "proc/self/stat").read_text().rpartition(")")[2].split()
        uptime = float((root / "proc/uptime").read_text().split()[0])
    except OSError:
        return None
    return (uptime - int(fields[19]) / os.sysconf("SC_CLK_TCK")) * 1000


def cpu_temperature_c(root: Path = ROOT) -> float | None:
    """The hottest thermal zone that names a CPU or SoC, else the first zone, in °C."""
    zones = {}
    for zone in sorted((root / "sys/class/thermal").glob("thermal_zone*")):
        kind, level = file_text(zone / "type"), file_text(zone / "temp")
        if kind is not None and level is not None and level.lstrip("-").isdigit():
            zones[zone.name] = (kind.lower(), int(level) / 1000)
    cpu = [level for kind, level in zones.values() if any(word in kind for word in ("cpu", "soc", "pkg"))]
    if cpu:
        return max(cpu)
    return next((level for _, level in zones.values()), None)


def throttling(root: Path = ROOT) -> tuple[str, ...] | None:
    """What a Raspberry Pi says of under-voltage and throttling; empty when all is well, None on other machines."""
    # soc/soc:firmware up to the Pi 4; later kernels put the bus's address into the names.
    files = sorted((root / "sys/devices/platform").glob("soc*/soc*firmware/get_throttled"))
    word = file_text(files[0]) if files else None
    if word is None:
        try:
            answer = subprocess.run(["vcgencmd", "get_throttled"], capture_output=True, text=True, timeout=2, check=True)
        except (OSError, subprocess.SubprocessError):
            return None
        word = answer.stdout.strip().rpartition("=")[2]
    try:
        bits = int(word, 16)
    except ValueError:
        return None
    return tuple(text for bit, text in _THROTTLE_BITS.items() if bits >> bit & 1)


def proc_mb(file: str, key: str, root: Path = ROOT) -> float | None:
    """A line "key: n kB" of a file in /proc, in MB of 2^20 bytes."""
    for line in (file_text(root / "proc" / file) or "").splitlines():
        name, _, value = line.partition(":")
        if name == key:
            return int(value.split()[0]) / 1024
    return None


def file_text(path: Path) -> str | None:
    """A file of the system, without white space and zero bytes at its ends; None where there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip(" \t\n\0")
    except OSError:
        return None


def _model(root: Path) -> str | None:
    board = file_text(root / "proc/device-tree/model")
    if board:
        return board
    for line in (file_text(root / "proc/cpuinfo") or "").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return None
