"""Every way in which a bundle can be wrong gives one clear line."""

from __future__ import annotations

import json
import tracemalloc
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from facette_runtime import target
from facette_runtime.bundle import Bundle
from facette_runtime.errors import BundleError
from facette_runtime.manifest import TargetFacts
from facette_runtime.schema import to_dict
from tests.runtime import bundles


def test_opens_a_valid_bundle(bundle: Bundle) -> None:
    assert bundle.manifest.embedder.name == "null-embedder"
    assert json.loads(bundle.read(bundles.DETECTOR.file)) == bundles.DETECTOR_NETWORK
    with pytest.raises(BundleError, match="no file 'nothing'"):
        bundle.read("nothing")


def _missing(path: Path) -> Path:
    return path


def _directory(path: Path) -> Path:
    path.mkdir()
    return path


def _text(path: Path) -> Path:
    path.write_text("hello")
    return path


def _empty(path: Path) -> Path:
    path.touch()
    return path


def _truncated(path: Path) -> Path:
    bundles.write_bundle(path)
    path.write_bytes(path.read_bytes()[:-100])
    return path


def _no_manifest(path: Path) -> Path:
    return bundles.write_zip(path, bundles.bundle_files())


def _manifest_not_json(path: Path) -> Path:
    return bundles.write_zip(path, {"manifest.json": b"{", **bundles.bundle_files()})


def _manifest_not_ours(path: Path) -> Path:
    return bundles.write_zip(path, {"manifest.json": b"{}"})


def _newer_major(path: Path) -> Path:
    return bundles.write_bundle(path, format=(2, 0))


def _unknown_key(path: Path) -> Path:
    files = bundles.bundle_files()
    return bundles.write_zip(
        path, {"manifest.json": json.dumps({**to_dict(bundles.manifest(files)), "colour": 1}).encode(), **files}
    )


def _missing_file(path: Path) -> Path:
    files = bundles.bundle_files()
    content = json.dumps(to_dict(bundles.manifest(files))).encode()
    del files["golden/0.png"]
    return bundles.write_zip(path, {"manifest.json": content, **files})


def _altered_file(path: Path) -> Path:
    files = bundles.bundle_files()
    content = json.dumps(to_dict(bundles.manifest(files))).encode()
    return bundles.write_zip(path, {"manifest.json": content, **files, "golden/0.png": files["golden/0.png"] + b"!"})


def _extra_file(path: Path) -> Path:
    return bundles.write_bundle(path, extra_files={"evil.py": b""})


def _no_network(path: Path) -> Path:
    return bundles.write_bundle(path, detector=replace(bundles.DETECTOR, file="networks/other.json"))


def _other_packing(path: Path) -> Path:
    return bundles.write_zip(path, {"manifest.json": b"{}"}, zipfile.ZIP_BZIP2)


def _other_architecture(path: Path) -> Path:
    return bundles.write_bundle(path, target=TargetFacts("pdp-11", "pdp11", ()))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_missing, "does not exist"),
        (_directory, "is a directory"),
        (_text, "it is not a zip file"),
        (_empty, "it is not a zip file"),
        (_truncated, "cut short or damaged"),
        (_no_manifest, "has no manifest.json"),
        (_manifest_not_json, "manifest.json is not JSON"),
        (_manifest_not_ours, "not a Facette bundle"),
        (_newer_major, r"bundle format 2\.0 is newer; this runtime reads 1\.x"),
        (_unknown_key, "unknown key 'colour'"),
        (_missing_file, "golden/0.png is missing"),
        (_altered_file, "golden/0.png is altered"),
        (_extra_file, "'evil.py' is not listed"),
        (_no_network, "the network networks/other.json is missing"),
        (_other_packing, "manifest.json is packed by another method"),
        (_other_architecture, r"for target 'pdp-11' \(pdp11\), but this machine is"),
    ],
)
def test_refuses(make, message: str, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=message) as caught:
        Bundle.open(make(tmp_path / "b.facette"))
    assert "\n" not in str(caught.value)


