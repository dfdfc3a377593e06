"""What a bundle's file looks like."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from facette.bundle import packed_size, write_bundle
from facette_runtime.bundle import Bundle
from tests.runtime import bundles


def test_a_bundle_is_packed_and_equal_for_equal_contents(tmp_path: Path) -> None:
    files = {**bundles.bundle_files(), "zeros": bytes(100_000)}
    paths = [tmp_path / "one.facette", tmp_path / "two.facette"]
    for path in paths:
        write_bundle(path, bundles.manifest(files), files)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert paths[0].stat().st_size < 20_000
    opened = Bundle.open(paths[0])
    for _ in range(2):  # networks are kept from the check for the first
        assert {name: opened.read(name) for name in files} == files


@pytest.mark.parametrize("bits", [4, 5, 8])
def test_weights_of_few_bits_take_few_bits_in_a_bundle(tmp_path: Path, bits: int) -> None:
    last = 2 ** (bits - 1) - 1
    weights = np.random.default_rng(0).normal(0, last / 3, 50_000).round().clip(-last, last).astype(np.int8)
    share = np.unique(weights, return_counts=True)[1] / len(weights)
    entropy = -float((share * np.log2(share)).sum()) / 8
    files = {**bundles.bundle_files(), "weights": weights.tobytes()}
    path = tmp_path / "b.facette"
    write_bundle(path, bundles.manifest(files), files)
    assert Bundle.open(path).read("weights") == weights.tobytes()
    with zipfile.ZipFile(path) as archive:
        taken = archive.getinfo("weights").compress_size
    assert abs(packed_size(weights.tobytes()) - taken) < 32  # a zip has no header of the packing's own
    assert entropy * 0.99 < taken / len(weights) < entropy * 1.06
