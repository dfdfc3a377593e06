"""Architectures have many names; a bundle for another machine is refused in one line."""

from __future__ import annotations

import struct

import pytest

from facette_runtime import target
from facette_runtime.errors import BundleError
from facette_runtime.manifest import TargetFacts

PI_5 = TargetFacts("raspberry-pi-5", "aarch64", ("asimddp",))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("arm64", "aarch64"),
        ("ARM64", "aarch64"),
        ("arm64v8", "aarch64"),
        ("aarch64", "aarch64"),
        ("AMD64", "x86_64"),
        ("x64", "x86_64"),
        ("i386", "i686"),
        ("armhf", "armv7l"),
        ("riscv64", "riscv64"),
    ],
)
def test_one_spelling_for_each_architecture(name: str, expected: str) -> None:
    assert target.canonical_architecture(name) == expected


@pytest.mark.parametrize(
    ("machine", "bits", "expected"),
    [("arm64", 64, "aarch64"), ("aarch64", 32, "armv7l"), ("x86_64", 32, "i686"), ("armv7l", 32, "armv7l")],
)
def test_a_32_bit_python_is_a_32_bit_machine(monkeypatch: pytest.MonkeyPatch, machine: str, bits: int, expected: str) -> None:
    monkeypatch.setattr(target.platform, "machine", lambda: machine)
    monkeypatch.setattr(struct, "calcsize", lambda _: bits // 8)
    assert target.this_architecture() == expected


@pytest.mark.parametrize(
    ("architecture", "features", "reason"),
    [
        ("aarch64", frozenset({"asimddp", "fp"}), None),
        ("aarch64", None, None),
        ("aarch64", frozenset({"fp"}), "for target 'raspberry-pi-5', whose CPU has asimddp; this one has not"),
        ("x86_64", frozenset(), "for target 'raspberry-pi-5' (aarch64), but this machine is x86_64"),
        (
            "armv7l",
            None,
            "for target 'raspberry-pi-5' (aarch64), but this machine is armv7l; install its 64-bit system and Python",
        ),
    ],
)
def test_mismatch(architecture: str, features: frozenset[str] | None, reason: str | None) -> None:
    assert target.mismatch(PI_5, architecture, features) == reason


def test_a_bundle_for_another_architecture_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(target.platform, "machine", lambda: "x86_64")
    with pytest.raises(BundleError, match=r"^pi\.facette is for target 'raspberry-pi-5' \(aarch64\), but this machine is x86_64$"):
        target.check_target(PI_5, "pi.facette")