def test_lzma_without_the_module_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = bundles.write_zip(tmp_path / "b.facette", {"manifest.json": b"{}"}, zipfile.ZIP_LZMA)
    monkeypatch.setattr("facette_runtime.bundle.lzma", None)
    with pytest.raises(BundleError, match=r"manifest\.json needs Python's lzma module"):
        Bundle.open(path)


def test_a_file_of_another_size_is_refused_unread(tmp_path: Path) -> None:
    files = bundles.bundle_files()
    content = json.dumps(to_dict(bundles.manifest(files))).encode()
    path = bundles.write_zip(
        tmp_path / "b.facette", {"manifest.json": content, **files, "golden/0.png": bytes(1 << 26)}, zipfile.ZIP_DEFLATED
    )
    tracemalloc.start()
    with pytest.raises(BundleError, match=r"golden/0\.png is altered"):
        Bundle.open(path)
    assert tracemalloc.get_traced_memory()[1] < 1 << 24
    tracemalloc.stop()


@pytest.mark.parametrize("packing", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
def test_any_flipped_byte_is_refused_or_harmless(tmp_path: Path, packing: int) -> None:
    expected = bundles.bundle_files()
    manifest = json.dumps(to_dict(bundles.manifest(expected))).encode()
    bundle_path = bundles.write_zip(tmp_path / "good.facette", {"manifest.json": manifest, **expected}, packing)
    good = bundle_path.read_bytes()
    # The manifest comes first, behind 30 bytes of header and its name.
    manifest_start = 30 + len("manifest.json")
    # Every byte of the zip's own tables and of the first file's start; every 37th of the rest.
    tables = good.index(b"PK\x01\x02")
    places = [*range(manifest_start + 50), *range(manifest_start, tables, 37), *range(tables, len(good))]
    intact = Bundle.open(bundle_path).manifest
    refused = 0
    path = tmp_path / "flipped.facette"
    for place in places:
        path.write_bytes(good[:place] + bytes([good[place] ^ 0xFF]) + good[place + 1 :])
        try:
            opened = Bundle.open(path)
        except BundleError:
            refused += 1
            continue
        assert opened.manifest == intact, place
        assert {name: opened.read(name) for name in expected} == expected, place
    assert refused > len(places) // 2


def test_truncated_anywhere_is_refused(tmp_path: Path, bundle_path: Path) -> None:
    good = bundle_path.read_bytes()
    path = tmp_path / "short.facette"
    for length in range(0, len(good), 211):
        path.write_bytes(good[:length])
        with pytest.raises(BundleError):
            Bundle.open(path)


def test_newer_minor_is_read_and_unknown_keys_passed_over(tmp_path: Path) -> None:
    files = bundles.bundle_files()
    content = {**to_dict(bundles.manifest(files)), "format": [1, 7], "colour": "new"}
    path = bundles.write_zip(tmp_path / "b.facette", {"manifest.json": json.dumps(content).encode(), **files})
    assert Bundle.open(path).manifest.format == (1, 7)


def test_another_target_can_be_inspected(tmp_path: Path) -> None:
    path = _other_architecture(tmp_path / "b.facette")
    assert Bundle.open(path, check_target=False).manifest.target.name == "pdp-11"


@pytest.mark.parametrize(
    ("name", "same_as"), [("arm64", "aarch64"), ("AMD64", "x86_64"), ("aarch64", "aarch64"), ("armv7l", "armv7l")]
)
def test_architecture_names(name: str, same_as: str) -> None:
    assert target.canonical_architecture(name) == same_as


def test_missing_cpu_feature_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = replace(bundles.manifest(bundles.bundle_files()).target, cpu_features=("avx9",))
    monkeypatch.setattr(target, "cpu_features", lambda: frozenset({"avx2"}))
    with pytest.raises(BundleError, match="whose CPU has avx9"):
        target.check_target(facts, "b")
    monkeypatch.setattr(target, "cpu_features", lambda: None)
    target.check_target(facts, "b")
