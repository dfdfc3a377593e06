"""What a processor says that it can do, and what follows."""

from __future__ import annotations

from pathlib import Path

import pytest

from facette_runtime.processor import cpu_features, int8_overflows


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("flags\t\t: fpu sse2 avx2\n", frozenset({"fpu", "sse2", "avx2"})),
        ("BogoMIPS\t: 108.00\nFeatures\t: fp asimd\n\nprocessor\t: 1\nFeatures\t: fp\n", frozenset({"fp", "asimd"})),
        (
            "processor : 0\nflags\t\t: fpu avx2 avx512_vnni\n\nprocessor : 1\nflags : fpu\n",
            frozenset({"fpu", "avx2", "avx512_vnni"}),
        ),
        ("processor : 0\nFeatures\t: fp asimd asimddp\n", frozenset({"fp", "asimd", "asimddp"})),
        ("processor\t: 0\n", None),
    ],
)
def test_features_of_the_first_core(tmp_path: Path, text: str, expected: frozenset[str] | None) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    assert cpu_features(tmp_path / "cpuinfo") == expected
    assert cpu_features(tmp_path / "nothing") is None


@pytest.mark.parametrize(
    ("features", "overflows"),
    [
        ({"avx2"}, True),
        ({"avx2", "avx512f"}, True),
        ({"avx2", "avx512_vnni"}, False),
        ({"avx2", "avx_vnni"}, False),
        ({"asimd", "asimddp"}, False),
        (None, False),
    ],
)
def test_x86_without_vnni_overflows_in_int8(features: set[str] | None, overflows: bool) -> None:
    assert int8_overflows(None if features is None else frozenset(features)) is overflows
