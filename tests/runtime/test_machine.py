"""Facts come from the system's files, and are None where there are none."""

from __future__ import annotations

from pathlib import Path

import pytest

from facette_runtime import machine


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty machine: no /proc, no /sys, no vcgencmd."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_nothing_is_invented(system: Path) -> None:
    assert machine.rss_mb(system) is None
    assert machine.process_age_ms(system) is None
    assert machine.cpu_temperature_c(system) is None
    assert machine.throttling(system) is None
    facts = machine.describe_machine(system)
    assert facts.model is None
    assert facts.memory_mb is None
    assert facts.instructions == ()
    assert facts.name == "unknown CPU"
    assert facts.cores >= 1


def test_memory_comes_from_proc(system: Path) -> None:
    _write(system / "proc/self/status", "Name:\tpython\nVmHWM:\t  204800 kB\nVmRSS:\t  102400 kB\n")
    assert (machine.rss_mb(system), machine.peak_rss_mb(system)) == (100, 200)


@pytest.mark.parametrize(
    ("cpuinfo", "name"),
    [
        ("model name\t: EPYC\nflags\t\t: fpu avx2 sse2 avx512f avx512_vnni\n", "EPYC (avx2, avx512f, avx512_vnni)"),
        ("model name\t: EPYC\nflags\t\t: fpu avx2 sse2\n", "EPYC (avx2)"),
        ("processor\t: 0\nFeatures\t: fp asimd crc32 asimdhp asimddp\n", "unknown CPU (asimd, asimdhp, asimddp)"),
        ("model name\t: old\nflags\t\t: fpu\n", "old"),
    ],
)
def test_processors_of_one_name_are_told_apart(system: Path, cpuinfo: str, name: str) -> None:
    _write(system / "proc/cpuinfo", cpuinfo)
    assert machine.describe_machine(system).name == name


def test_raspberry_pi(system: Path) -> None:
    _write(system / "proc/device-tree/model", "Raspberry Pi 5 Model B Rev 1.0\0")
    _write(system / "sys/devices/platform/soc/soc:firmware/get_throttled", "50005\n")
    assert machine.describe_machine(system).model == "Raspberry Pi 5 Model B Rev 1.0"
    assert machine.throttling(system) == (
        "under-voltage now",
        "throttled now",
        "under-voltage has occurred",
        "throttling has occurred",
    )
    _write(system / "sys/devices/platform/soc/soc:firmware/get_throttled", "0\n")
    assert machine.throttling(system) == ()


def test_the_firmware_is_found_under_its_address_too(system: Path) -> None:
    _write(system / "sys/devices/platform/soc@107c000000/soc@107c000000:firmware/get_throttled", "80000\n")
    assert machine.throttling(system) == ("soft temperature limit has occurred",)


def test_vcgencmd_where_the_kernel_does_not_say(system: Path) -> None:
    _write(system / "vcgencmd", "#!/bin/sh\necho throttled=0x4\n")
    (system / "vcgencmd").chmod(0o755)
    assert machine.throttling(system) == ("throttled now",)


@pytest.mark.parametrize(
    ("zones", "expected"),
    [
        ({"acpitz": "30000", "x86_pkg_temp": "61500"}, 61.5),
        ({"cpu-thermal": "48312"}, 48.312),
        ({"gpu-thermal": "40000"}, 40.0),
        ({"cpu-thermal": "broken"}, None),
    ],
)
def test_temperature(system: Path, zones: dict[str, str], expected: float | None) -> None:
    for index, (kind, level) in enumerate(zones.items()):
        _write(system / f"sys/class/thermal/thermal_zone{index}/type", kind + "\n")
        _write(system / f"sys/class/thermal/thermal_zone{index}/temp", level + "\n")
    assert machine.cpu_temperature_c(system) == expected


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_this_machine_answers() -> None:
    rss, peak, age = machine.rss_mb(), machine.peak_rss_mb(), machine.process_age_ms()
    assert rss is not None
    assert peak is not None
    assert age is not None
    assert 5 < rss <= peak + 1
    assert age > 0
